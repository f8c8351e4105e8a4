"""The suite of Hard ImageNet: images without their objects, noise on them, saliency on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

import salient_imagenet_1m as si
from builder.dataset.configs import SEGMENTATIONS
from builder.errors import BuildError
from builder.evaluate.classifier import ReadyClassifier, View
from builder.evaluate.conditions import CLEAN
from builder.evaluate.measures import Score, told_means
from builder.evaluate.noise import standard_noise
from builder.evaluate.predictions import read_predictions, schema_with
from builder.evaluate.suite import Evaluated, Shown, Told
from builder.objects.ablations import ABLATIONS, Object
from builder.objects.alignment import alignment
from builder.objects.cam import Explainer
from builder.objects.columns import COLUMNS
from builder.objects.examples import show_examples
from builder.objects.measures import ALIGNMENT, THIRDS, outcomes_of, rfs_of, scores_of, top1_of
from builder.objects.sensitivity import LEVELS, Level, noisy
from builder.objects.views import ObjectBatch, ObjectViews, collate
from builder.reporter import Reporter
from builder.settings.evaluation import Evaluation

_LIBRARIES = ("grad-cam", "scipy")
_COLUMNS = ["image", "object_mask", "image_id", "label", "width", "height"]


class HardImageNet:
    """What a model says where the object is gone or noisy, and where it looks; see `Suite`.

    On the images of a split that have an object mask, of whatever classes.

    Parameters
    ----------
    settings : Evaluation
    build : Build
        The data set.
    split : str

    Raises
    ------
    BuildError
        If no image has an object mask.
    """

    schema = schema_with(**dict.fromkeys((*THIRDS, *ALIGNMENT), pa.float32()))
    columns = COLUMNS
    closing: Mapping[str, str] = {
        top1_of(CLEAN): "top-1",
        **{top1_of(name): name.replace("_", " ") for name in ABLATIONS},
        rfs_of(Level("sigma", 0.25)): "RFS 0.25",
        "iou": "IoU",
    }

    def __init__(self, settings: Evaluation, build: si.Build, split: str) -> None:
        self._settings, self._build, self._split = settings, build, split
        self._explainers: dict[str, Explainer] = {}
        if not self.images:
            raise BuildError(
                f"No image of the split {split} of {settings.data} has an object mask: add some "
                f"with salient-imagenet segmentations, or leave out --suite {settings.suite}."
            )

    @property
    def loading(self) -> Mapping[str, Any]:
        """The images that have an object mask, with it."""
        return {
            "columns": _COLUMNS,
            "objects": True,
            "select": si.Selection(segmented=True),
        }

    @cached_property
    def images(self) -> int:
        """How many images have an object mask."""
        if not self._build.has(SEGMENTATIONS, self._split):
            return 0
        return len(self._build.scan(SEGMENTATIONS, self._split, ["image_id"]))

    @property
    def passes(self) -> int:
        """Clean, under each ablation, with noise of each level here and there, and for GradCAM."""
        drawn = 2 * len(LEVELS) * self._settings.draws
        return 1 + len(ABLATIONS) + drawn + (not self._settings.no_alignment)

    @property
    def identity(self) -> dict[str, Any]:
        """What is asked, and how."""
        return {
            "suite": self._settings.suite,
            "conditions": [*ABLATIONS, *(level.name for level in LEVELS)],
            "draws": self._settings.draws,
            "alignment": not self._settings.no_alignment,
            "as_published": self._settings.as_published,
            **{name: version(name) for name in _LIBRARIES},
        }

    def prepare(self, models: Sequence[ReadyClassifier]) -> None:
        """Find where GradCAM looks in each model."""
        if not self._settings.no_alignment:
            normalises = not self._settings.as_published
            self._explainers = {
                model.name: Explainer(model, normalises=normalises) for model in models
            }

    def transform(self, views: Sequence[View]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Return what makes tensors of an example."""
        return ObjectViews(views, self._settings.as_published)

    def collate(self, examples: Sequence[dict[str, Any]]) -> ObjectBatch:
        """Stack examples."""
        return collate(examples)

    def shown(self, batch: ObjectBatch, view: View, images: Tensor) -> Iterator[Shown]:
        """Yield images as they are, without their objects, and with noise on these or the rest."""
        yield Shown(CLEAN, 0, torch.arange(len(images)), images)
        rows = _with_object(batch, view)
        if not len(rows):
            return
        own, parts = images[rows], batch.parts[view][rows].to(images.device)
        components = [batch.components[view][row] for row in rows.tolist()]
        places = [
            Object(*place, self._settings.as_published)
            for place in zip(parts, components, strict=True)
        ]
        for name, ablate in ABLATIONS.items():
            pairs = zip(own, places, strict=True)
            yield Shown(name, 0, rows, torch.stack([ablate(*pair) for pair in pairs]))
        is_object = (parts > 0)[:, None].float()
        ids = [batch.image_ids[row] for row in rows.tolist()]
        shape = images.shape[2], images.shape[3], images.shape[1]
        for draw in range(self._settings.draws):
            # One draw for all conditions, so that only regions and levels tell them apart.
            drawn = standard_noise(ids, draw, shape, images.device).permute(0, 3, 1, 2)
            for name, noised in noisy(own, is_object, drawn):
                yield Shown(name, draw, rows, noised)

    def columns_of(
        self, batch: ObjectBatch, shown: Shown, model: ReadyClassifier
    ) -> dict[str, Any]:
        """Return size and place of objects, and how GradCAM of images as they are lies on them."""
        rows = shown.rows.numpy()
        found = {"area": batch.areas[rows], "distance": batch.distances[rows]}
        found |= dict(zip(ALIGNMENT, self._aligned(batch, shown, model), strict=True))
        return {name: pa.array(values, from_pandas=True) for name, values in found.items()}

    def scores(self, predictions: pa.Table) -> list[Score]:
        """Return accuracies, RFS and alignment of a model."""
        return scores_of(outcomes_of(predictions), self._settings.seed)

    def told(self, evaluated: Evaluated, reporter: Reporter) -> Told:
        """Return what is told of all models, and an image of each class."""
        # Plotly is an extra that a model in a notebook does without.
        from builder.objects.page import make_page  # noqa: PLC0415

        shown = pa.concat_tables(
            read_predictions(evaluated.predictions, condition=name) for name in (CLEAN, *ABLATIONS)
        )
        examples = show_examples(shown, list(evaluated.scores), self._settings, reporter)
        summary = {
            "made_from": evaluated.identity,
            "images": self.images,
            "models": {
                model: {
                    "family": evaluated.families[model],
                    "means": told_means(scores),
                }
                for model, scores in evaluated.scores.items()
            },
        }
        return Told(summary, make_page(evaluated, self.images, examples))

    def _aligned(
        self, batch: ObjectBatch, shown: Shown, model: ReadyClassifier
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the columns of `ALIGNMENT`, NaN where nothing is to be said."""
        aligned = np.full((len(shown.rows), len(ALIGNMENT)), np.nan)
        rows = _with_object(batch, model.view)
        if shown.condition == CLEAN and len(rows) and model.name in self._explainers:
            maps = self._explainers[model.name](shown.images[rows], batch.labels[rows])
            parts = batch.parts[model.view][rows].numpy()
            aligned[rows.numpy()] = [
                alignment(cam, own > 0) for cam, own in zip(maps, parts, strict=True)
            ]
        return aligned.T


def _with_object(batch: ObjectBatch, view: View) -> Tensor:
    """Return which images show something of their object."""
    return batch.parts[view].flatten(1).any(1).nonzero().flatten()
