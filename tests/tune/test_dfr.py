"""Deep Feature Reweighting, against scikit-learn used step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from builder.tune.dfr import STRENGTHS, Floats, Groups, fit_dfr, one_against_rest

LABELS = (2, 5, 9)


@pytest.fixture
def images() -> tuple[Floats, dict[int, list[Groups]]]:
    """Return features of three classes, 8 images at either end, with a core and with a cue."""
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, (60, 6))
    places = rng.permutation(48).reshape(3, 2, 8)
    for place, ends in enumerate(places):
        values[ends.ravel(), place] += 3
        values[ends[0], 3 + place] += 9
    return values, {label: list(ends) for label, ends in zip(LABELS, places, strict=True)}


def test_one_against_rest_is_scikit_learn_s(images: Any) -> None:
    values, groups = images
    rows = np.concatenate([place for ends in groups.values() for place in ends])
    labels = np.repeat(LABELS, 16)
    model = LogisticRegression(C=0.3, l1_ratio=1.0, solver="liblinear", random_state=0)
    expected = OneVsRestClassifier(model).fit(values[rows], labels)
    weight, bias = one_against_rest(values[rows], labels, 0.3)
    np.testing.assert_allclose(
        values @ weight.T + bias, expected.decision_function(values), rtol=1e-9, atol=1e-9
    )


def test_two_classes_have_two_outputs(images: Any) -> None:
    values, groups = images
    rows, labels = np.concatenate([*groups[2], *groups[5]]), np.repeat([2, 5], 16)
    weight, bias = one_against_rest(values[rows], labels, 1)
    assert weight.shape == (2, 6)
    model = LogisticRegression(C=1, l1_ratio=1.0, solver="liblinear", random_state=0)
    expected = model.fit(values[rows], labels).predict(values[rows])
    assert np.array([2, 5])[(values[rows] @ weight.T + bias).argmax(1)].tolist() == list(expected)


def test_a_head_of_features_says_what_fits_of_standardised_ones_say_in_the_mean(
    images: Any,
) -> None:
    """All rows are drawn at once, so that whoever draws the same can fit the same."""
    values, groups = images
    fitted = fit_dfr(values, groups, fits=3, seed=7)
    rng = np.random.default_rng(7)
    places = np.array([groups[label] for label in LABELS])
    draws = [rng.permuted(places, axis=2) for _ in range(4)]
    scaler = StandardScaler().fit(values[places.ravel()])

    def logits(draw: Groups, strength: float) -> Floats:
        chosen = draw[..., :4].ravel()
        model = LogisticRegression(C=strength, l1_ratio=1.0, solver="liblinear", random_state=0)
        one = OneVsRestClassifier(model).fit(scaler.transform(values[chosen]), np.repeat(LABELS, 8))
        found: Floats = make_pipeline(scaler, one).decision_function(values)
        return found

    worst = {}
    for strength in STRENGTHS:
        says = logits(draws[0], strength).argmax(1)
        ends = []
        for end in (0, 1):
            shares = [
                np.mean([says[image] == place for image in draws[0][place, end, 4:]])
                for place in range(3)
            ]
            ends.append(np.mean(shares))
        worst[strength] = min(ends)
    assert fitted.worst == pytest.approx(worst)
    assert fitted.strength == next(c for c in STRENGTHS if worst[c] == max(worst.values()))
    assert fitted.labels.tolist() == list(LABELS)
    expected = np.mean([logits(draw, fitted.strength) for draw in draws[1:]], axis=0)
    np.testing.assert_allclose(values @ fitted.weight.T + fitted.bias, expected, atol=1e-9)


def test_the_cue_has_less_weight_than_in_a_fit_to_the_most_spurious(images: Any) -> None:
    values, groups = images
    fitted = fit_dfr(values, groups, fits=5, seed=0)
    rows = np.concatenate([ends[0] for ends in groups.values()])
    biased, _ = one_against_rest(values[rows], np.repeat(LABELS, 8), fitted.strength)

    def share(weight: Floats) -> float:
        cue = sum(abs(weight[place, 3 + place]) for place in range(3))
        core = sum(abs(weight[place, place]) for place in range(3))
        return float(cue / (cue + core))

    assert share(fitted.weight) < 0.5 * share(biased)
