"""Runs shards: their images through the network, and what it said of them to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuildError
from builder.images.loader import UNREADABLE
from builder.network.analysis import Analysis
from builder.network.importance import Contribution, Importance
from builder.shards.job import Job
from builder.shards.shard import shard_path, write_shard
from builder.stages import Stages


@dataclass(frozen=True)
class ShardResult:
    """What is left to know of a shard once its file is written.

    Attributes
    ----------
    shard : int
    sha256 : str
        Of its file.
    contribution : Contribution
        Its part of the sums of importance.
    images : int
    stages : Stages
    """

    shard: int
    sha256: str
    contribution: Contribution
    images: int
    stages: Stages


_OUTAGE = 8
"""Where that many images, and half of a batch, cannot be read, the storage is gone, not they."""


class ShardWorker:
    """Runs shards of a job and writes their files; takes no note of what is done.

    Parameters
    ----------
    job : Job
    directory : Path
        The working directory of the split.
    """

    def __init__(self, job: Job, directory: Path) -> None:
        self._job, self._directory = job, directory

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
            importance.add(analysis.activations, analysis.predicted)
            stages.add(analysis.stages)
        with stages.time("write"):
            sha256 = write_shard(
                shard_path(self._directory, shard),
                job.plan,
                analyses,
                job.fingerprint,
                embeddings=job.settings.keep_embeddings,
            )
        images = len(job.plan.members(shard))
        return ShardResult(shard, sha256, importance.contribution(), images, stages)


def _require_readable(analysis: Analysis) -> None:
    unreadable = [image for image in analysis.set_aside if image.reason == UNREADABLE]
    images = len(analysis.members) + len(analysis.set_aside)
    if len(unreadable) >= max(_OUTAGE, images / 2):
        raise BuildError(
            f"Of {images} images in a row {len(unreadable)} cannot be read, such as "
            f"{unreadable[0].path} ({unreadable[0].detail}): see that --images is still there, and "
            "run the same command again; finished work is kept."
        )
