"""Where the time goes: seconds per stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("read", "decode", "wait", "network", "masks", "write")
"""``wait`` is the time in which a network could run and has no input."""

_LITTLE_WAITING = 0.1


class Stages:
    """Seconds spent in each of `STAGES`, added up over threads and processes."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the duration of the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start

    def add(self, other: Stages) -> None:
        """Add the seconds of another."""
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds

    @property
    def waited(self) -> float:
        """The share of time in which the network waited for input; NaN where it never ran."""
        total = self.seconds["wait"] + self.seconds["network"]
        return self.seconds["wait"] / total if total else float("nan")

    @property
    def limit(self) -> str:
        """The stage that a faster build would have to make faster."""
        stages = {name: self.seconds[name] for name in STAGES if name != "wait"}
        return "network" if self.waited < _LITTLE_WAITING else max(stages, key=stages.__getitem__)


class Occupancy:
    """Watches the places where a network can run: a device, or the cores of a CPU.

    Parameters
    ----------
    places : int
        How many batches can be in the network and get on at full speed.
    """

    def __init__(self, places: int) -> None:
        self._places, self._running = places, 0
        self._since = time.perf_counter()
        self._lock = threading.Lock()

    @contextmanager
    def occupied(self, stages: Stages) -> Iterator[None]:
        """Run the network in the block.

        What went by since anybody last came or went is added to `stages`, so that ``network`` and
        ``wait`` add up to the places' whole time.
        """
        self._step(1, stages)
        try:
            yield
        finally:
            self._step(-1, stages)

    def _step(self, change: int, stages: Stages) -> None:
        with self._lock:
            now = time.perf_counter()
            running = min(self._running, self._places)
            stages.seconds["network"] += running * (now - self._since)
            stages.seconds["wait"] += (self._places - running) * (now - self._since)
            self._since = now
            self._running += change
