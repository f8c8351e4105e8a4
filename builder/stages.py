"""Where the time goes: seconds per stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("read", "decode", "network", "masks", "write")


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
