"""Whom a command tells how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_LOG_EVERY_SECONDS = 30.0


class Reporter(Protocol):
    """Tells the user how it goes."""

    def say(self, text: str) -> None:
        """Tell a line."""

    def track(
        self, title: str, total: int | None = None, done: int = 0
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Show progress while the block lasts; call what it gives with each number done."""


class SilentReporter:
    """Tells nobody."""

    def say(self, text: str) -> None:
        """Keep the line to itself."""

    def track(
        self, title: str, total: int | None = None, done: int = 0
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Show nothing while the block lasts."""
        return nullcontext(lambda count: None)


class ConsoleReporter:
    """Reports on a console: with bars on a terminal, with a line now and then in a log."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    @contextmanager
    def track(
        self, title: str, total: int | None = None, done: int = 0
    ) -> Iterator[Callable[[int], None]]:
        """Show progress while the block lasts."""
        if not self._console.is_terminal:
            with self._log(title, total, done) as advance:
                yield advance
            return
        columns = [SpinnerColumn(), TextColumn("{task.description}"), _RateColumn()]
        if total:
            columns += [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True)]
        with Progress(*columns, TimeElapsedColumn(), console=self._console) as progress:
            task = progress.add_task(title, total=total, completed=done)
            yield lambda count: progress.update(task, advance=count)

    @contextmanager
    def _log(self, title: str, total: int | None, done: int) -> Iterator[Callable[[int], None]]:
        start = last = time.monotonic()
        count = 0

        def advance(more: int) -> None:
            nonlocal count, last
            count += more
            now = time.monotonic()
            if now - last >= _LOG_EVERY_SECONDS:
                last = now
                rate = count / (now - start)
                left = f", {(total - done - count) / rate:,.0f} s left" if total and rate else ""
                self.say(f"{title}: {done + count:,} of {total or '?'}, {rate:,.1f}/s{left}")

        yield advance
        if count:
            self.say(f"{title}: {done + count:,}, {count / (time.monotonic() - start):,.1f}/s")


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "")
