from __future__ import annotations

import numpy as np
import pytest

from builder.dataset.votes import Pair, Votes
from builder.network.importance import Importance, agreement
from tests import reference


def sums_of(pooled: np.ndarray, predicted: np.ndarray, classes: int) -> Importance:
    importance = Importance.empty(classes, pooled.shape[1])
    importance.add(pooled, predicted)
    return importance


def test_the_ranking_is_the_reference_s() -> None:
    generator = np.random.default_rng(0)
    pooled = generator.random((80, 12), np.float32)
    predicted = generator.integers(0, 3, 80)
    weight = generator.normal(size=(3, 12)).astype(np.float32)
    importance = sums_of(pooled, predicted, 3)
    for label in range(3):
        expected = reference.top_features(list(pooled), predicted.tolist(), label, weight)
        assert importance.ranking(label, weight).tolist() == expected


def test_the_order_of_batches_changes_no_bit() -> None:
    generator = np.random.default_rng(1)
    pooled = generator.random((90, 5), np.float32) * 1e3
    predicted = generator.integers(0, 4, 90)
    forwards, backwards = Importance.empty(4, 5), Importance.empty(4, 5)
    parts = np.split(np.arange(90), [7, 30, 31, 80])
    for part in parts:
        forwards.add(pooled[part], predicted[part])
    for part in reversed(parts):
        backwards.add(pooled[part], predicted[part])
    assert np.array_equal(forwards.sums, backwards.sums)
    assert np.array_equal(forwards.counts, np.bincount(predicted, minlength=4))


def test_contributions_add_up() -> None:
    pooled = np.random.default_rng(2).random((6, 3), np.float32)
    predicted = np.array([0, 3, 3, 1, 0, 3])
    together = sums_of(pooled, predicted, 5)
    merged = Importance.empty(5, 3)
    for part in (slice(0, 2), slice(2, 6)):
        contribution = sums_of(pooled[part], predicted[part], 5).contribution()
        assert contribution.labels.tolist() == sorted(set(predicted[part].tolist()))
        merged.merge(contribution)
    assert np.array_equal(merged.sums, together.sums)
    assert np.array_equal(merged.counts, together.counts)


@pytest.mark.parametrize(
    ("voted", "expected", "mismatch"),
    [
        ([39, 38, 37, 36, 35], {5: 5, 10: 5, 20: 5}, False),
        ([39, 38, 33, 25, 0], {5: 2, 10: 3, 20: 4}, False),
        ([0, 1, 2, 25, 39], {5: 1, 10: 1, 20: 2}, True),
    ],
)
def test_agreement_counts_voted_features_in_each_top(
    voted: list[int], expected: dict[int, int], *, mismatch: bool
) -> None:
    pooled = np.tile(np.arange(40, dtype=np.float32), (12, 1))
    importance = sums_of(pooled, np.zeros(12, np.int64), 2)
    weight = np.ones((2, 40), np.float32)
    pairs = tuple(Pair(0, "n0", feature, rank, 5, 0, 0, 5.0) for rank, feature in enumerate(voted))
    found = agreement(importance, Votes(pairs, ""), weight)
    assert found.in_top == expected
    assert found.is_mismatch is mismatch


def test_too_few_images_are_no_evidence() -> None:
    importance = sums_of(np.ones((9, 40), np.float32), np.zeros(9, np.int64), 1)
    pairs = (Pair(0, "n0", 3, 1, 5, 0, 0, 5.0),)
    found = agreement(importance, Votes(pairs, ""), np.ones((1, 40), np.float32))
    assert found.pairs == 0
    assert not found.is_mismatch
