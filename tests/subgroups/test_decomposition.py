"""Decompositions held against slow re-implementations, and against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_mutual_info_score

from builder.subgroups.decomposition import Decomposer, memberships_of, pls_rotations
from builder.subgroups.space import Floats, space_of
from tests import reference

METHODS = ("dim", "pca", "kmeans", "random")
CHECKPOINTS = 3


@pytest.fixture
def features() -> Floats:
    drawn = np.random.default_rng(0)
    return drawn.random((40, 9)) * np.linspace(1, 3, 9)


@pytest.fixture
def losses(features: Floats) -> Floats:
    drawn = np.random.default_rng(1)
    return np.exp(features[:, :CHECKPOINTS] + drawn.random((len(features), CHECKPOINTS)))


@pytest.mark.parametrize("loss_weight", [0.0, 0.5, 2.0])
def test_components_are_those_of_the_slow_nipals(
    features: Floats, losses: Floats, loss_weight: float
) -> None:
    found = Decomposer(components=4, ends="together", loss_weight=loss_weight)(
        space_of(features), losses, 0
    )
    expected = reference.dim_scores(features, losses, 4, loss_weight)
    signs = np.sign((found.scores * expected).sum(0))
    np.testing.assert_allclose(found.scores, signs * expected, atol=1e-6)
    for row, scores in zip(found.memberships, expected, strict=True):
        np.testing.assert_allclose(row, [abs(s) / sum(abs(scores)) for s in scores], atol=1e-6)
    assert found.subgroups.tolist() == [np.argmax(abs(scores)) for scores in expected]
    # The sign with which scores rise with the mean loss.
    for scores in found.scores.T:
        assert np.corrcoef(scores, losses.mean(1))[0, 1] > 0


def test_the_paper_s_own_weight_is_scikit_learn_s_scaling(features: Floats, losses: Floats) -> None:
    space = space_of(features)
    weight = CHECKPOINTS / features.shape[1]  # each column weighs the same
    found = Decomposer(components=3, ends="together", loss_weight=weight)(space, losses, 0)
    shown = features / np.linalg.norm(features, axis=1, keepdims=True)
    pls = PLSRegression(3, tol=1e-12, max_iter=5000).fit(shown, np.hstack([-losses, shown]))
    scores = pls.transform(shown)
    lengths = np.linalg.norm(space.centred, axis=1)
    for own, other in zip(found.scores.T, scores.T, strict=True):
        assert abs(np.corrcoef(own * lengths, other)[0, 1]) == pytest.approx(1, abs=1e-6)


def test_without_losses_the_components_are_the_principal_axes(
    features: Floats, losses: Floats
) -> None:
    space = space_of(features)
    axes = PCA(3).fit(space.standardised).components_
    rotations = pls_rotations(space.standardised, space.standardised, 3)
    np.testing.assert_allclose(np.abs((axes * rotations.T).sum(1)), 1, atol=1e-6)
    one, other = (
        Decomposer(method, 3, loss_weight=0)(space, losses, 0) for method in ("dim", "pca")
    )
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_give_the_same_kind_of_thing(
    method: str, features: Floats, losses: Floats
) -> None:
    decomposer = Decomposer(method, 4, "together", seed=3)
    found, again = (decomposer(space_of(features), losses, 7) for _ in range(2))
    assert found.scores.shape == found.memberships.shape == (40, 4)
    np.testing.assert_array_equal(found.scores, again.scores)
    np.testing.assert_array_equal(found.memberships, again.memberships)
    np.testing.assert_allclose(found.memberships.sum(1), 1)
    assert (found.memberships >= 0).all()
    assert np.abs(found.scores).max() <= 1 + 1e-12
    if method == "random":
        assert found.directions is None
        other = decomposer(space_of(features), losses, 8)
        assert not np.array_equal(other.scores, found.scores)
    else:
        assert found.directions is not None
        np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1)
        np.testing.assert_allclose(
            space_of(features).cosines(found.directions), found.scores, atol=1e-12
        )


def test_kmeans_finds_clumps() -> None:
    drawn = np.random.default_rng(0)
    clumps = np.repeat(np.arange(3), 20)
    features = 5 * np.eye(3)[clumps] + drawn.random((60, 3))
    found = Decomposer("kmeans", 3)(space_of(features), drawn.random((60, 1)), 0)
    assert adjusted_mutual_info_score(clumps, found.subgroups) == pytest.approx(1)


def test_the_losses_find_what_is_not_the_widest_axis() -> None:
    drawn = np.random.default_rng(0)
    planted = drawn.random(200) < 0.5
    features = drawn.standard_normal((200, 60)) + 20
    features[:, :6] += 2 * planted[:, None]
    for start in range(6, 60, 6):  # what the model does not care for
        features[:, start : start + 6] += 1.5 * drawn.standard_normal((200, 1))
    losses = (planted + 0.3 * drawn.standard_normal(200))[:, None]
    best = {
        method: max(
            abs(np.corrcoef(scores, planted)[0, 1])
            for scores in Decomposer(method, 2)(space_of(features), losses, 0).scores.T
        )
        for method in ("dim", "pca")
    }
    assert best["dim"] > 0.7
    assert best["pca"] < 0.3


def test_nothing_that_is_constant_does_harm(losses: Floats) -> None:
    same = np.ones((40, 3))
    for method in METHODS:
        found = Decomposer(method, 2)(space_of(same), np.ones_like(losses), 0)
        assert np.isfinite(found.scores).all()
        np.testing.assert_allclose(found.memberships.sum(1), 1)
    np.testing.assert_array_equal(memberships_of(np.zeros((1, 4))), np.full((1, 4), 0.25))


@pytest.mark.parametrize("method", ["dim", "pca"])
def test_ends_that_are_apart_are_the_halves_of_those_together(
    method: str, features: Floats, losses: Floats
) -> None:
    apart, together = (
        Decomposer(method, 3, ends)(space_of(features), losses, 0) for ends in ("apart", "together")
    )
    np.testing.assert_allclose(apart.scores, np.hstack([together.scores, -together.scores]))
    for row, scores in zip(apart.memberships, apart.scores, strict=True):
        above = [max(score, 0) for score in scores]
        np.testing.assert_allclose(row, [value / sum(above) for value in above])
    assert (apart.subgroups % 3).tolist() == together.subgroups.tolist()
    own = apart.scores[np.arange(len(losses)), apart.subgroups]
    assert (own > 0).all()
