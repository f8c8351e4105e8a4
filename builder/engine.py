"""Engines: who computes the shards of a build. All make the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from builder.job import Job
from builder.worker import ShardResult, ShardWorker


class Engine(Protocol):
    """Computes shards."""

    def run(
        self, job: Job, directory: Path, shards: Iterable[int], advance: Callable[[int], None]
    ) -> Iterator[ShardResult]:
        """Compute shards and write their files.

        Parameters
        ----------
        job : Job
        directory : Path
            The working directory of the split.
        shards : iterable of int
            Taken up as there is room; none but those taken up are computed.
        advance : callable
            Called with each number of images done.

        Yields
        ------
        ShardResult
            One for each shard, in any order, whatever befell those who computed it.
        """
        ...


class InProcess:
    """Computes shards in this process, on the device of the job."""

    def run(
        self, job: Job, directory: Path, shards: Iterable[int], advance: Callable[[int], None]
    ) -> Iterator[ShardResult]:
        """Compute shards; see `Engine`."""
        return ShardWorker(job, directory).run(shards, advance)
