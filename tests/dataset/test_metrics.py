from __future__ import annotations

import numpy as np
import pytest

from builder.dataset import metrics
from tests import reference


def slow_auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Count every pair, as the definition says."""
    wins = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in scores[positive]
        for low in scores[~positive]
    ]
    return float(np.mean(wins))


def test_auroc_counts_pairs() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        soft = generator.integers(0, 12, (7, 9)).astype(np.uint8)
        truth = generator.random((7, 9)) < 0.4
        expected = slow_auroc(soft.ravel(), truth.ravel())
        assert metrics.mask_auroc(soft, truth) == pytest.approx(expected)
        assert metrics.auroc(soft.ravel(), truth.ravel()) == pytest.approx(expected)


def test_auroc_of_one_kind_alone_is_no_number() -> None:
    assert np.isnan(metrics.mask_auroc(np.zeros((2, 2), np.uint8), np.ones((2, 2), bool)))
    assert np.isnan(metrics.auroc(np.zeros(3), np.zeros(3, bool)))


def test_pointing_counts_all_maximal_pixels_and_an_empty_mask_points_nowhere() -> None:
    soft = np.array([[255, 255], [3, 0]], np.uint8)
    assert metrics.points_into(soft, np.array([[True, False], [True, True]])) == 0.5
    assert metrics.points_into(np.zeros((2, 2), np.uint8), np.ones((2, 2), bool)) == 0


def test_spearman_is_one_for_any_rising_function_and_shares_ties() -> None:
    values = np.array([0.1, 3.0, -2.0, 0.5])
    assert metrics.spearman(values, np.exp(values)) == pytest.approx(1)
    assert metrics.spearman(values, -values) == pytest.approx(-1)
    assert metrics.spearman(np.array([1.0, 1, 2]), np.array([1.0, 2, 3])) == pytest.approx(
        np.corrcoef([1.5, 1.5, 3], [1, 2, 3])[0, 1]
    )
    assert np.isnan(metrics.spearman(np.ones(3), values[:3]))


@pytest.mark.parametrize(
    ("core", "spurious", "expected"),
    [
        (0.8, 0.5, 3 / 7),
        (0.3, 0.1, 0.5),
        (0.95, 0.9, 1 / 3),
        (0.2, 0.4, -1 / 3),
        (0.5, 0.5, 0),
        (1, 1, 0),
        (0, 0, 0),
        (1, 0, 1),
        (0, 1, -1),
    ],
)
def test_relative_core_sensitivity(core: float, spurious: float, expected: float) -> None:
    """What is gained by the core over what could be; nothing where all or none is right."""
    assert reference.rcs(core, spurious) == pytest.approx(expected)
    assert metrics.relative_core_sensitivity(core, spurious) == pytest.approx(expected)


def test_relative_core_sensitivity_of_many_is_that_of_each() -> None:
    core, spurious = np.random.default_rng(0).integers(0, 11, (2, 200)) / 10
    expected = [reference.rcs(*pair) for pair in zip(core, spurious, strict=True)]
    found = metrics.relative_core_sensitivity(core, spurious)
    assert found == pytest.approx(expected)
    assert np.abs(found).max() == pytest.approx(1)
    assert metrics.relative_core_sensitivity(spurious, core) == pytest.approx(-found)


def test_chance_agreement_is_the_mean_over_shuffles() -> None:
    generator = np.random.default_rng(0)
    votes, truth = generator.random(40) < 0.3, generator.random(40) < 0.6
    shuffled = [metrics.agreement(generator.permutation(votes), truth) for _ in range(4000)]
    assert metrics.chance_agreement(votes, truth) == pytest.approx(np.mean(shuffled), abs=0.01)
