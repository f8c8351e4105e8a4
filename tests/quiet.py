"""A reporter for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable


class Quiet:
    """A reporter that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def track(self, title: str, total: int | None = None, done: int = 0) -> Tracker:
        return Tracker()


class Tracker:
    """Progress that nobody sees."""

    def __enter__(self) -> Callable[[int], None]:
        return lambda count: None

    def __exit__(self, *exception: object) -> None:
        return None
