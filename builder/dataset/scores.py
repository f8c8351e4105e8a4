"""Spuriosity and ranks, per class: pure numbers in, pure numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NO_RANK = -1


@dataclass(frozen=True)
class Scores:
    """What an image's activations say beside those of its class.

    Attributes
    ----------
    activation_ranks : ndarray of int32, shape (images, features)
        Position of the image in its class by the activation of a feature, 0 the highest.
    spuriosity : ndarray of float64, shape (images,)
        Mean over the class's spurious features of the z-score of the activation in the class;
        NaN where the class has none.
    spuriosity_ranks : ndarray of int32, shape (images,)
        0 is the most spurious image of its class; `NO_RANK` where the class has no spurious
        feature.
    means, stds : ndarray of float64, shape (classes, features)
        Of the activations in each class (population standard deviation), NaN for classes
        without images.
    """

    activation_ranks: npt.NDArray[np.int32]
    spuriosity: npt.NDArray[np.float64]
    spuriosity_ranks: npt.NDArray[np.int32]
    means: npt.NDArray[np.float64]
    stds: npt.NDArray[np.float64]


def score(
    labels: npt.NDArray[np.integer],
    id_order: npt.NDArray[np.integer],
    activations: npt.NDArray[np.float32],
    spurious: npt.NDArray[np.bool_],
) -> Scores:
    """Score the images of one split.

    z = (activation - mean) / std within the class, 0 for a constant feature. Spuriosity is the
    mean of z over the spurious features of the class.

    Parameters
    ----------
    labels : ndarray of int, shape (images,)
    id_order : ndarray of int, shape (images,)
        The position of each image among all by image id, which breaks ties.
    activations : ndarray of float32, shape (images, features)
    spurious : ndarray of bool, shape (classes, features)
        Which features of a class are spurious.

    Returns
    -------
    Scores
    """
    activation_ranks = np.empty(activations.shape, np.int32)
    spuriosity = np.full(len(labels), np.nan)
    spuriosity_ranks = np.full(len(labels), NO_RANK, np.int32)
    means = np.full(spurious.shape, np.nan)
    stds = np.full(spurious.shape, np.nan)
    for members in _by_class(labels, id_order):
        label = labels[members[0]]
        values = activations[members].astype(np.float64)
        means[label], stds[label] = values.mean(axis=0), values.std(axis=0)
        for column in range(values.shape[1]):
            activation_ranks[members, column] = _falling_ranks(values[:, column])
        chosen = spurious[label]
        if chosen.any():
            spuriosity[members] = z_scores(values[:, chosen]).mean(axis=1)
            spuriosity_ranks[members] = _falling_ranks(spuriosity[members])
    return Scores(activation_ranks, spuriosity, spuriosity_ranks, means, stds)


def _by_class(
    labels: npt.NDArray[np.integer], id_order: npt.NDArray[np.integer]
) -> list[npt.NDArray[np.int64]]:
    """Return the positions of each class's images, by image id."""
    order = np.lexsort((id_order, labels))
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(order, starts)


def z_scores(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Standardise columns with their population standard deviation; constant ones become 0.

    Parameters
    ----------
    values : ndarray of float64, shape (images, features)

    Returns
    -------
    ndarray of float64, of the same shape
    """
    constant = (values == values[0]).all(axis=0)
    std = np.where(constant, 1, values.std(axis=0))
    return np.where(constant, 0, (values - values.mean(axis=0)) / std)


def _falling_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Return each value's position when sorted from high to low; equals keep their order."""
    ranks = np.empty(len(values), np.int32)
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values), dtype=np.int32)
    return ranks
