"""Examples: an image of each class as models see it with and without its object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from builder.evaluate.classifier import View
from builder.evaluate.conditions import CLEAN
from builder.evaluate.pictures import SIDE, gather_pictures
from builder.evaluate.predictions import of_model
from builder.objects.ablations import ABLATIONS, Object
from builder.objects.views import ObjectViews
from builder.pages.pictures import thumbnail
from builder.reporter import Reporter
from builder.settings.evaluation import Evaluation

MOST = 20
"""Classes of which an image is shown at most."""


@dataclass(frozen=True)
class Example:
    """An image with and without its object.

    Attributes
    ----------
    image_id : str
    label : int
    right : dict of str to int
        By condition, how many models are right.
    pictures : dict of str to str
        By condition, a data URI; empty where the image is not at hand.
    """

    image_id: str
    label: int
    right: dict[str, int]
    pictures: Mapping[str, str] = field(default_factory=dict)


def show_examples(
    predictions: pa.Table, models: Sequence[str], settings: Evaluation, reporter: Reporter
) -> list[Example]:
    """Return an image of each class, the one whose object is of middling size.

    Parameters
    ----------
    predictions : pa.Table
        Of all models, clean and under the ablations.
    models : sequence of str
    settings : Evaluation
    reporter : Reporter
    """
    chosen = _middling(of_model(predictions, models[0]))
    examples = []
    for image_id, label in chosen.items():
        own = predictions.filter(pc.equal(predictions["image_id"], image_id))
        is_right = pc.equal(own["predicted"], own["label"])
        conditions = own["condition"].filter(is_right).to_pylist()
        right = {name: conditions.count(name) for name in (CLEAN, *ABLATIONS)}
        examples.append(Example(image_id, label, right))
    draw = partial(_with_and_without, as_published=settings.as_published)
    pictures = gather_pictures(
        settings, chosen, draw, reporter, "object_mask", "label", objects=True
    )
    return [
        Example(each.image_id, each.label, each.right, pictures.get(each.image_id, {}))
        for each in examples
    ]


def _middling(own: pa.Table) -> dict[str, int]:
    """Return an image of each class with its label, of at most `MOST` classes."""
    clean = own.filter(pc.and_(pc.equal(own["condition"], CLEAN), pc.is_valid(own["area"])))
    ordered = clean.sort_by([("label", "ascending"), ("area", "ascending")])
    labels, ids = ordered["label"].to_numpy(), ordered["image_id"]
    present, starts = np.unique(labels, return_index=True)
    stops = [*starts[1:], len(labels)]
    middles = [int(start + stop) // 2 for start, stop in zip(starts, stops, strict=True)]
    pairs = list(zip(middles, present.tolist(), strict=True))
    return {ids[middle].as_py(): label for middle, label in pairs[:MOST]}


def _with_and_without(example: dict[str, Any], *, as_published: bool) -> dict[str, str]:
    view = View()
    seen = ObjectViews([view], as_published)(example)
    image = seen["pixels"][view].permute(2, 0, 1) / 255
    place = Object(seen["parts"][view], seen["components"][view], as_published)
    shown = {CLEAN: image, **{name: ablate(image, place) for name, ablate in ABLATIONS.items()}}
    return {name: thumbnail(_as_pixels(each), SIDE) for name, each in shown.items()}


def _as_pixels(image: torch.Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray((255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy())
