"""Keeps several workers busy with shards, whatever befalls them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Protocol

from builder.errors import BuildError, first_line
from builder.shards.worker import ShardResult

_PATIENCE_SECONDS = 60.0


class Worker(Protocol):
    """A worker: a process or an actor that runs shards."""

    opened: Future[int]
    """How many shards it wants at a time, once its inputs are open."""

    def run(self, shard: int) -> Future[ShardResult]:
        """Begin a shard."""

    def stop(self) -> None:
        """End it, whatever it does."""


class WorkerPool(Protocol):
    """Where workers come from.

    Attributes
    ----------
    size : int
        How many work at the same time.
    """

    size: int

    def start(self) -> Worker:
        """Return a new worker; it may take any time to open."""

    def cause(self, error: BaseException) -> BaseException | None:
        """Return what was raised in a worker; None if the worker itself is lost."""


class Dispatcher:
    """Hands out shards to a pool; those of a worker that dies go to others.

    Parameters
    ----------
    pool : WorkerPool
    shards : iterable of int
        Taken up as workers have room for them.
    say : callable
        Tells the user what went wrong and was mended.
    """

    def __init__(self, pool: WorkerPool, shards: Iterable[int], say: Callable[[str], None]) -> None:
        self._pool, self._say = pool, say
        self._upcoming = iter(shards)
        self._returned: deque[int] = deque()
        self._workers: list[Worker] = []
        self._opening: dict[Future[int], Worker] = {}
        self._running: dict[Future[ShardResult], tuple[Worker, int]] = {}
        self._losses = 0
        self._is_over = False

    def results(self) -> Iterator[ShardResult]:
        """Yield the result of each shard.

        Raises
        ------
        BuildError
            If workers keep dying before any of them finishes a shard, or one raised it.
        """
        try:
            for _ in range(self._pool.size):
                self._start()
            while self._running or self._returned or not self._is_over:
                finished = self._wait()
                for worker in self._workers:
                    self._top_up(worker)
                yield from finished
        finally:
            for worker in self._workers:
                worker.stop()

    def _wait(self) -> list[ShardResult]:
        """Wait until something happens, and return the shards that were finished."""
        futures: list[Future[Any]] = [*self._opening, *self._running]
        done, _ = wait(futures, _PATIENCE_SECONDS, FIRST_COMPLETED)
        if not done and not self._running:
            self._say("Still waiting for a worker to start.")
        finished = []
        for opened in done & self._opening.keys():
            worker = self._opening.pop(opened)
            if (error := opened.exception()) is not None:
                self._lose(worker, error)
        for future in done & self._running.keys():
            if future not in self._running:
                continue  # Lost together with another shard of its worker.
            worker, _ = self._running[future]
            if (error := future.exception()) is not None:
                self._lose(worker, error)
            else:
                del self._running[future]
                self._losses = 0
                finished.append(future.result())
        return finished

    def _start(self) -> None:
        worker = self._pool.start()
        self._workers.append(worker)
        self._opening[worker.opened] = worker

    def _lose(self, worker: Worker, error: BaseException) -> None:
        cause = self._pool.cause(error)
        if cause is not None:
            raise cause
        for future, (other, shard) in list(self._running.items()):
            if other is worker:
                del self._running[future]
                self._returned.append(shard)
        self._workers.remove(worker)
        worker.stop()
        self._losses += 1
        if self._losses > 3 + 2 * self._pool.size:
            raise BuildError(
                f"Workers die before they finish a shard (the last: {first_line(error)}): see that "
                "each has enough memory, and run the same command again."
            )
        self._say("A worker is lost; its shards go to others.")
        self._start()

    def _top_up(self, worker: Worker) -> None:
        if worker.opened in self._opening:
            return
        under_way = sum(other is worker for other, _ in self._running.values())
        for _ in range(worker.opened.result() - under_way):
            shard = self._returned.popleft() if self._returned else next(self._upcoming, None)
            if shard is None:
                self._is_over = True
                return
            self._running[worker.run(shard)] = worker, shard
