"""When to stop: a cluster that wants its machine back sends SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 3
"""Exit status of a run that was told to stop, and finished what it had begun."""

DROPPED = 128 + signal.SIGTERM
"""Exit status of a run that was told to stop twice."""

INTERRUPTED = 128 + signal.SIGINT
"""Exit status of a run that was interrupted from the keyboard."""


class Stop:
    """Whether somebody asked to stop; the shards under way are finished first."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    @property
    def is_asked(self) -> bool:
        """Whether somebody did."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask to stop; asking again ends the run where it stands.

        Raises
        ------
        SystemExit
            With the status of a process that SIGTERM ended, if it was asked before.
        """
        if self.is_asked:
            raise SystemExit(DROPPED)
        self._asked.set()

    def until_asked(self, shards: Iterable[int]) -> Iterator[int]:
        """Yield shards, but begin no other once somebody asked to stop."""
        for shard in shards:
            if self.is_asked:
                return
            yield shard

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """Take SIGTERM for asking while the block lasts."""

        def ask(_signal: int, _frame: FrameType | None) -> None:
            self.ask()

        before = signal.signal(signal.SIGTERM, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


class Interrupts:
    """Ctrl-C, remembered.

    Python raises it wherever it is; a callback there, as of a garbage collection, may swallow it.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()

    def check(self) -> None:
        """Raise KeyboardInterrupt if somebody pressed Ctrl-C, whatever became of the first one."""
        if self._asked.is_set():
            raise KeyboardInterrupt

    @contextmanager
    def on_signal(self) -> Iterator[None]:
        """Remember SIGINT while the block lasts, and look once more at its end."""

        def interrupt(_signal: int, _frame: FrameType | None) -> None:
            self._asked.set()
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
            self.check()
        finally:
            signal.signal(signal.SIGINT, before)
