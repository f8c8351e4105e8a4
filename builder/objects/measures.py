"""Measures: accuracies without the object, RFS, alignment, and accuracy by size and place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.dataset.metrics import relative_core_sensitivity
from builder.evaluate.conditions import CLEAN
from builder.evaluate.measures import (
    Floats,
    Score,
    accuracy_of,
    resampled,
    samples_of,
    score_of,
)
from builder.evaluate.predictions import right_of
from builder.objects.ablations import ABLATIONS
from builder.objects.sensitivity import LEVELS, Level

Resampled = dict[str, Floats]
"""By measure, the value of all images, and after it those of bootstrap samples."""

ALIGNMENT = ("iou", "dice", "density")
"""Columns of predictions, and measures of the same names: means over images."""

MEDIAN_IOU = "median_iou"

THIRDS = {"area": ("small", "middle", "large"), "distance": ("near", "between", "far")}
"""Of the images of a class: a third by the object's size, or by its distance from the middle."""


def top1_of(condition: str) -> str:
    """Return the name of the accuracy under a condition over images, of whatever class."""
    return f"{condition}_top1"


def rfs_of(level: Level) -> str:
    """Return the name of the relative foreground sensitivity to noise of a level."""
    return f"rfs_{level.name}"


@dataclass(frozen=True)
class ObjectOutcomes:
    """What came of each image.

    Attributes
    ----------
    labels : ndarray of int64, shape (images,)
    right : dict of str to ndarray of float64, shape (images,)
        By condition, the share of draws in which the model was right; NaN where the image is not
        shown under it.
    measured : dict of str to ndarray of float64, shape (images,)
        ``area``, ``distance`` and those of `ALIGNMENT`, NaN where there is none.
    """

    labels: npt.NDArray[np.int64]
    right: dict[str, Floats]
    measured: Mapping[str, Floats]


def outcomes_of(own: pa.Table) -> ObjectOutcomes:
    """Return what came of each image, of a model's predictions."""
    _, right = right_of(own)
    clean = own.filter(pc.equal(own["condition"], CLEAN)).sort_by("image_id")
    names = (*THIRDS, *ALIGNMENT)
    measured = {name: clean[name].to_numpy().astype(np.float64) for name in names}
    return ObjectOutcomes(clean["label"].to_numpy().astype(np.int64), right, measured)


def scores_of(outcomes: ObjectOutcomes, seed: int) -> list[Score]:
    """Return all scores of a model.

    Accuracies are means over the images of a class, then over classes; those named top1, and
    alignment, are means over all images. RFS is of class means.

    Parameters
    ----------
    outcomes : ObjectOutcomes
    seed : int
        Of the bootstrap over the images of each class.
    """
    classes: dict[int, Resampled] = {}
    found: defaultdict[str, list[tuple[int, Floats]]] = defaultdict(list)
    for label in np.unique(outcomes.labels).tolist():
        own = outcomes.labels == label
        classes[label] = {}
        for measure, values in _of_class(outcomes, own):
            means = resampled(values, (seed, label))
            found[measure].append((len(values), means))
            classes[label][measure] = means
    everything = _of_all(found) | _median_iou(outcomes, seed)
    return [
        *(score_of(measure, None, values) for measure, values in everything.items()),
        *(
            score_of(measure, label, values)
            for label, own in classes.items()
            for measure, values in own.items()
        ),
    ]


def _of_class(outcomes: ObjectOutcomes, own: npt.NDArray[np.bool_]) -> Iterator[tuple[str, Floats]]:
    """Yield the measures of a class, with the values of images whose mean each is."""
    for condition, right in outcomes.right.items():
        yield from _known(accuracy_of(condition), right[own])
    for name in ALIGNMENT:
        yield from _known(name, outcomes.measured[name][own])
    clean = outcomes.right[CLEAN][own]
    for name, parts in THIRDS.items():
        place = thirds(outcomes.measured[name][own])
        for number, part in enumerate(parts):
            yield from _known(accuracy_of(part), clean[place == number])


def _known(measure: str, values: Floats) -> Iterator[tuple[str, Floats]]:
    """Yield a measure with the values that are known, unless none is."""
    known = values[~np.isnan(values)]
    if len(known):
        yield measure, known


def thirds(values: Floats) -> npt.NDArray[np.int64]:
    """Return in which third by size each value is, 0 the smallest; -1 where it is NaN."""
    found = np.full(len(values), -1, np.int64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    found[order] = 3 * np.arange(len(order)) // max(1, len(order))
    return found


def _of_all(found: Mapping[str, list[tuple[int, Floats]]]) -> Resampled:
    """Return the measures of all classes together."""
    classes = {measure: [means for _, means in own] for measure, own in found.items()}
    images = {
        measure: np.asarray(np.average([m for _, m in own], 0, [n for n, _ in own]), np.float64)
        for measure, own in found.items()
    }
    made: Resampled = {
        measure: np.asarray(np.mean(values, 0), np.float64) for measure, values in classes.items()
    }
    made |= {measure: images[measure] for measure in ALIGNMENT if measure in images}
    for condition in (CLEAN, *ABLATIONS):
        if accuracy_of(condition) in images:
            made[top1_of(condition)] = images[accuracy_of(condition)]
    for level in LEVELS:
        on_rest, on_object = (accuracy_of(name) for name in (level.on_rest, level.on_object))
        if on_object in made:
            rfs = relative_core_sensitivity(made[on_rest], made[on_object])
            made[rfs_of(level)] = rfs.astype(np.float64)
    return made


def _median_iou(outcomes: ObjectOutcomes, seed: int) -> Resampled:
    iou = outcomes.measured["iou"]
    classes = [
        (label, own[~np.isnan(own)])
        for label in np.unique(outcomes.labels).tolist()
        for own in [iou[outcomes.labels == label]]
    ]
    samples = [samples_of(own, (seed, label)) for label, own in classes if len(own)]
    if not samples:
        return {}
    medians = np.median(np.concatenate(samples, axis=1), axis=1)
    return {MEDIAN_IOU: np.concatenate([[np.nanmedian(iou)], medians])}
