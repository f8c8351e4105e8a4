"""Which images a head is tuned on, against the same in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from builder.dataset.scores import NO_RANK
from builder.tune.choice import (
    Ints,
    at_random,
    ends_of_classes,
    halves,
    least_spurious,
)

SIZES = (9, 7, 12)
"""Images of each class; the second has no ranking."""


@pytest.fixture
def images() -> tuple[Ints, Ints]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), SIZES)
    ranks = [rng.permutation(9), np.full(7, NO_RANK), rng.permutation(12)]
    order = rng.permutation(len(labels))
    return labels[order], np.concatenate(ranks)[order]


def test_the_least_spurious_have_the_last_ranks(images: tuple[Ints, Ints]) -> None:
    labels, ranks = images
    chosen = least_spurious(labels, ranks, 10)
    expected = [
        place
        for place, (label, rank) in enumerate(zip(labels.tolist(), ranks.tolist(), strict=True))
        if label == 0 or (label == 2 and rank >= 2)
    ]
    assert chosen.tolist() == expected


def test_a_draw_takes_ranked_classes_alone_and_only_what_it_may(images: tuple[Ints, Ints]) -> None:
    labels, ranks = images
    is_ranked = ranks != NO_RANK
    chosen = at_random(labels, is_ranked, 4, 0)
    assert np.bincount(labels[chosen]).tolist() == [4, 0, 4]
    assert np.unique(chosen).tolist() == chosen.tolist()
    assert chosen.tolist() == at_random(labels, is_ranked, 4, 0).tolist()
    assert chosen.tolist() != at_random(labels, is_ranked, 4, 1).tolist()
    wrong = ranks % 3 == 0
    assert at_random(labels, wrong, 20, 0).tolist() == np.flatnonzero(wrong).tolist()


def test_of_classes_without_a_ranking_images_are_drawn(images: tuple[Ints, Ints]) -> None:
    labels, ranks = images
    rest = ranks == NO_RANK
    chosen = at_random(labels, rest, 4, 0)
    assert labels[chosen].tolist() == [1] * 4
    assert np.unique(chosen).tolist() == chosen.tolist()
    assert chosen.tolist() == at_random(labels, rest, 4, 0).tolist()
    assert chosen.tolist() != at_random(labels, rest, 4, 1).tolist()
    assert at_random(labels, rest, 20, 0).tolist() == np.flatnonzero(labels == 1).tolist()
    assert at_random(labels[labels != 1], rest[labels != 1], 4, 0).tolist() == []


@pytest.mark.parametrize(("count", "size"), [(2, 2), (5, 3)])
def test_groups_are_of_one_size_and_the_ends_of_rankings(
    images: tuple[Ints, Ints], count: int, size: int
) -> None:
    labels, ranks = images
    groups = ends_of_classes(labels, ranks, count, 0)
    assert list(groups) == [0, 1, 2]
    for label in (0, 2):
        most, least = (sorted(ranks[end].tolist()) for end in groups[label])
        assert most == list(range(size))
        assert least == list(range(SIZES[label] - size, SIZES[label]))
    assert len(set(np.concatenate(groups[1]).tolist())) == 2 * size
    for label, ends in groups.items():
        assert [len(end) for end in ends] == [size, size]
        assert set(labels[np.concatenate(ends)].tolist()) == {label}


def test_halves_take_turns_along_each_ranking(images: tuple[Ints, Ints]) -> None:
    labels, ranks = images
    first, second = halves(labels, ranks)
    assert (first ^ second).all()
    for label in (0, 2):
        own = labels == label
        assert sorted(ranks[own & first].tolist()) == list(range(0, SIZES[label], 2))
    assert np.count_nonzero(first & (labels == 1)) == 4
