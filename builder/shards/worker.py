"""Runs shards: their images through the network, and what it said of them to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder.errors import BuildError
from builder.images.loader import UNREADABLE
from builder.network.analysis import Analysis
from builder.network.importance import Contribution, Importance
from builder.reporter import SilentReporter
from builder.settings.build import Settings
from builder.shards.job import Job, open_job
from builder.shards.shard import shard_path, write_shard
from builder.shards.work import Finished, absolute, require_same
from builder.stages import Stages


@dataclass(frozen=True, kw_only=True)
class ShardResult(Finished):
    """What is left to know of a shard once its file is written.

    Attributes
    ----------
    sha256 : str
        Of its file.
    contribution : Contribution
        Its part of the sums of importance.
    stages : Stages
    """

    sha256: str
    contribution: Contribution
    stages: Stages


_OUTAGE = 8
"""Where that many images, and half of a batch, cannot be read, the storage is gone, not they."""


class ShardWorker:
    """Runs shards of a job and writes their files; takes no note of what is done; see `Work`.

    Parameters
    ----------
    job : Job
    directory : Path
        The working directory of the split.
    """

    def __init__(self, job: Job, directory: Path) -> None:
        self._job, self._directory = job, directory

    @property
    def workers(self) -> int:
        """Processes that load ahead of the network."""
        return self._job.workers

    def elsewhere(self, device: str, threads: int, workers: int) -> ShardOrders:
        """Return what another process has to know to run the same shards on a device."""
        build = self._job.settings
        if build.checkpoint:
            build = replace(build, checkpoint=build.checkpoint.absolute())
        build = replace(
            build,
            images=absolute(build.images),
            votes=build.votes.absolute(),
            out=build.out.absolute(),
            device=device,
            workers=workers,
        )
        job, directory = self._job, self._directory.absolute()
        return ShardOrders(build, directory, job.extent.name, job.identity(), threads)

    def run(self, shards: Iterable[int], advance: Callable[[int], None]) -> Iterator[ShardResult]:
        """Run shards in their order; while one is finished, later ones are loaded.

        Parameters
        ----------
        shards : iterable of int
            Taken up as there is room.
        advance : callable
            Called with each number of images done.

        Raises
        ------
        BuildError
            If so many images of a batch cannot be read that their storage must be gone.
        """
        batches = (batch for shard in shards for batch in self._job.batches(shard))
        analyses: list[Analysis] = []
        for analysis in self._job.analyse(batches):
            _require_readable(analysis)
            analyses.append(analysis)
            advance(len(analysis.members) + len(analysis.set_aside))
            if len(analyses) == len(self._job.batches(analysis.shard)):
                yield self._finish(analysis.shard, analyses)
                analyses = []

    def _finish(self, shard: int, analyses: list[Analysis]) -> ShardResult:
        job, stages = self._job, Stages()
        importance = Importance.empty(job.network.classes, job.network.channels)
        for analysis in analyses:
            if not job.is_whole:  # That of the crops was what the votes were cast on.
                importance.add(analysis.activations, analysis.predicted)
            stages.add(analysis.stages)
        with stages.time("write"):
            sha256 = write_shard(
                shard_path(self._directory, shard),
                job.plan,
                analyses,
                job.fingerprint,
                embeddings=job.settings.keep_embeddings and not job.is_whole,
                whole=job.is_whole,
            )
        images = len(job.plan.members(shard))
        return ShardResult(
            shard=shard,
            images=images,
            sha256=sha256,
            contribution=importance.contribution(),
            stages=stages,
        )


@dataclass(frozen=True)
class ShardOrders:
    """What a worker in another process has to know to run shards of a build; see `Orders`.

    Attributes
    ----------
    build : Settings
        With absolute paths, as the worker may have another working directory.
    directory : Path
        The working directory of the split.
    extent : str
        How much of each image the network sees: ``crop`` or ``image``.
    identity : dict
        All that the bytes of a shard depend on; the worker must find the same.
    threads : int
        CPU cores to use.
    """

    build: Settings
    directory: Path
    extent: str
    identity: dict[str, Any]
    threads: int

    @property
    def out(self) -> Path:
        """Where the worker writes."""
        return self.build.out

    def open(self) -> ShardWorker:
        """Open the inputs of the build."""
        job = open_job(self.build, SilentReporter()).of(self.extent)
        require_same(self.identity, job.identity())
        return ShardWorker(job, self.directory)


def _require_readable(analysis: Analysis) -> None:
    unreadable = [image for image in analysis.set_aside if image.reason == UNREADABLE]
    images = len(analysis.members) + len(analysis.set_aside)
    if len(unreadable) >= max(_OUTAGE, images / 2):
        raise BuildError(
            f"Of {images} images in a row {len(unreadable)} cannot be read, such as "
            f"{unreadable[0].path} ({unreadable[0].detail}): see that --images is still there, and "
            "run the same command again; finished work is kept."
        )
