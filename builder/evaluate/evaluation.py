"""The main job: every model on every image, under every condition, and what that comes to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn
from torch.utils.data import DataLoader

import salient_imagenet_1m as si
from builder.errors import BuildError
from builder.evaluate.classifier import Classifier, ReadyClassifier
from builder.evaluate.conditions import CONDITIONS, Condition, feature_condition
from builder.evaluate.examiner import Examiner
from builder.evaluate.extremes import show_extremes
from builder.evaluate.measures import Score, overall, scores_of
from builder.evaluate.models import load_classifier, model_list
from builder.evaluate.predictions import in_order, outcomes_of, write_predictions
from builder.evaluate.report import Report
from builder.evaluate.table import as_html
from builder.evaluate.views import Batch, Views, collate
from builder.network.devices import BATCH_SIZES, WORKERS, find_device
from builder.reporter import Reporter
from builder.settings import Evaluation
from builder.storage.files import (
    atomic_write,
    disk_errors_as_sentences,
    exclusive,
    make_directory,
    remove_directory,
    require_directory,
)
from builder.storage.parquet import read_parquet
from builder.threads import in_threads, usable_cores

EVALUATION_FILE = "evaluation.json"
"""What an evaluation was made from; it is written first, and only the same goes on there."""

_PARTS = ".parts"
_COLUMNS = ["image", "core_mask", "spurious_mask", "image_id", "label", "width", "height"]
_OF_FEATURES = ["grids", "grid_height", "grid_width", "kinds"]
_LIBRARIES = ("datasets", "numpy", "pillow", "timm", "torch", "torchvision")


@dataclass(frozen=True)
class Results:
    """What came of an evaluation.

    Attributes
    ----------
    predictions : pa.Table
        See `builder.evaluate.predictions.SCHEMA`.
    scores : dict of str to list of Score
        By model.
    """

    predictions: pa.Table
    scores: dict[str, list[Score]]

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
        return as_html(self.scores)


class Evaluator:
    """Shows models the images of a data set; the loader is its only way to the data.

    Parameters
    ----------
    classifiers : sequence of Classifier
    settings : Evaluation

    Raises
    ------
    BuildError
        If the data set, its images or a model cannot be used.
    """

    def __init__(self, classifiers: Sequence[Classifier], settings: Evaluation) -> None:
        self._settings = settings
        self._device = find_device(settings.device)
        self.build = si.Build.open(settings.data)
        self.split = self.build.split(settings.split)
        wnids = self.build.wnids(self.split)
        self.names = self.build.features("masks", self.split)["label"].names
        self._classifiers = classifiers
        ready = [ReadyClassifier(c, wnids, len(self.names), self._device) for c in classifiers]
        _check_names([c.name for c in classifiers])
        self._check_k()
        self._examiner = Examiner(
            ready,
            self._conditions(),
            settings.corruption,
            settings.sigma,
            settings.draws,
            self._device,
        )
        workers = WORKERS[self._device.type] if settings.workers is None else settings.workers
        self._workers = workers
        self._stream = self._open()
        self.parts = -(-self._stream.num_shards // max(1, workers))

    def identity(self) -> dict[str, Any]:
        """Return all that predictions depend on."""
        settings = self._settings
        files = json.dumps(self.build.manifest["files"], sort_keys=True)
        return {
            "data": hashlib.sha256(files.encode()).hexdigest(),
            "split": self.split,
            "models": {
                c.name: {"weights_sha256": c.weights_sha256, **asdict(c.view)}
                for c in self._classifiers
            },
            "conditions": [c.name for c in self._examiner.conditions],
            "corruption": settings.corruption,
            "sigma": settings.sigma,
            "draws": settings.draws,
            "parts": self.parts,
            "device": self._device.type,
            **{name: version(name) for name in _LIBRARIES},
        }

    def predictions(self, part: int, advance: Any) -> pa.Table:
        """Return the predictions on a part of the images.

        Parameters
        ----------
        part : int
        advance : callable
            Called with each number of images done.
        """
        tables = []
        stream = self._stream.shard(num_shards=self.parts, index=part)
        size = self._settings.batch_size or BATCH_SIZES[self._device.type]
        workers = min(self._workers, stream.num_shards)
        batches = DataLoader(stream, batch_size=size, num_workers=workers, collate_fn=collate)
        for images, table in self._examined(batches):
            tables.append(table)
            advance(images)
        return pa.concat_tables(tables)

    def _examined(self, batches: Iterable[Batch]) -> Iterator[tuple[int, pa.Table]]:
        def examine(batch: Batch) -> tuple[int, pa.Table]:
            return len(batch.image_ids), self._examiner(batch)

        if self._device.type != "cpu":
            yield from map(examine, batches)
            return
        # A thread per core, each with a batch of its own: no core waits for another.
        yield from in_threads(batches, examine, usable_cores(), lambda: torch.set_num_threads(1))

    def _open(self) -> Any:
        settings = self._settings
        views = dict.fromkeys(model.view for model in self._examiner.models)
        masks = dict.fromkeys(condition.mask for condition in self._examiner.conditions)
        columns = [*_COLUMNS, "spuriosity_rank", *(_OF_FEATURES if settings.per_feature else [])]
        return si.load(
            settings.data,
            "images",
            images=settings.images,
            split=self.split,
            streaming=True,
            columns=columns,
            transform=Views(list(views), list(masks)),
        )

    def _conditions(self) -> list[Condition]:
        count = int(self.build.manifest["origin"].get("features_per_class", 5))
        features = range(count) if self._settings.per_feature else ()
        return [*CONDITIONS, *map(feature_condition, features)]

    def _check_k(self) -> None:
        k = self._settings.k
        ranked = self.build.scan("rankings", self.split, ["label"])["label"]
        counts = pc.value_counts(ranked).to_pylist()
        if not counts:
            raise BuildError(
                f"No class of {self._settings.data} has a spurious feature, so nothing is ranked: "
                "evaluate on a data set that has some."
            )
        smallest = min(counts, key=lambda count: count["counts"])
        if 2 * k > smallest["counts"]:
            raise BuildError(
                f"--k {k} takes {2 * k} images of each ranked class, and class "
                f"{smallest['values']} has {smallest['counts']}: use --k "
                f"{smallest['counts'] // 2} or less."
            )


def evaluate(settings: Evaluation, reporter: Reporter) -> Results:
    """Evaluate models and write what they predicted, their scores and a report.

    Parameters
    ----------
    settings : Evaluation
    reporter : Reporter

    Returns
    -------
    Results

    Raises
    ------
    BuildError
        With a sentence for the user.
    """
    # Its page needs plotly, an extra that a model in a notebook does without.
    from builder.evaluate.output import write_report  # noqa: PLC0415

    require_directory(settings.out)
    classifiers = [load_classifier(*entry) for entry in model_list(settings)]
    evaluator = Evaluator(classifiers, settings)
    with disk_errors_as_sentences(settings.out):
        make_directory(settings.out)
        with exclusive(settings.out):
            identity = evaluator.identity()  # it hashes all weights
            _claim(settings.out, identity)
            names = [c.name for c in classifiers]
            path = settings.out / "predictions" / "predictions.parquet"
            if not path.exists():
                parts = _parts(evaluator, settings.out / _PARTS, reporter)
                write_predictions(path, in_order(parts, names))
            remove_directory(settings.out / _PARTS)
            results = results_of(read_parquet(path), names, settings)
            families = {c.name: c.family for c in classifiers}
            extremes = show_extremes(results.predictions, names, settings, reporter)
            report = Report(
                identity, results.scores, families, settings.k, evaluator.names, extremes
            )
            write_report(settings.out, report)
    return results


def evaluate_model(
    model: nn.Module | Classifier,
    data: str | Path,
    images: Any,
    split: str = "validation",
    **options: Any,
) -> Results:
    """Evaluate a model in memory.

    Parameters
    ----------
    model : nn.Module or Classifier
        A Module takes images of 224 x 224 with the mean and std of ImageNet.
    data, images, split
        As for `salient_imagenet_1m.load`.
    **options
        Other options of `builder.settings.Evaluation`.

    Returns
    -------
    Results
    """
    name = type(model).__name__
    classifier = model if isinstance(model, Classifier) else Classifier(name, model)
    settings = Evaluation(data=str(data), images=images, split=split, out=Path(), **options)
    evaluator = Evaluator([classifier], settings)
    parts = [evaluator.predictions(part, lambda _count: None) for part in range(evaluator.parts)]
    return results_of(in_order(parts, [classifier.name]), [classifier.name], settings)


def results_of(table: pa.Table, models: Sequence[str], settings: Evaluation) -> Results:
    """Return the scores of predictions, with them."""
    scores = {
        name: scores_of(outcomes_of(table, name), settings.k, settings.seed) for name in models
    }
    return Results(table, scores)


def _parts(evaluator: Evaluator, directory: Path, reporter: Reporter) -> list[pa.Table]:
    """Return the predictions of all parts; those that an earlier run finished are read."""
    images = sum(evaluator.build.images_by_label(evaluator.split).values())
    tables = []
    with reporter.track("images", images) as advance:
        for part in range(evaluator.parts):
            path = directory / f"{part:05d}.parquet"
            if not path.exists():
                write_predictions(path, evaluator.predictions(part, advance))
            tables.append(read_parquet(path))
    return tables


def _claim(out: Path, identity: dict[str, Any]) -> None:
    """Take note of what is evaluated, so that only the same goes on in a directory."""
    path, content = out / EVALUATION_FILE, (json.dumps(identity, indent=2) + "\n").encode()
    if path.exists() and path.read_bytes() != content:
        raise BuildError(
            f"{out} holds another evaluation, see its {EVALUATION_FILE}: use another --out."
        )
    if not path.exists() and any(out.iterdir()):
        raise BuildError(f"{out} is not empty and holds no evaluation: use a new --out.")
    with atomic_write(path) as file:
        file.write(content)


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BuildError(f"The model {twice[0]} is asked for twice: leave one out.")
