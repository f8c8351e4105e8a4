"""Deep Feature Reweighting: a new head, fitted to images from both ends of the rankings alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]

STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""Inverse strengths of the L1 penalty that are tried, as in the paper's code."""

Fit = Callable[[Floats, npt.NDArray[np.int64], float], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Fitted:
    """A head, and how it was found.

    Attributes
    ----------
    labels : ndarray of int64, shape (classes,)
        Of its outputs.
    weight : ndarray of float64, shape (classes, features)
    bias : ndarray of float64, shape (classes,)
    strength : float
        The inverse strength of the penalty that was best.
    worst : dict of float to float
        By inverse strength, the accuracy on the worse of the two ends.
    """

    labels: npt.NDArray[np.int64]
    weight: Floats
    bias: Floats
    strength: float
    worst: dict[float, float]


def fit_dfr(
    values: npt.NDArray[np.floating],
    groups: dict[int, list[Groups]],
    fits: int,
    seed: int,
    fit: Fit | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Fitted:
    """Fit a head to groups that count alike (Deep Feature Reweighting, Kirichenko et al.).

    Features are standardised. The strength of the penalty is the one whose head, fitted to half of
    each group, has the highest accuracy on the other halves of the group on which it is worse: the
    most or the least spurious images, each the mean over classes. The result is the mean of fits at
    that strength to halves drawn anew.

    Parameters
    ----------
    values : ndarray of float, shape (images, features)
    groups : dict of int to list of two ndarrays of int
        By label, where the images of its most and of its least spurious are, all of one size.
    fits : int
    seed : int
        Of the draws.
    fit : callable, optional
        From values, labels and strength to weight and bias; by default `one_against_rest`.
    advance : callable
        Called with each number of fits done.
    """
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 (takes seconds)

    fit = fit or one_against_rest
    labels = np.array(sorted(groups))
    places = np.array([groups[label] for label in labels.tolist()])
    rng = np.random.default_rng(seed)
    scaler = StandardScaler().fit(values[places.ravel()])

    def fitted(chosen: Groups, strength: float) -> tuple[Floats, Floats]:
        scaled = scaler.transform(values[chosen.ravel()])
        found = fit(scaled, np.repeat(labels, chosen[0].size), strength)
        advance(1)
        return _unscaled(*found, scaler.mean_, scaler.scale_)

    own, others = _drawn(places, rng)
    worst = {
        strength: _worst(*fitted(own, strength), values, labels, others) for strength in STRENGTHS
    }
    strength = max(worst, key=worst.__getitem__)
    heads = [fitted(_drawn(places, rng)[0], strength) for _ in range(fits)]
    weight, bias = (np.mean(parts, axis=0) for parts in zip(*heads, strict=True))
    return Fitted(labels, weight, bias, strength, worst)


def one_against_rest(
    values: Floats, labels: npt.NDArray[np.int64], strength: float
) -> tuple[Floats, Floats]:
    """Fit a logistic regression with an L1 penalty to each class against all others, by liblinear.

    Parameters
    ----------
    values : ndarray of float64, shape (images, features)
    labels : ndarray of int64, shape (images,)
        Of three classes or more, or of two.
    strength : float
        Inverse, of the penalty.

    Returns
    -------
    weight : ndarray of float64, shape (classes, features)
    bias : ndarray of float64, shape (classes,)
        By rising label.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    weights, biases = [], []
    for label in np.unique(labels).tolist():
        # liblinear draws the order of its coordinates.
        model = LogisticRegression(C=strength, l1_ratio=1.0, solver="liblinear", random_state=0)
        model.fit(values, labels == label)
        weights.append(model.coef_[0])
        biases.append(model.intercept_[0])
    return np.array(weights), np.array(biases)


def _drawn(places: Groups, rng: np.random.Generator) -> tuple[Groups, Groups]:
    """Return half of each group, drawn at random, and the rest: shape (classes, 2, images)."""
    shuffled = rng.permuted(places, axis=2)
    half = places.shape[2] // 2
    return shuffled[..., :half], shuffled[..., half:]


def _worst(
    weight: Floats, bias: Floats, values: npt.NDArray[np.floating], labels: Groups, places: Groups
) -> float:
    """Return the accuracy on the end of the rankings on which a head is worse."""
    logits = values[places] @ weight.T + bias
    right = labels[logits.argmax(-1)] == labels[:, None, None]
    return float(right.mean((0, 2)).min())


def _unscaled(weight: Floats, bias: Floats, mean: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Return a head of features as they are that says what one of standardised features does."""
    weight = weight / scale
    return weight, bias - weight @ mean
