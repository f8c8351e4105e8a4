"""Runs shards in another process than the one that takes note of what is done."""

from __future__ import annotations

import platform
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from builder.errors import BuildError
from builder.reporter import SilentReporter
from builder.settings import Settings
from builder.shards.job import Job, open_job
from builder.shards.worker import ShardWorker
from builder.storage.files import disk_errors_as_sentences


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker in another process has to know.

    Attributes
    ----------
    build : Settings
        With absolute paths, as the worker may have another working directory.
    directory : Path
        The working directory of the split.
    identity : dict
        All that the bytes of a shard depend on; the worker must find the same.
    threads : int
        CPU cores to use.
    """

    build: Settings
    directory: Path
    identity: dict[str, Any]
    threads: int

    @classmethod
    def of(
        cls, job: Job, directory: Path, device: str, threads: int, workers: int
    ) -> WorkerSettings:
        """Return what a worker needs to run shards of a job on a device."""
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
            workers=workers,
        )
        return cls(build, directory.absolute(), job.identity(), threads)


def serve(settings: WorkerSettings, connection: Connection[Any, Any]) -> None:
    """Open a job and run its shards for whoever is at the other end of a connection.

    Says None whenever there is room for another shard, and takes a shard for an answer, or None for
    finishing what is begun; says the result of each shard, or the error that ends it all.

    Parameters
    ----------
    settings : WorkerSettings
    connection : Connection
    """
    # The number of threads is each thread's own.
    torch.set_num_threads(settings.threads)
    try:
        job = open_job(settings.build, SilentReporter())
        _check_same(settings.identity, job.identity())
        worker = ShardWorker(job, settings.directory)
        with disk_errors_as_sentences(settings.build.out):
            while True:
                for result in worker.run(_asked_for(connection), lambda _images: None):
                    connection.send(result)
    except Exception as error:
        # The traceback stays in this process, but notes travel.
        error.add_note(traceback.format_exc())
        connection.send(error)


def _asked_for(connection: Connection[Any, Any]) -> Iterator[int]:
    """Yield shards from the other end, each asked for when there is room for it."""
    while True:
        connection.send(None)
        shard = connection.recv()
        if shard is None:
            return
        yield shard


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
