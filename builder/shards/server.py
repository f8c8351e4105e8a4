"""Runs shards in another process than the one that takes note of what is done."""

from __future__ import annotations

import platform
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch

from builder.errors import BuildError
from builder.reporter import SilentReporter
from builder.settings import Settings
from builder.shards.job import Job, open_job
from builder.shards.worker import ShardResult, ShardWorker
from builder.storage.files import disk_errors_as_sentences

MOST_SHARDS_AT_A_TIME = 256
"""How many calls a server takes; each holds a thread."""

_LINGER_SECONDS = 0.1
"""How long the network's stream stays open for the next shard to come."""


@dataclass(frozen=True)
class ServerSettings:
    """What a server has to know.

    Attributes
    ----------
    build : Settings
        With absolute paths, as the server may have another working directory.
    directory : Path
        The working directory of the split.
    identity : dict
        All that the bytes of a shard depend on; the server must find the same.
    device : str
    threads : int
        CPU cores to use.
    """

    build: Settings
    directory: Path
    identity: dict[str, Any]
    device: str
    threads: int

    @classmethod
    def of(
        cls, job: Job, directory: Path, device: str, threads: int, workers: int | None
    ) -> ServerSettings:
        """Return what a server needs to run shards of a job."""
        build = job.settings
        if Path(build.images).exists():
            build = replace(build, images=str(Path(build.images).absolute()))
        if build.checkpoint:
            build = replace(build, checkpoint=build.checkpoint.absolute())
        build = replace(
            build,
            votes=build.votes.absolute(),
            out=build.out.absolute(),
            device=device,
            workers=build.workers if workers is None else workers,
        )
        return cls(build, directory.absolute(), job.identity(), device, threads)


class ShardServer:
    """Opens a job once, then runs shards for callers in several threads.

    All shards go through one stream, in which the next is loaded while one is in the network.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._requests: SimpleQueue[int] = SimpleQueue()
        self._waiting: dict[int, Future[ShardResult]] = {}

    def open(self) -> int:
        """Open the job.

        Returns
        -------
        int
            How many shards to ask for at a time, so that the network never waits for the next.

        Raises
        ------
        BuildError
            If it is not the same job here as where it was ordered.
        """
        torch.set_num_threads(self._settings.threads)
        job = open_job(self._settings.build, SilentReporter())
        _check_same(self._settings.identity, job.identity())
        worker = ShardWorker(job, self._settings.directory)
        threading.Thread(target=self._serve, args=[worker], daemon=True).start()
        return worker.shards_ahead

    def run(self, shard: int) -> ShardResult:
        """Run a shard; others may be asked for meanwhile."""
        future = self._waiting[shard] = Future[ShardResult]()
        self._requests.put(shard)
        return future.result()

    def _serve(self, worker: ShardWorker) -> None:
        # The number of threads is each thread's own.
        torch.set_num_threads(self._settings.threads)
        while True:
            stream = self._stream()
            try:
                with disk_errors_as_sentences(self._settings.build.out):
                    for result in worker.run(stream, lambda _images: None):
                        self._waiting.pop(result.shard).set_result(result)
            except Exception as error:
                # The traceback stays in this process, but notes travel.
                error.add_note(traceback.format_exc())
                while self._waiting:
                    self._waiting.popitem()[1].set_exception(error)

    def _stream(self) -> Iterator[int]:
        yield self._requests.get()
        while True:
            try:
                yield self._requests.get(timeout=_LINGER_SECONDS)
            except Empty:
                return


def _check_same(expected: dict[str, Any], found: dict[str, Any]) -> None:
    host = platform.node()
    for name, value in expected.items():
        if found[name] == value:
            continue
        if name in ("images", "images_sha256"):
            raise BuildError(
                f"The worker on {host} sees other images: --images must be the same on all "
                "machines."
            )
        raise BuildError(
            f"The worker on {host} differs: its {name} is {found[name]}, elsewhere it is {value}; "
            "all machines need the same inputs and library versions."
        )
