"""Shards on several devices of this machine: a process for each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as until_done
from multiprocessing.connection import wait
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

from builder.shards.dispatch import Dispatcher
from builder.shards.job import Job
from builder.shards.server import MOST_SHARDS_AT_A_TIME, ServerSettings, ShardServer
from builder.shards.worker import ShardResult
from builder.threads import usable_cores


class Processes:
    """Computes shards in a process per device.

    Parameters
    ----------
    devices : sequence of str
        ``cuda:0``, ``cuda:1``, ...
    say : callable
        Tells the user what went wrong and was mended.
    """

    def __init__(self, devices: Sequence[str], say: Callable[[str], None]) -> None:
        self._devices, self._say = devices, say

    def run(
        self, job: Job, directory: Path, shards: Iterable[int], advance: Callable[[int], None]
    ) -> Iterator[ShardResult]:
        """Compute shards; see `Engine`."""
        cores = max(1, usable_cores() // len(self._devices))
        workers = min(job.workers, cores)
        settings = [
            ServerSettings.of(job, directory, device, cores, workers) for device in self._devices
        ]
        for result in Dispatcher(_Pool(settings), shards, self._say).results():
            advance(result.images)
            yield result


class _Pool:
    def __init__(self, settings: Sequence[ServerSettings]) -> None:
        self.size = len(settings)
        self._free = list(settings)

    def start(self) -> _Process:
        return _Process(self._free.pop(0), self._free)

    def cause(self, error: BaseException) -> BaseException | None:
        return None if isinstance(error, EOFError | ConnectionError) else error


class _Manager(BaseManager):
    pass


_Manager.register("ShardServer", ShardServer)


class _Process:
    """A process with a device of its own."""

    def __init__(self, settings: ServerSettings, free: list[ServerSettings]) -> None:
        self._settings, self._free = settings, free
        # Each thread waits for an answer of the process.
        self._threads = ThreadPoolExecutor(MOST_SHARDS_AT_A_TIME)
        # Not forked: CUDA does not survive that.
        self._manager = _Manager(ctx=multiprocessing.get_context("spawn"))
        self._server: Any = None
        self.opened: Future[int] = self._threads.submit(self._open)

    def _open(self) -> int:
        self._manager.start(_follow_the_parent)
        self._server = self._manager.ShardServer(self._settings)  # type: ignore[attr-defined]
        return int(self._server.open())

    def run(self, shard: int) -> Future[ShardResult]:
        return self._threads.submit(self._server.run, shard)

    def stop(self) -> None:
        until_done([self.opened])
        self._threads.shutdown(wait=False, cancel_futures=True)
        if hasattr(self._manager, "shutdown"):  # It has none where it could not start.
            self._manager.shutdown()
        self._free.append(self._settings)


def _follow_the_parent() -> None:
    """Leave signals to the parent, and end when it does, however that ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
