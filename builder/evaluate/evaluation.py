"""The main job: every model on every image, under every condition, and what that comes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import torch
from torch import nn

from builder.errors import BuildError
from builder.evaluate.claim import WORK, check_claim, claim, read_claim
from builder.evaluate.classifier import Classifier
from builder.evaluate.evaluator import Evaluator
from builder.evaluate.measures import Score, overall
from builder.evaluate.models import Entry, load_classifier, model_list
from builder.evaluate.output import write_report
from builder.evaluate.predictions import (
    PREDICTIONS_FILE,
    in_order,
    merge_predictions,
    of_model,
    read_predictions,
)
from builder.evaluate.runner import Runner
from builder.evaluate.salient_imagenet import SalientImageNet
from builder.evaluate.suite import Evaluated, Suite, SuiteMaker
from builder.evaluate.table import as_html
from builder.evaluate.worker import EvaluationWorker
from builder.reporter import Reporter
from builder.settings.evaluation import Evaluation
from builder.shards.engine import Engine, InProcess, open_engine
from builder.shards.stop import Stop
from builder.storage.files import (
    disk_errors_as_sentences,
    exclusive,
    make_directory,
    move_into_place,
    remove_directory,
    require_directory,
    shared,
)


@dataclass(frozen=True)
class Results:
    """What came of an evaluation.

    Attributes
    ----------
    source : pa.Table or Path
        The predictions, or the file that they are read from when they are asked for.
    scores : dict of str to list of Score
        By model.
    suite : Suite
        What models were asked.
    """

    source: pa.Table | Path
    scores: dict[str, list[Score]]
    suite: Suite

    @cached_property
    def predictions(self) -> pa.Table:
        """What models said; see `builder.evaluate.predictions.schema_with`."""
        return read_predictions(self.source) if isinstance(self.source, Path) else self.source

    @property
    def table(self) -> pandas.DataFrame:
        """A row per model, a column per measure: the means over classes."""
        rows = {
            model: {measure: score.value for measure, score in overall(scores).items()}
            for model, scores in self.scores.items()
        }
        return pandas.DataFrame.from_dict(rows, orient="index")

    def _repr_html_(self) -> str:
        """Show the table with its intervals where a notebook shows results."""
        return as_html(self.scores, self.suite.columns)


@dataclass(frozen=True)
class _Opened:
    """The opened inputs of an evaluation, and who computes it."""

    evaluator: Evaluator
    work: EvaluationWorker
    engine: Engine
    runner: Runner
    families: dict[str, str]


def evaluate(
    settings: Evaluation,
    reporter: Reporter,
    stop: Stop | None = None,
    entries: Sequence[Entry] | None = None,
    make_suite: SuiteMaker = SalientImageNet,
) -> Results:
    """Evaluate models and write what they predicted, their scores and a report.

    Parameters
    ----------
    settings : Evaluation
    reporter : Reporter
    stop : Stop, optional
        Whom to ask whether to go on.
    entries : sequence of Entry, optional
        The models; by default those of the settings.
    make_suite : callable
        What they are asked.

    Returns
    -------
    Results

    Raises
    ------
    BuildError
        With a sentence for the user.
    Stopped
        If somebody asked to stop before all shards were finished.
    """
    with (
        _opened(settings, reporter, stop or Stop(), entries, make_suite) as opened,
        exclusive(settings.out),
    ):
        evaluator, runner = opened.evaluator, opened.runner
        identity = evaluator.identity()  # it hashes all weights
        claim(settings.out, identity)
        path, work = settings.out / PREDICTIONS_FILE, settings.out / WORK
        if not path.exists():
            if settings.finalise_only:
                runner.confirm()
            else:
                runner.run(opened.work, opened.engine, settings.task)
            with reporter.track("finalising"):
                schema, models = evaluator.suite.schema, evaluator.models
                merge_predictions(runner.paths, work / PREDICTIONS_FILE, schema, models)
                move_into_place(work / PREDICTIONS_FILE, path)
        results = results_of(path, evaluator)
        evaluated = Evaluated(identity, path, results.scores, opened.families, evaluator.names)
        write_report(settings.out, results.scores, evaluator.suite.told(evaluated, reporter), work)
        remove_directory(work)
    return results


def evaluate_task(
    settings: Evaluation,
    reporter: Reporter,
    stop: Stop | None = None,
    entries: Sequence[Entry] | None = None,
    make_suite: SuiteMaker = SalientImageNet,
) -> int:
    """Run one task's share of the shards; others may run theirs, on any machine.

    Parameters
    ----------
    settings, reporter, stop, entries, make_suite
        As for `evaluate`.

    Returns
    -------
    int
        How many shards others have not finished yet.

    Raises
    ------
    BuildError, Stopped
        As `evaluate`.
    """
    with (
        _opened(settings, reporter, stop or Stop(), entries, make_suite) as opened,
        shared(settings.out),
    ):
        directory, identity = settings.out / WORK, opened.evaluator.identity()
        if (settings.out / PREDICTIONS_FILE).exists():
            check_claim(settings.out, identity)
            return 0
        make_directory(directory)
        with exclusive(directory, wait=True):
            claim(settings.out, identity)
        own = settings.task.directory(directory)
        make_directory(own)
        with exclusive(own):
            opened.runner.run(opened.work, opened.engine, settings.task)
        return len(opened.runner.missing())


@contextmanager
def _opened(
    settings: Evaluation,
    reporter: Reporter,
    stop: Stop,
    given: Sequence[Entry] | None,
    make_suite: SuiteMaker,
) -> Iterator[_Opened]:
    """Open all inputs, and make the output's directory once they are found to be good."""
    require_directory(settings.out)
    entries = model_list(settings) if given is None else list(given)
    with _engine(settings, reporter) as engine:
        with reporter.track("models", len(entries)) as advance:
            classifiers = []
            for entry in entries:
                classifiers.append(load_classifier(*entry))
                advance(1)
        evaluator = Evaluator(classifiers, settings, engine.device, engine.runs_on, make_suite)
        directory = settings.out / WORK
        work = EvaluationWorker(evaluator, entries, directory)
        families = {c.name: c.family for c in classifiers}
        with disk_errors_as_sentences(settings.out):
            make_directory(settings.out)
            runner = Runner(evaluator, directory, reporter, stop)
            yield _Opened(evaluator, work, engine, runner, families)


