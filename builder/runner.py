"""Runs the shards that are missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from builder.analysis import Analysis
from builder.engine import analyse
from builder.errors import BuildError
from builder.importance import MINIMUM_AGREEMENT, TOPS, Agreement, Importance, agreement
from builder.job import Job, Reporter
from builder.shard import is_finished, shard_path, write_shard
from builder.stages import Stages

_EARLY_IMAGES_PER_CLASS = 50


@dataclass(frozen=True)
class Run:
    """What running the shards came to.

    Attributes
    ----------
    agreement : Agreement
        Of votes and network, over the shards of this run and of earlier ones.
    images : int
        How many images this run took up.
    stages : Stages
        Seconds per stage of this run.
    """

    agreement: Agreement
    images: int
    stages: Stages


class ShardRunner:
    """Runs shards of a job and keeps the running sums of importance.

    Parameters
    ----------
    job : Job
    directory : Path
        The working directory of the split.
    """

    def __init__(self, job: Job, directory: Path) -> None:
        self._job, self._directory = job, directory
        self._fingerprint = _fingerprint(job)
        self._sums_path = directory / "importance.npz"
        self._sums = (
            Importance.load(self._sums_path)
            if self._sums_path.exists()
            else Importance.empty(job.network.classes, job.network.channels)
        )

    def run(self, reporter: Reporter) -> Run:
        """Run the shards that are not finished, and see whether votes and network agree.

        Raises
        ------
        BuildError
            If votes and network do not belong together, unless the settings allow it.
        """
        plan, stages = self._job.plan, Stages()
        missing = [shard for shard in range(plan.shards) if not self._is_finished(shard)]
        images = sum(len(plan.members(shard)) for shard in missing)
        done = len(plan.order) - images
        if done:
            reporter.say(f"Going on where an earlier run stopped, after {done:,} images.")
        early = _EARLY_IMAGES_PER_CLASS * len(self._job.votes.by_label)
        with reporter.track("images", len(plan.order), done) as advance:
            for shard, analyses in self._analyse(missing, advance):
                with stages.time("write"):
                    self._write(shard, analyses)
                for analysis in analyses:
                    stages.add(analysis.stages)
                if self._sums.counts.sum() >= early > 0:
                    early = 0
                    self._check_agreement()
        return Run(self._check_agreement(), images, stages)

    def _is_finished(self, shard: int) -> bool:
        path = shard_path(self._directory, shard)
        images = len(self._job.plan.members(shard))
        return shard in self._sums.shards and is_finished(path, images, self._fingerprint)

    def _analyse(
        self, shards: list[int], advance: Callable[[int], None]
    ) -> Iterator[tuple[int, list[Analysis]]]:
        """Yield each shard with the analyses of its batches; later ones are loaded meanwhile."""
        by_shard = {shard: self._job.batches(shard) for shard in shards}
        analyses = analyse(self._job, [batch for group in by_shard.values() for batch in group])
        for shard, batches in by_shard.items():
            found = []
            for analysis in islice(analyses, len(batches)):
                found.append(analysis)
                advance(len(analysis.members) + len(analysis.set_aside))
            yield shard, found

    def _write(self, shard: int, analyses: list[Analysis]) -> None:
        # Sums first: should the process die in between, the shard is run again and already found
        # in the sums, so that each image counts exactly once.
        if shard not in self._sums.shards:
            for analysis in analyses:
                self._sums.add(analysis.activations, analysis.predicted)
            self._sums.shards.add(shard)
            self._sums.save(self._sums_path)
        write_shard(
            shard_path(self._directory, shard),
            self._job.plan,
            analyses,
            self._fingerprint,
            embeddings=self._job.settings.keep_embeddings,
        )

    def _check_agreement(self) -> Agreement:
        job = self._job
        found = agreement(self._sums, job.votes, job.network.head_weight.numpy())
        if found.is_mismatch and not job.settings.allow_mismatch:
            raise BuildError(
                f"Votes and network do not belong together: of {found.pairs} voted features "
                f"only {found.in_top[max(TOPS)]} are among the network's own {max(TOPS)} most "
                f"important of their class, expected at least {MINIMUM_AGREEMENT:.0%}; two "
                "checkpoints bear the same name, see 'The real run' in the README, check "
                f"--checkpoint and --votes and remove {self._directory}, or go on with "
                "--allow-mismatch."
            )
        return found


def _fingerprint(job: Job) -> str:
    content = json.dumps({**job.origin(), **job.inputs()}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
