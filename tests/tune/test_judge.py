"""How heads stand, against slow twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from builder.dataset.scores import NO_RANK
from builder.evaluate.features import Features
from builder.evaluate.measures import overall
from builder.tune.judge import BINS, Judge, along_rankings
from tests import reference


@pytest.fixture
def judge(seeded: None) -> Judge:
    """Return a judge of 60 images of four classes, the last of which has no ranking."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 15)
    ranks = np.concatenate([*(rng.permutation(15) for _ in range(3)), np.full(15, NO_RANK)])
    return Judge(Features([str(n) for n in range(60)], labels, ranks, torch.randn(60, 5)), 4, 0)


def test_a_standing_is_what_the_reference_says(judge: Judge) -> None:
    head, features = nn.Linear(5, 4), judge.features
    logits = (features.values @ head.weight.T + head.bias).tolist()
    rows = {
        ("clean", 0, name): {
            "label": int(label),
            "spuriosity_rank": None if rank == NO_RANK else int(rank),
            "predicted": max(range(4), key=row.__getitem__),
        }
        for name, label, rank, row in zip(
            features.image_ids, features.labels, features.ranks, logits, strict=True
        )
    }
    standing = judge.standing(head)
    assert standing.accuracy == pytest.approx(reference.accuracy(rows, "clean"))
    assert standing.gap == pytest.approx(reference.gap(rows, 4))
    means = overall(judge.scores(head))
    assert means["clean_accuracy"].value == pytest.approx(standing.accuracy)
    assert means["spurious_gap"].value == pytest.approx(standing.gap)


@pytest.mark.parametrize("images", [15, 4])
def test_accuracy_along_rankings_is_the_slow_one(images: int) -> None:
    rng = np.random.default_rng(images)
    labels = np.repeat(np.arange(3), images)
    ranks = np.concatenate([rng.permutation(images), np.full(images, NO_RANK), np.arange(images)])
    right = rng.random(len(labels)) < 0.6
    known = [None if rank == NO_RANK else rank for rank in ranks.tolist()]
    expected = reference.along_rankings(labels.tolist(), known, right.tolist(), BINS)
    assert along_rankings(labels, ranks, right).tolist() == pytest.approx(expected, nan_ok=True)


def test_features_at_places_are_those_of_the_images_there(judge: Judge) -> None:
    part = judge.features.at(np.array([7, 3]))
    assert part.image_ids == ["7", "3"]
    assert torch.equal(part.values, judge.features.values[[7, 3]])
    assert len(judge.features.at(judge.features.labels == 2)) == 15
