"""Whom a command tells how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from rich.console import Console, ConsoleOptions, RenderableType
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
from rich.segment import Segment
from rich.text import Text

from builder.errors import printable

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


class Screen(Console):
    """A console on which every name is but text, whatever is in it; see `printable`.

    Parameters
    ----------
    **options
        Of Rich's console.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def tell(self, text: str, style: str = "") -> None:
        """Print a line, however long it is."""
        self.print(Text(printable(text), style), soft_wrap=True)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the segments of tables and bars as well without what a terminal would obey."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                shown = "\n".join(map(printable, segment.text.split("\n")))
                yield Segment(shown, segment.style)


class ConsoleReporter:
    """Reports on a screen: with bars on a terminal, with a line now and then in a log.

    Parameters
    ----------
    screen : Screen
    check : callable, optional
        Called with each sign of progress; raises KeyboardInterrupt where a user wants none.
    """

    def __init__(self, screen: Screen, check: Callable[[], None] = lambda: None) -> None:
        self._screen, self._check = screen, check

    def say(self, text: str) -> None:
        """Print a line."""
        self._check()
        self._screen.tell(text)

    @contextmanager
    def track(
        self, title: str, total: int | None = None, done: int = 0
    ) -> Iterator[Callable[[int], None]]:
        """Show progress while the block lasts."""
        title = printable(title)
        if not self._screen.is_terminal:
            with self._log(title, total, done) as advance:
                yield advance
            return
        columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), _RateColumn()]
        if total:
            columns += [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True)]
        with Progress(*columns, TimeElapsedColumn(), console=self._screen) as progress:
            task = progress.add_task(title, total=total, completed=done)

            def advance(count: int) -> None:
                self._check()
                progress.update(task, advance=count)

            yield advance

    @contextmanager
    def _log(self, title: str, total: int | None, done: int) -> Iterator[Callable[[int], None]]:
        start = last = time.monotonic()
        count = 0

        def advance(more: int) -> None:
            nonlocal count, last
            self._check()
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
