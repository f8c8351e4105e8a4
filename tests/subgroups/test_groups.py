"""What is told of subgroups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from builder.subgroups.decomposition import Decomposer
from builder.subgroups.groups import divide, share_of
from builder.subgroups.space import space_of


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


def test_the_worst_is_told_by_images_that_had_no_say() -> None:
    drawn = np.random.default_rng(0)
    features, losses = drawn.random((60, 8)) + 1, drawn.random((60, 2))
    right = drawn.random(60) < 0.6
    decomposer = Decomposer(components=3)
    found = divide(decomposer, 3, [f"i{place}" for place in range(60)], features, losses, right)
    told: list[bool] = []
    for first in (0, 1):
        seen, unseen = slice(first, None, 2), slice(1 - first, None, 2)
        space = space_of(features[seen])
        learnt = decomposer(space, losses[seen], 3)
        groups = {
            group: (right[seen][learnt.subgroups == group].mean(), -losses[seen, 1][own].mean())
            for group in range(6)
            if (own := learnt.subgroups == group).any()
        }
        worst = min(groups, key=lambda group: groups[group])
        assert learnt.directions is not None
        for row, truth in zip(features[unseen], right[unseen], strict=True):
            beside = row / np.linalg.norm(row) - space.mean
            if np.argmax(learnt.directions @ beside) == worst:
                told.append(bool(truth))
    assert found.unseen.images == len(told) > 0
    assert found.unseen.value == pytest.approx(np.mean(told))


def test_what_is_learnt_of_noise_does_not_hold_on_other_images() -> None:
    drawn = np.random.default_rng(1)
    features, right = drawn.random((200, 300)) + 1, drawn.random(200) < 0.7
    losses = (2.0 - 2 * right + drawn.random(200))[:, None]
    found = divide(Decomposer(), 0, [f"i{place}" for place in range(200)], features, losses, right)
    assert found.worst.accuracy.value < found.random_worst < 0.6
    assert found.unseen.low < 0.7 < found.unseen.high
