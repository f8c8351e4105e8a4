"""The suite of Salient ImageNet: core and spurious regions corrupted, and the ends of rankings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.nn import functional

import salient_imagenet_1m as si
from builder.dataset.scores import NO_RANK
from builder.errors import BuildError
from builder.evaluate.classifier import ReadyClassifier, View
from builder.evaluate.conditions import CLEAN, CONDITIONS, Condition, feature_condition
from builder.evaluate.corruptions import FADES, noise
from builder.evaluate.extremes import show_extremes
from builder.evaluate.measures import GAP, RCS, Score, accuracy_of, scores_of
from builder.evaluate.noise import standard_noise
from builder.evaluate.predictions import SCHEMA, outcomes_of, read_predictions
from builder.evaluate.report import Report
from builder.evaluate.suite import Evaluated, Shown, Told
from builder.evaluate.table import COLUMNS
from builder.evaluate.views import Batch, Views, collate
from builder.reporter import Reporter
from builder.settings.evaluation import Evaluation

_COLUMNS = ["image", "core_mask", "spurious_mask", "image_id", "label", "width", "height"]
_OF_FEATURES = ["grids", "grid_height", "grid_width", "kinds"]


class SalientImageNet:
    """Accuracy with the core or the rest corrupted, and on both ends of rankings; see `Suite`.

    Parameters
    ----------
    settings : Evaluation
    build : Build
        The data set.
    split : str

    Attributes
    ----------
    conditions : list of Condition
        Besides the clean images.

    Raises
    ------
    BuildError
        If rankings are shorter than the settings need.
    """

    schema = SCHEMA
    columns = COLUMNS
    closing: Mapping[str, str] = {
        accuracy_of(CLEAN): "clean",
        accuracy_of("core"): "acc(C)",
        accuracy_of("spurious"): "acc(S)",
        RCS: "RCS",
        GAP: "spurious gap",
    }

    def __init__(self, settings: Evaluation, build: si.Build, split: str) -> None:
        self._settings, self._build, self._split = settings, build, split
        _check_k(build, split, settings)
        count = int(build.manifest["origin"].get("features_per_class", 5))
        features = range(count) if settings.per_feature else ()
        self.conditions: list[Condition] = [*CONDITIONS, *map(feature_condition, features)]

    @property
    def loading(self) -> Mapping[str, Any]:
        """All images of the split, with what their masks are rendered from."""
        of_features = _OF_FEATURES if self._settings.per_feature else []
        return {"columns": [*_COLUMNS, "spuriosity_rank", *of_features]}

    @property
    def images(self) -> int:
        """How many images there are."""
        return sum(self._build.images_by_label(self._split).values())

    @property
    def passes(self) -> int:
        """Clean, and under each condition and draw."""
        draws = 1 if self._settings.corruption in FADES else self._settings.draws
        return 1 + len(self.conditions) * draws

    @property
    def identity(self) -> dict[str, Any]:
        """What is corrupted, and how."""
        return {
            "conditions": [condition.name for condition in self.conditions],
            "corruption": self._settings.corruption,
            "sigma": self._settings.sigma,
            "draws": self._settings.draws,
        }

    def prepare(self, models: Sequence[ReadyClassifier]) -> None:
        """Any classifier will do."""

    def transform(self, views: Sequence[View]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Return what makes tensors of an example."""
        return Views(views, list(dict.fromkeys(condition.mask for condition in self.conditions)))

    def collate(self, examples: Sequence[dict[str, Any]]) -> Batch:
        """Stack examples."""
        return collate(examples)

    def shown(self, batch: Batch, view: View, images: Tensor) -> Iterator[Shown]:
        """Yield how images look under each condition and draw."""
        settings, device = self._settings, images.device
        yield Shown(CLEAN, 0, torch.arange(len(images)), images)
        found = (_region(batch, condition, device) for condition in self.conditions)
        regions = [region.scaled(view.size) for region in found if len(region.rows)]
        affected = [_taken(images, region.rows) for region in regions]
        if settings.corruption in FADES:
            fade = FADES[settings.corruption]
            for (name, rows, area), own in zip(regions, affected, strict=True):
                yield Shown(name, 0, rows, fade(own, area))
            return
        shape = images.shape[2], images.shape[3], images.shape[1]
        for draw in range(settings.draws):
            # One draw for all conditions, so that only regions tell them apart.
            drawn = standard_noise(batch.image_ids, draw, shape, device).permute(0, 3, 1, 2)
            for (name, rows, area), own in zip(regions, affected, strict=True):
                noisy = noise(own, area, _taken(drawn, rows), settings.sigma)
                yield Shown(name, draw, rows, noisy)

    def columns_of(self, batch: Batch, shown: Shown, model: ReadyClassifier) -> dict[str, Any]:
        """Return the ranks of images, null where their class has none."""
        ranks = batch.ranks[shown.rows].numpy()
        return {"spuriosity_rank": pa.array(ranks, mask=ranks == NO_RANK)}

    def scores(self, predictions: pa.Table) -> list[Score]:
        """Return accuracies, RCS and gaps of a model."""
        return scores_of(outcomes_of(predictions), self._settings.k, self._settings.seed)

    def told(self, evaluated: Evaluated, reporter: Reporter) -> Told:
        """Return what is told of all models, and the images at both ends of rankings."""
        # Plotly is an extra that a model in a notebook does without.
        from builder.evaluate.page import make_page  # noqa: PLC0415

        clean = read_predictions(evaluated.predictions, condition=CLEAN)
        extremes = show_extremes(clean, list(evaluated.scores), self._settings, reporter)
        report = Report(
            evaluated.identity,
            evaluated.scores,
            evaluated.families,
            self._settings.k,
            evaluated.names,
            extremes,
        )
        return Told(report.summary(), make_page(report))


def _taken(images: Tensor, rows: Tensor) -> Tensor:
    """Return some of the images, without a copy where they are all."""
    return images if len(rows) == len(images) else images[rows]


class _Region(NamedTuple):
    """Which images of a batch a condition corrupts, and where: in [0, 1], (rows, 1, size, size)."""

    condition: str
    rows: Tensor
    area: Tensor

    def scaled(self, size: int) -> _Region:
        """Return the region at the size of a view."""
        if self.area.shape[-1] == size:
            return self
        area = functional.interpolate(self.area, (size, size), mode="bilinear", antialias=True)
        return self._replace(area=area)


def _region(batch: Batch, condition: Condition, device: torch.device) -> _Region:
    masks = batch.masks[condition.mask]
    rows = masks.flatten(1).any(1).nonzero().flatten()
    area = masks[rows].to(device, non_blocking=True).float()
    area /= area.amax((2, 3), keepdim=True) if condition.mask.dilated else 255
    return _Region(condition.name, rows, 1 - area if condition.outside else area)


def _check_k(build: si.Build, split: str, settings: Evaluation) -> None:
    k = settings.k
    ranked = build.scan("rankings", split, ["label"])["label"]
    counts = pc.value_counts(ranked).to_pylist()
    if not counts:
        raise BuildError(
            f"No class of {settings.data} has a spurious feature, so nothing is ranked: evaluate "
            "on a data set that has some."
        )
    smallest = min(counts, key=lambda count: count["counts"])
    if 2 * k > smallest["counts"]:
        most = smallest["counts"] // 2
        raise BuildError(
            f"--k {k} takes {2 * k} images of each ranked class, and class "
            f"{smallest['values']} has {smallest['counts']}: "
            f"{f'use --k {most} or less' if most else 'evaluate on more images'}."
        )
