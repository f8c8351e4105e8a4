"""Measures, each against a slow twin that goes image by image."""

from __future__ import annotations

import numpy as np
import pytest

from builder.dataset.scores import NO_RANK
from builder.evaluate.measures import (
    Floats,
    Outcomes,
    Score,
    compare,
    ends,
    overall,
    scores_of,
)
from tests import reference

CONDITIONS = ("clean", "core", "spurious")
SIZES = (7, 12, 4)
"""Images of each class."""


def drawn(seed: int) -> Outcomes:
    """Return outcomes at random: the second class is not ranked, the third has no core mask."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), SIZES)
    ranks = np.concatenate(
        [rng.permutation(SIZES[0]), np.full(SIZES[1], NO_RANK), rng.permutation(SIZES[2])]
    )
    right = {name: rng.integers(0, 6, len(labels)) / 5 for name in CONDITIONS}
    right["clean"] = np.round(right["clean"])
    for name in ("core", "spurious"):
        right[name][labels == 2] = np.nan
        right[name][3] = np.nan  # An image whose mask is empty.
    order = rng.permutation(len(labels))
    return Outcomes(
        labels[order], ranks[order], {name: values[order] for name, values in right.items()}
    )


def slow_scores(outcomes: Outcomes, k: int) -> dict[tuple[str, int | None], float]:
    """Return every measure of every class, and the means over classes."""
    found: dict[tuple[str, int | None], float] = {}
    classes: dict[str, list[float]] = {}
    for label in range(3):
        images = [place for place in range(len(outcomes.labels)) if outcomes.labels[place] == label]
        for name in CONDITIONS:
            shares = [outcomes.right[name][place] for place in images]
            shares = [share for share in shares if not np.isnan(share)]
            if shares:
                found[f"{name}_accuracy", label] = sum(shares) / len(shares)
        ranked = [place for place in images if outcomes.ranks[place] != NO_RANK]
        if ranked:
            ranked.sort(key=lambda place: outcomes.ranks[place])
            hits = [outcomes.right["clean"][place] for place in ranked]
            found["top_accuracy", label] = sum(hits[:k]) / k
            found["bottom_accuracy", label] = sum(hits[len(hits) - k :]) / k
            gap = found["top_accuracy", label] - found["bottom_accuracy", label]
            found["spurious_gap", label] = gap
    for (measure, _), value in found.items():
        classes.setdefault(measure, []).append(value)
    for name, values in classes.items():
        found[name, None] = sum(values) / len(values)
    core, spurious = found["core_accuracy", None], found["spurious_accuracy", None]
    found["relative_core_sensitivity", None] = reference.rcs(core, spurious)
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_score_is_the_slow_one_and_classes_count_the_same(seed: int) -> None:
    outcomes = drawn(seed)
    found = {(score.measure, score.label): score.value for score in scores_of(outcomes, 2, 0)}
    assert found == pytest.approx(slow_scores(outcomes, 2))


def test_intervals_are_those_of_images_drawn_again() -> None:
    """A slow bootstrap: the images of each class are drawn again, and scored anew.

    Chance moves an end of 1,000 samples by 0.006 here, of an interval that is 0.2 wide.
    """
    rng = np.random.default_rng(3)
    classes = [rng.random((size, 2)) ** 2 for size in (40, 60, 50)]
    labels = np.repeat(np.arange(3), [len(own) for own in classes])
    core, spurious = np.concatenate(classes).T
    right = {"clean": core, "core": core, "spurious": spurious}
    found = scores_of(Outcomes(labels, np.full(150, NO_RANK), right), 1, 0)
    again: list[tuple[float, float]] = []
    for _ in range(4000):
        drawn_again = [own[[rng.integers(len(own)) for _ in own]] for own in classes]
        means = np.mean([own.mean(0) for own in drawn_again], axis=0)
        again.append((drawn_again[0][:, 0].mean(), reference.rcs(*means)))
    scores = {(score.measure, score.label): score for score in found}
    for place, key in enumerate([("core_accuracy", 0), ("relative_core_sensitivity", None)]):
        low, high = np.percentile([values[place] for values in again], [2.5, 97.5])
        assert scores[key].low == pytest.approx(low, abs=0.02)
        assert scores[key].high == pytest.approx(high, abs=0.02)


def test_an_interval_holds_its_value_and_what_is_certain_has_none() -> None:
    outcomes = drawn(4)
    for score in scores_of(outcomes, 2, 0):
        assert score.low <= score.value <= score.high
    sure = Outcomes(
        outcomes.labels, outcomes.ranks, {"clean": np.ones(len(outcomes.labels), np.float64)}
    )
    assert overall(scores_of(sure, 2, 0))["clean_accuracy"] == Score(
        "clean_accuracy", None, 1, 1, 1
    )


def test_the_seed_decides_intervals_and_nothing_else() -> None:
    one, two, again = (scores_of(drawn(5), 2, seed) for seed in (0, 1, 0))
    assert one == again != two
    assert [score.value for score in one] == [score.value for score in two]


def test_alike_under_both_corruptions_there_is_no_sensitivity() -> None:
    """As with masks of one half everywhere, where both corrupted images are one."""
    outcomes = drawn(6)
    alike = {**outcomes.right, "spurious": outcomes.right["core"]}
    found = overall(scores_of(Outcomes(outcomes.labels, outcomes.ranks, alike), 2, 0))
    rcs = found["relative_core_sensitivity"]
    assert (rcs.value, rcs.low, rcs.high) == (0, 0, 0)


def test_the_most_spurious_are_the_last_of_the_ascending_order() -> None:
    """Of 50 images and k = 10; cut from its beginning, as in public code, they are the least."""
    spuriosity = np.random.default_rng(0).permutation(50)
    ascending = np.argsort(spuriosity)
    ranks = 49 - spuriosity
    most, least = ends(ranks, 10)
    assert sorted(most) == sorted(ascending[40:50])
    assert sorted(least) == sorted(ascending[0:10])
    assert not set(most) & set(least)


def test_images_without_a_rank_are_at_no_end() -> None:
    ranks = np.array([NO_RANK, 2, 0, NO_RANK, 1])
    most, least = ends(ranks, 1)
    assert (most.tolist(), least.tolist()) == ([2], [1])
    assert [len(end) for end in ends(np.full(3, NO_RANK), 1)] == [0, 0]


def slow_line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return slope and intercept of the line of least squares."""
    pairs = list(zip(x, y, strict=True))
    over = sum((a - x.mean()) * (b - y.mean()) for a, b in pairs)
    slope = over / sum((a - x.mean()) ** 2 for a in x)
    return slope, y.mean() - slope * x.mean()


