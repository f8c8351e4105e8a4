"""Which images of a data set a head is tuned on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from builder.dataset.scores import NO_RANK
from builder.evaluate.measures import ends

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def least_spurious(labels: Ints, ranks: Ints, count: int) -> Ints:
    """Return where the least spurious images of each ranked class are.

    Parameters
    ----------
    labels, ranks : ndarray of int64, shape (images,)
        Ranks are of spuriosity, `NO_RANK` where the class has none.
    count : int
        Of images of a class; all of one that has fewer.
    """
    own = [places[ends(ranks[places], count)[1]] for places in _ranked(labels, ranks)]
    return np.sort(np.concatenate(own))


def at_random(labels: Ints, among: Bools, count: int, seed: int) -> Ints:
    """Return where so many images of each class are, drawn at random.

    Parameters
    ----------
    labels : ndarray of int64, shape (images,)
    among : ndarray of bool, shape (images,)
        Which images are drawn from: say, those of ranked classes that a model gets wrong.
    count : int
        Of images of a class; all of one that has fewer.
    seed : int
    """
    chosen = [np.zeros(0, np.int64)]
    for label in np.unique(labels[among]).tolist():
        own = np.flatnonzero(among & (labels == label))
        chosen.append(np.random.default_rng((seed, label)).permutation(own)[:count])
    return np.sort(np.concatenate(chosen))


def ends_of_classes(labels: Ints, ranks: Ints, count: int, seed: int) -> dict[int, list[Ints]]:
    """Return where the two groups of each class are, all of one size.

    Those of a ranked class are its most and its least spurious images; those of another are drawn
    at random.

    Parameters
    ----------
    labels, ranks
        As for `least_spurious`.
    seed : int
    count : int
        Images of a group at most: the groups are as large as half of the smallest class lets them.

    Returns
    -------
    dict of int to list of two ndarrays of int64, shape (size,)
        By label.
    """
    present, images = np.unique(labels, return_counts=True)
    size = min(count, int(images.min()) // 2)
    groups = {}
    for label in present.tolist():
        places = np.flatnonzero(labels == label)
        if ranks[places[0]] == NO_RANK:
            drawn = np.random.default_rng((seed, label)).permutation(places)
            groups[label] = [drawn[:size], drawn[size : 2 * size]]
        else:
            groups[label] = [places[end] for end in ends(ranks[places], size)]
    return groups


def halves(labels: Ints, ranks: Ints) -> tuple[Bools, Bools]:
    """Cut the images of each class in two: every other one of its ranking, or as they come.

    Returns
    -------
    two ndarrays of bool, shape (images,)
    """
    first = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels).tolist():
        places = np.flatnonzero(labels == label)
        order = places[np.argsort(ranks[places], kind="stable")]
        first[order[::2]] = True
    return first, ~first


def _ranked(labels: Ints, ranks: Ints) -> Iterator[Ints]:
    """Yield where the images of each ranked class are."""
    for label in np.unique(labels[ranks != NO_RANK]).tolist():
        yield np.flatnonzero(labels == label)
