"""Runs the shards of an evaluation that are not finished, whoever computes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.errors import BuildError, Stopped
from builder.evaluate.evaluator import Evaluator
from builder.evaluate.predictions import count_images
from builder.evaluate.worker import EvaluationWorker, shard_path
from builder.reporter import Reporter
from builder.settings.task import WHOLE, Task
from builder.shards.engine import Engine
from builder.shards.stop import Stop


class Runner:
    """Runs the missing shards of an evaluation, or of one task of it; a whole file is finished.

    Parameters
    ----------
    evaluator : Evaluator
    directory : Path
        For the shards' files.
    reporter : Reporter
    stop : Stop
        Whom to ask whether to go on.
    """

    def __init__(
        self, evaluator: Evaluator, directory: Path, reporter: Reporter, stop: Stop
    ) -> None:
        self._evaluator, self._directory = evaluator, directory
        self._reporter, self._stop = reporter, stop

    @property
    def paths(self) -> list[Path]:
        """The files of all shards."""
        return [shard_path(self._directory, shard) for shard in range(self._evaluator.shards)]

    def run(self, work: EvaluationWorker, engine: Engine, task: Task) -> None:
        """Run the task's shards that are not finished.

        Raises
        ------
        Stopped
            If somebody asked to stop.
        """
        missing = self.missing(task)
        if not missing:
            return
        done = sum(
            count_images(shard_path(self._directory, shard), self._evaluator.models)
            for shard in task.shards(self._evaluator.shards)
            if shard not in missing
        )
        if done:
            self._reporter.say(f"Going on where an earlier run stopped, after {done:,} images.")
        total = self._evaluator.images if task.is_whole else None
        with self._reporter.track("images", total, done) as advance:
            images = sum(
                result.images for result in engine.run(work, self._until_asked(missing), advance)
            )
        if self._stop.is_asked:
            raise Stopped(f"Stopped after {images:,} images; run the same command again to go on.")

    def confirm(self) -> None:
        """See that all shards are finished.

        Raises
        ------
        BuildError
            If some are not.
        """
        missing = self.missing()
        if missing:
            names = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            raise BuildError(
                f"{len(missing):,} of {self._evaluator.shards:,} shards are not finished "
                f"({names}): run their tasks again, or leave out --finalise-only to run them here."
            )

    def missing(self, task: Task = WHOLE) -> list[int]:
        """Return the task's shards that are not finished."""
        paths = self.paths
        return [shard for shard in task.shards(len(paths)) if not paths[shard].exists()]

    def _until_asked(self, shards: list[int]) -> Iterator[int]:
        yield from self._stop.until_asked(shards)
        if self._stop.is_asked:
            self._reporter.say("Stopping when the shards under way are finished.")
