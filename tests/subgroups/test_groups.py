"""What is told of subgroups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from builder.subgroups.decomposition import Decomposer
from builder.subgroups.groups import divide, share_of


def test_an_interval_is_wilson_s() -> None:
    right = np.array([True] * 7 + [False] * 4)
    found = share_of(right)
    assert found.images == 11
    assert found.value == pytest.approx(7 / 11)
    # Its ends are the true shares of which this one is just as far as 95 % are.
    for end in (found.low, found.high):
        assert abs(found.value - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / 11))
    assert share_of(np.ones(3, np.bool_)).high == pytest.approx(1)
    assert math.isnan(share_of(np.zeros(0, np.bool_)).value)


def test_the_worst_subgroup_comes_first() -> None:
    drawn = np.random.default_rng(0)
    features, losses = drawn.random((60, 8)) + 1, drawn.random((60, 2))
    right = drawn.random(60) < 0.6
    ids = [f"i{place}" for place in range(60)]
    found = divide(Decomposer(components=4), 3, ids, features, losses, right)
    members = found.decomposition.subgroups
    accuracies = []
    for group, told in enumerate(found.subgroups):
        own = members == group
        assert told.accuracy.images == own.sum()
        if own.any():
            accuracies.append(right[own].mean())
            assert told.accuracy.value == pytest.approx(right[own].mean())
            assert told.loss == pytest.approx(losses[own, 1].mean())
            above = own & (found.decomposition.scores[:, group] > 0)
            assert told.high.images == above.sum()
            assert told.low.images == (own & ~above).sum()
    assert accuracies == sorted(accuracies)
    assert found.gap == pytest.approx(right.mean() - accuracies[0])


def test_the_worst_of_random_groups_is_that_of_draws() -> None:
    right = np.array([True, False] * 4)
    found = divide(
        Decomposer("random", 2, seed=5), 1, [*"abcdefgh"], np.eye(8), np.zeros((8, 1)), right
    )
    sizes = [subgroup.accuracy.images for subgroup in found.subgroups]
    drawn = np.random.default_rng((5, 1))
    worst = []
    for _ in range(200):
        shuffled = drawn.permutation(right)
        parts = shuffled[: sizes[0]], shuffled[sizes[0] :]
        worst.append(min(part.mean() for part in parts if len(part)))
    assert found.random_worst == pytest.approx(np.mean(worst))


def test_a_class_of_few_images_is_left_whole() -> None:
    right = np.array([True, False])
    found = divide(Decomposer(components=2), 0, ["a", "b"], np.eye(2), np.ones((2, 1)), right)
    assert found.is_whole
    assert found.decomposition.subgroups.tolist() == [0, 0]
    assert [subgroup.accuracy.images for subgroup in found.subgroups] == [2, 0, 0, 0]
    assert found.random_worst == pytest.approx(0.5)