def _engine(settings: Evaluation, reporter: Reporter) -> AbstractContextManager[Engine]:
    if settings.finalise_only:
        # Nothing is computed, so that what computed the shards need not be here.
        with disk_errors_as_sentences(settings.out):
            noted = read_claim(settings.out)
        if noted is None:
            raise BuildError(
                f"Nothing was evaluated in {settings.out} yet: check --out, or leave out "
                "--finalise-only."
            )
        return nullcontext(InProcess(torch.device("cpu"), str(noted.get("device"))))
    return open_engine(settings, reporter.say)


def evaluate_model(
    model: nn.Module | Classifier,
    data: str | Path,
    images: Any,
    split: str = "validation",
    make_suite: SuiteMaker = SalientImageNet,
    **options: Any,
) -> Results:
    """Evaluate a model in memory.

    Parameters
    ----------
    model : nn.Module or Classifier
        A Module takes images of 224 x 224 with the mean and std of ImageNet.
    data, images, split
        As for `salient_imagenet_1m.load`.
    make_suite : callable
        What it is asked.
    **options
        Other options of `builder.settings.evaluation.Evaluation`.

    Returns
    -------
    Results
    """
    name = type(model).__name__
    classifier = model if isinstance(model, Classifier) else Classifier(name, model)
    settings = Evaluation(data=str(data), images=images, split=split, out=Path(), **options)
    evaluator = Evaluator([classifier], settings, make_suite=make_suite)
    tables = [examined.table for examined in evaluator.examine(range(evaluator.shards))]
    return results_of(in_order(tables, evaluator.models), evaluator)


def results_of(source: pa.Table | Path, evaluator: Evaluator) -> Results:
    """Return the scores of predictions, with them; of a file, those of a model are in memory."""

    def scored(model: str) -> list[Score]:
        own = (
            read_predictions(source, model) if isinstance(source, Path) else of_model(source, model)
        )
        return evaluator.suite.scores(own)

    return Results(source, {model: scored(model) for model in evaluator.models}, evaluator.suite)