def test_a_comparison_is_the_slow_one() -> None:
    rng = np.random.default_rng(0)
    top, bottom = rng.random((4, 9)), rng.random((4, 9))
    found = compare(top, bottom)
    slope, intercept = slow_line(top.mean(1), bottom.mean(1))
    expected = [bottom[m].mean() - (slope * top[m].mean() + intercept) for m in range(4)]
    assert found.effective_robustness == pytest.approx(expected)
    assert sum(found.effective_robustness) == pytest.approx(0)
    gaps = top - bottom
    correlations = []
    for one in range(4):
        for two in range(one):
            a, b = gaps[one] - gaps[one].mean(), gaps[two] - gaps[two].mean()
            correlations.append((a @ b) / np.sqrt((a @ a) * (b @ b)))
    assert found.correlation == pytest.approx(np.mean(correlations))
    across_classes = [np.mean((gaps[m] - gaps[m].mean()) ** 2) for m in range(4)]
    across_models = [np.mean((gaps[:, c] - gaps[:, c].mean()) ** 2) for c in range(9)]
    assert found.variance_ratio == pytest.approx(np.mean(across_classes) / np.mean(across_models))


def test_a_model_above_the_line_of_others_is_robust() -> None:
    top = np.array([[0.9], [0.8], [0.7], [0.6], [0.8]]).repeat(2, 1)
    bottom = top - 0.2
    bottom[4] += 0.15
    found = compare(top, bottom).effective_robustness
    assert int(np.argmax(found)) == 4
    assert max(found[:4]) < 0 < found[4]
