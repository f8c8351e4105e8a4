"""Shards on several devices of this machine: a process for each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from builder.shards.dispatch import Dispatcher, Message, WorkerLostError
from builder.shards.serve import serve
from builder.shards.work import Orders, Result, Work
from builder.threads import usable_cores


class Processes:
    """Computes shards in a process per device; see `Engine`.

    Parameters
    ----------
    devices : sequence of torch.device
        Of one kind.
    say : callable
        Tells the user what went wrong and was mended.
    """

    def __init__(self, devices: Sequence[torch.device], say: Callable[[str], None]) -> None:
        self.device, self.runs_on = torch.device("cpu"), devices[0].type
        self._devices, self._say = devices, say

    def run(
        self, work: Work[Result], shards: Iterable[int], advance: Callable[[int], None]
    ) -> Iterator[Result]:
        """Compute shards; see `Engine`."""
        cores = max(1, usable_cores() // len(self._devices))
        workers = min(work.workers, cores)
        starts = [
            partial(_Process, work.elsewhere(str(device), cores, workers))
            for device in self._devices
        ]
        dispatcher: Dispatcher[Result] = Dispatcher(starts, shards, self._say)
        for result in dispatcher.results():
            advance(result.images)
            yield result


class _Process:
    """A worker in a process of its own; see `Worker`."""

    def __init__(self, orders: Orders) -> None:
        # Not forked from this process: CUDA does not survive that, nor do threads.
        context = multiprocessing.get_context("forkserver")
        self._connection, other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(orders, other_end))
        self._process.start()
        # Else the pipe would stay open when the process ends.
        other_end.close()

    def recv(self) -> Message:
        try:
            message: Message = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            status = self._process.exitcode
            raise WorkerLostError(f"its process ended with status {status}") from error
        return message

    def send(self, shard: int | None) -> None:
        with suppress(OSError):  # Who listens hears that it is lost.
            self._connection.send(shard)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(orders: Orders, connection: Connection[Any, Any]) -> None:
    """Serve until the parent ends, however that ends, and leave signals to it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    serve(orders, connection)
