"""Measures, each against a slow twin that goes image by image."""

from __future__ import annotations

import numpy as np
import pytest

from builder.objects.measures import ALIGNMENT, THIRDS, ObjectOutcomes, scores_of, thirds
from builder.objects.sensitivity import LEVELS
from tests import reference

SIZES = (7, 12, 4)
"""Images of each class."""

CONDITIONS = ("clean", "gray_mask", "tile", *(f"object_{each.name}" for each in LEVELS))
CONDITIONS += tuple(f"rest_{each.name}" for each in LEVELS)


def drawn(seed: int) -> ObjectOutcomes:
    """Return outcomes at random; of an image of each class no object is seen."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), SIZES)
    count = len(labels)
    right = {name: rng.integers(0, 4, count) / 3 for name in CONDITIONS}
    measured = {name: rng.random(count) for name in (*THIRDS, *ALIGNMENT)}
    for place in (0, 9, 20):
        for name, values in {**right, **measured}.items():
            if name != "clean":
                values[place] = np.nan
    order = rng.permutation(count)
    return ObjectOutcomes(
        labels[order],
        {name: values[order] for name, values in right.items()},
        {name: values[order] for name, values in measured.items()},
    )


def slow_thirds(values: list[float]) -> list[int]:
    """Return the third of each value: how many of a hundred are smaller, by threes."""
    return [3 * sum(other < value for other in values) // len(values) for value in values]


def slow_scores(outcomes: ObjectOutcomes) -> dict[tuple[str, int | None], float]:
    found: dict[tuple[str, int | None], float] = {}
    images = range(len(outcomes.labels))
    for label in range(3):
        own = [place for place in images if outcomes.labels[place] == label]
        known = [place for place in own if not np.isnan(outcomes.measured["area"][place])]
        for name in CONDITIONS:
            shown = own if name == "clean" else known
            hits = [outcomes.right[name][place] for place in shown]
            found[f"{name}_accuracy", label] = sum(hits) / len(hits)
        for name in ALIGNMENT:
            found[name, label] = np.mean([outcomes.measured[name][place] for place in known])
        for name, parts in THIRDS.items():
            which = slow_thirds([outcomes.measured[name][place] for place in known])
            for number, part in enumerate(parts):
                hits = [
                    outcomes.right["clean"][place]
                    for place, third in zip(known, which, strict=True)
                    if third == number
                ]
                if hits:
                    found[f"{part}_accuracy", label] = sum(hits) / len(hits)
    for measure in {measure for measure, _ in found}:
        values = [value for (name, _), value in found.items() if name == measure]
        found[measure, None] = sum(values) / len(values)
    for name in ALIGNMENT:
        found[name, None] = float(np.nanmean(outcomes.measured[name]))
    found["median_iou", None] = float(np.nanmedian(outcomes.measured["iou"]))
    for name in ("clean", "gray_mask", "tile"):
        found[f"{name}_top1", None] = float(np.nanmean(outcomes.right[name]))
    for level in LEVELS:
        found[f"rfs_{level.name}", None] = reference.rcs(
            found[f"rest_{level.name}_accuracy", None], found[f"object_{level.name}_accuracy", None]
        )
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_score_is_the_slow_one(seed: int) -> None:
    outcomes = drawn(seed)
    scores = scores_of(outcomes, 0)
    found = {(score.measure, score.label): score.value for score in scores}
    assert found == pytest.approx(slow_scores(outcomes))
    assert all(score.low <= score.value <= score.high for score in scores)


def test_thirds_are_as_large_as_can_be_and_leave_out_what_is_not_known() -> None:
    values = np.array([5.0, np.nan, 1.0, 3.0, 2.0, np.nan, 4.0, 6.0])
    assert thirds(values).tolist() == [2, -1, 0, 1, 0, -1, 1, 2]
    assert thirds(np.full(3, np.nan)).tolist() == [-1, -1, -1]


def test_without_noise_on_either_side_nothing_is_sensitive() -> None:
    outcomes = drawn(3)
    alike = {**outcomes.right}
    for level in LEVELS:
        alike[level.on_rest] = alike[level.on_object]
    found = scores_of(ObjectOutcomes(outcomes.labels, alike, outcomes.measured), 0)
    rfs = [score for score in found if score.measure.startswith("rfs_")]
    assert len(rfs) == len(LEVELS)
    assert {(score.value, score.low, score.high) for score in rfs} == {(0, 0, 0)}
