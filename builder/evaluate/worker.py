"""Runs shards of an evaluation, in this process or in another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from builder.evaluate.claim import comparable
from builder.evaluate.evaluator import Evaluator, Examined
from builder.evaluate.models import Entry, load_classifier
from builder.evaluate.predictions import write_predictions
from builder.evaluate.suite import SuiteMaker
from builder.settings.evaluation import Evaluation
from builder.shards.work import Finished, absolute, require_same


def shard_path(directory: Path, shard: int) -> Path:
    """Return where the predictions of a shard lie until all are finished."""
    return directory / f"{shard:06d}.parquet"


class EvaluationWorker:
    """Runs shards of an evaluation and writes their predictions; see `Work`.

    Parameters
    ----------
    evaluator : Evaluator
    entries : sequence of Entry
        Of its models.
    directory : Path
        For the shards' files.
    """

    def __init__(self, evaluator: Evaluator, entries: list[Entry], directory: Path) -> None:
        self._evaluator, self._entries, self.directory = evaluator, entries, directory

    @property
    def workers(self) -> int:
        """Threads that load ahead of the models."""
        return self._evaluator.workers

    def elsewhere(self, device: str, threads: int, workers: int) -> EvaluationOrders:
        """Return what another process has to know to run the same shards on a device."""
        settings = self._evaluator.settings
        settings = replace(
            settings,
            data=absolute(settings.data),
            images=absolute(settings.images),
            out=settings.out.absolute(),
            device=device,
            workers=workers,
        )
        entries = [
            entry._replace(
                weights=entry.weights and entry.weights.absolute(),
                head=entry.head and entry.head.absolute(),
            )
            for entry in self._entries
        ]
        identity = comparable(self._evaluator.identity())
        return EvaluationOrders(
            settings,
            entries,
            self.directory.absolute(),
            identity,
            threads,
            self._evaluator.make_suite,
        )

    def run(self, shards: Iterable[int], advance: Callable[[int], None]) -> Iterator[Finished]:
        """Run shards in their order; a shard's file appears when it is whole.

        Parameters
        ----------
        shards : iterable of int
            Taken up as there is room.
        advance : callable
            Called with each number of images done.
        """
        examined = self._evaluator.examine(shards)
        for shard, batches in groupby(examined, lambda batch: batch.shard):
            yield Finished(shard=shard, images=self._write(shard, batches, advance))

    def _write(
        self, shard: int, batches: Iterable[Examined], advance: Callable[[int], None]
    ) -> int:
        """Write a shard batch by batch, and return how many images it has."""
        counts = []

        def tables() -> Iterator[pa.Table]:
            for batch in batches:
                yield batch.table
                counts.append(batch.images)
                advance(batch.images)

        schema = self._evaluator.suite.schema
        write_predictions(shard_path(self.directory, shard), schema, tables())
        return sum(counts)


@dataclass(frozen=True)
class EvaluationOrders:
    """What a worker in another process has to know; see `Orders`.

    Attributes
    ----------
    settings : Evaluation
        With absolute paths, as the worker may have another working directory.
    entries : list of Entry
        The models.
    directory : Path
        For the shards' files.
    identity : dict
        All that predictions depend on; the worker must find the same.
    threads : int
        CPU cores to use.
    make_suite : callable
        What models are asked; found by its name where the worker runs.
    """

    settings: Evaluation
    entries: list[Entry]
    directory: Path
    identity: dict[str, Any]
    threads: int
    make_suite: SuiteMaker

    @property
    def out(self) -> Path:
        """Where the worker writes."""
        return self.settings.out

    def open(self) -> EvaluationWorker:
        """Load the models and open the data set."""
        classifiers = [load_classifier(*entry) for entry in self.entries]
        evaluator = Evaluator(classifiers, self.settings, make_suite=self.make_suite)
        require_same(self.identity, comparable(evaluator.identity()))
        return EvaluationWorker(evaluator, self.entries, self.directory)
