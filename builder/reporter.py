"""Whom a command tells how it goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Reporter(Protocol):
    """Tells the user how it goes."""

    def say(self, text: str) -> None:
        """Tell a line."""

    def track(
        self, title: str, total: int | None = None, done: int = 0
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Show progress while the block lasts; call what it gives with each number done."""
