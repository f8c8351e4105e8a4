"""Runs the shards that are missing, whoever computes them, and takes note of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuildError, Stopped
from builder.network.importance import MINIMUM_AGREEMENT, TOPS, Agreement, agreement
from builder.reporter import Reporter
from builder.run.ledger import (
    Ledger,
    LedgerFile,
    ledger_path,
    merge_ledgers,
    read_ledgers,
    take_over,
)
from builder.run.progress import FAILED, FINISHED, PROGRESS_NAME, STOPPED, Progress, ProgressFile
from builder.run.same_images import require_same_images
from builder.settings.task import WHOLE, Task
from builder.shards.engine import Engine
from builder.shards.job import Job
from builder.shards.shard import shard_path
from builder.shards.stop import Stop
from builder.shards.worker import ShardResult, ShardWorker
from builder.stages import Stages
from builder.storage.files import sha256_of

_EARLY_IMAGES_PER_CLASS = 50
_ROUNDS = 3


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
    left : int
        Shards that are not finished: those of other tasks.
    """

    agreement: Agreement
    images: int
    stages: Stages
    left: int


class ShardRunner:
    """Runs the missing shards of a job, or of one task of it.

    Parameters
    ----------
    job : Job
    directory : Path
        The working directory of the split.
    engine : Engine
        Computes the shards.
    reporter : Reporter
    task : Task, optional
        The whole build, which nobody else may work on at the same time, or one of several.
    stop : Stop, optional
        Whom to ask whether to go on.
    """

    def __init__(
        self,
        job: Job,
        directory: Path,
        engine: Engine,
        reporter: Reporter,
        task: Task | None = None,
        stop: Stop | None = None,
    ) -> None:
        self._job, self._directory, self._engine, self._reporter = job, directory, engine, reporter
        self._task, self._stop = task or WHOLE, stop or Stop()
        own, self._elsewhere = self._ledgers()
        path = ledger_path(directory, self._task)
        self._ledger, self._file = own, LedgerFile(own, path, job.fingerprint)
        self._images, self._stages = 0, Stages()
        progress = Progress.of(job.plan, self._task, job.settings.engine)
        self._progress_file = ProgressFile(
            progress, self._task.directory(directory) / PROGRESS_NAME
        )
        self._early = _EARLY_IMAGES_PER_CLASS * len(job.votes.by_label)

    def run(self) -> Run:
        """Run the shards that are not finished, and see whether votes and network agree.

        Raises
        ------
        BuildError
            If votes and network do not belong together, unless the settings allow it, images are
            not those of an earlier run any more, or the disk keeps no shards.
        Stopped
            If somebody asked to stop.
        """
        if self._task.is_whole:
            take_over(self._directory, self._ledger, self._job.fingerprint)
        if self._ledger.sha256:
            require_same_images(self._job, self._directory, self._ledger.sha256, self._reporter)
        missing = self.missing()
        for _ in range(_ROUNDS):
            self._run(missing)
            if self._stop.is_asked:
                raise Stopped(
                    f"Stopped after {self._images:,} images; run the same command again to go on."
                )
            missing = self.damaged()
            if not missing:
                left = self._job.plan.shards - len(self._ledger.sha256) - len(self._elsewhere)
                return Run(self._check_agreement(), self._images, self._stages, left)
            self._reporter.say(
                f"{len(missing):,} shards are not as they were written: they are run again."
            )
        raise BuildError(
            f"{self._directory} does not keep what is written there: check the disk, or use "
            "another --out."
        )

    def confirm(self) -> Run:
        """See that all shards are finished, and whether votes and network agree; write nothing.

        Raises
        ------
        BuildError
            If shards are missing, or votes and network do not belong together.
        """
        missing = sorted({*self.missing(), *self.damaged()})
        if missing:
            names = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            raise BuildError(
                f"{len(missing):,} of {self._job.plan.shards:,} shards are not finished ({names}): "
                "run their tasks again, or leave out --finalise-only to run them here."
            )
        return Run(self._check_agreement(), 0, Stages(), 0)

    def missing(self) -> list[int]:
        """Return the task's shards that are in no ledger, or whose file is gone."""
        present = {path.name for path in self._directory.glob("shards/*")}
        return [
            shard
            for shard in self._task.shards(self._job.plan.shards)
            if shard not in self._elsewhere
            and not (
                shard in self._ledger.sha256 and shard_path(self._directory, shard).name in present
            )
        ]

    def damaged(self) -> list[int]:
        """Return the shards in the ledger whose files do not have their hashes, or are gone."""
        found = []
        with self._reporter.track("checking shards", len(self._ledger.sha256)) as advance:
            for shard, sha256 in sorted(self._ledger.sha256.items()):
                path = shard_path(self._directory, shard)
                if not path.exists() or sha256_of(path) != sha256:
                    found.append(shard)
                advance(1)
        return found

    def _ledgers(self) -> tuple[Ledger, set[int]]:
        """Return the ledger to go on with, and the shards that others have finished."""
        ledgers = read_ledgers(self._directory, self._job, self._reporter)
        if self._task.is_whole:
            return merge_ledgers(ledgers.values(), self._job), set()
        own = ledgers.pop(ledger_path(self._directory, self._task), Ledger.empty(self._job))
        return own, {shard for ledger in ledgers.values() for shard in ledger.sha256}

    def _run(self, shards: list[int]) -> None:
        plan, task = self._job.plan, self._task
        total = sum(len(plan.members(shard)) for shard in task.shards(plan.shards))
        done = total - sum(len(plan.members(shard)) for shard in shards)
        if done and not self._images:
            self._reporter.say(f"Going on where an earlier run stopped, after {done:,} images.")
        if not shards:
            return
        with self._reporter.track("images", total, done) as show:

            def advance(images: int) -> None:
                show(images)
                self._progress_file.advance(images)

            advance(0)
            state = FAILED
            try:
                work = ShardWorker(self._job, self._directory)
                for result in self._engine.run(work, self._until_asked(shards), advance):
                    self._take(result)
                state = STOPPED if self._stop.is_asked else FINISHED
            finally:
                self._file.save()
                self._progress_file.end(state)

    def _take(self, result: ShardResult) -> None:
        self._file.add(result)
        self._images += result.images
        self._stages.add(result.stages)
        self._progress_file.progress.done += 1
        self._check_early()

    def _until_asked(self, shards: Iterable[int]) -> Iterator[int]:
        for shard in self._stop.until_asked(shards):
            self._progress_file.progress.begun += 1
            yield shard
        if self._stop.is_asked:
            self._reporter.say("Stopping when the shards under way are finished.")

    def _check_early(self) -> None:
        if self._ledger.importance.counts.sum() >= self._early > 0:
            self._early = 0
            self._check_agreement()

    def _check_agreement(self) -> Agreement:
        job = self._job
        found = agreement(self._ledger.importance, job.votes, job.network.head_weight.numpy())
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
