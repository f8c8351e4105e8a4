"""A reporter for tests and benchmarks."""

from __future__ import annotations

from builder.reporter import SilentReporter


class Quiet(SilentReporter):
    """A reporter that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)
