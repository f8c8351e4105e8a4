from __future__ import annotations

import math

import numpy as np
import pytest

from builder.dataset.scores import NO_RANK, score, z_scores
from tests import reference


def test_scores_are_the_reference_s_with_ties_constants_and_gaps() -> None:
    generator = np.random.default_rng(0)
    labels = generator.choice([0, 2, 3], 200)
    # Few distinct values: many ties. Feature 1 is constant.
    activations = (generator.integers(0, 6, (200, 3)) / 8).astype(np.float32)
    activations[:, 1] = 0.1
    ids = [f"image_{number:03d}" for number in generator.permutation(200)]
    spurious = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0], [0, 0, 1]], np.bool_)

    scores = score(labels, np.argsort(np.argsort(ids)), activations, spurious)

    kinds = np.where(spurious, "spurious", "core")
    rows = {
        image: {"label": int(label), "kinds": kinds[label].tolist()}
        for image, label in zip(ids, labels, strict=True)
    }
    reference.add_scores(rows, dict(zip(ids, activations.astype(float).tolist(), strict=True)))
    for position, image in enumerate(ids):
        expected = rows[image]
        assert scores.activation_ranks[position].tolist() == expected["activation_ranks"]
        if expected["spuriosity"] is None:
            assert math.isnan(scores.spuriosity[position])
            assert scores.spuriosity_ranks[position] == NO_RANK
        else:
            assert scores.spuriosity[position] == pytest.approx(expected["spuriosity"], abs=1e-12)
            assert scores.spuriosity_ranks[position] == expected["spuriosity_rank"]
    assert np.isnan(scores.means[1]).all()
    assert scores.means[2, 0] == pytest.approx(activations[labels == 2, 0].mean())
    assert scores.stds[2, 0] == pytest.approx(activations[labels == 2, 0].std())


def test_the_order_of_the_rows_does_not_matter() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 60)
    activations = generator.random((60, 2), np.float32)
    spurious = np.ones((3, 2), np.bool_)
    id_order = generator.permutation(60)
    shuffle = generator.permutation(60)

    scores = score(labels, id_order, activations, spurious)
    shuffled = score(labels[shuffle], id_order[shuffle], activations[shuffle], spurious)

    assert np.array_equal(scores.spuriosity[shuffle], shuffled.spuriosity)
    assert np.array_equal(scores.spuriosity_ranks[shuffle], shuffled.spuriosity_ranks)
    assert np.array_equal(scores.activation_ranks[shuffle], shuffled.activation_ranks)


def test_a_constant_feature_scores_zero_even_where_its_mean_rounds() -> None:
    values = np.full((7, 1), 0.1)
    assert (z_scores(values) == 0).all()


def test_a_single_image_is_rank_zero() -> None:
    scores = score(
        np.array([4]), np.array([0]), np.ones((1, 2), np.float32), np.ones((5, 2), np.bool_)
    )
    assert scores.spuriosity.tolist() == [0.0]
    assert scores.spuriosity_ranks.tolist() == [0]
