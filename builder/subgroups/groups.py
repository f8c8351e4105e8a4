"""What is told of the subgroups of a class: how many images, and how often a model errs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from builder.subgroups.decomposition import Decomposer, Decomposition
from builder.subgroups.space import Floats, space_of

_Z = 1.959963984540054
"""The normal quantile of a 95 % interval."""

DRAWS = 200
"""Divisions at random, by which one knows how low the worst of several groups is by chance."""


@dataclass(frozen=True)
class Share:
    """A share of images with its 95 % interval by Wilson; NaN of no images.

    Attributes
    ----------
    images : int
        Of which it is the share.
    value, low, high : float
    """

    images: int
    value: float
    low: float
    high: float


NONE = Share(0, math.nan, math.nan, math.nan)


def share_of(right: npt.NDArray[np.bool_]) -> Share:
    """Return the share that a model gets right."""
    n = len(right)
    if not n:
        return NONE
    value = float(right.mean())
    middle = (value + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2))
    return Share(n, value, max(0.0, middle - half), min(1.0, middle + half))


@dataclass(frozen=True)
class Subgroup:
    """A subgroup of a class.

    Attributes
    ----------
    accuracy : Share
    loss : float
        The mean over its images; NaN without.
    high, low : Share
        Of its images whose score is above 0, and of the others, which there are only where both
        ends of a component are one subgroup.
    """

    accuracy: Share
    loss: float
    high: Share
    low: Share


@dataclass(frozen=True)
class Division:
    """A class, divided.

    Attributes
    ----------
    label : int
    image_ids : list of str
        In the order of the rows of all that follows.
    losses : ndarray of float64, shape (images,)
    right : ndarray of bool, shape (images,)
    decomposition : Decomposition
        Its subgroups ordered by accuracy, the worst first.
    subgroups : list of Subgroup
    random_worst : float
        The accuracy of the worst of groups of these sizes that are drawn at random, the mean over
        draws.
    unseen : Share
        The accuracy of the worst subgroup on images that had no say in what it is: each half of
        the class is divided by what is learnt from the other.
    is_whole : bool
        Whether the class has too few images to be divided: all are in its first subgroup.
    """

    label: int
    image_ids: list[str]
    losses: Floats
    right: npt.NDArray[np.bool_]
    decomposition: Decomposition
    subgroups: list[Subgroup] = field(default_factory=list)
    random_worst: float = math.nan
    unseen: Share = NONE
    is_whole: bool = False

    @property
    def accuracy(self) -> Share:
        """Of the whole class."""
        return share_of(self.right)

    @property
    def worst(self) -> Subgroup:
        """The subgroup of the lowest accuracy."""
        return self.subgroups[0]

    @property
    def gap(self) -> float:
        """How far the accuracy of the worst subgroup is below that of the class."""
        return float(self.right.mean()) - self.worst.accuracy.value


def divide(
    decomposer: Decomposer,
    label: int,
    image_ids: list[str],
    features: npt.NDArray[np.floating],
    losses: Floats,
    right: npt.NDArray[np.bool_],
) -> Division:
    """Divide a class into subgroups, ordered by accuracy.

    Parameters
    ----------
    decomposer : Decomposer
    label : int
    image_ids : list of str
    features : ndarray of float, shape (images, features)
    losses : ndarray of float64, shape (images, checkpoints)
        The last checkpoint's is the model's own.
    right : ndarray of bool, shape (images,)
    """
    own = losses[:, -1]
    is_whole = len(image_ids) <= decomposer.components
    if is_whole:
        found = _whole(len(image_ids), decomposer.subgroups)
    else:
        found = decomposer(space_of(features), losses, label)
        found = found.in_order(_worst_first(found, own, right))
    members = found.subgroups
    subgroups = [
        _subgroup(members == group, found.scores[:, group], own, right)
        for group in range(decomposer.subgroups)
    ]
    sizes = [subgroup.accuracy.images for subgroup in subgroups]
    chance = _worst_at_random(right, sizes, (decomposer.seed, label))
    unseen = share_of(_unseen(decomposer, label, features, losses, right))
    return Division(label, image_ids, own, right, found, subgroups, chance, unseen, is_whole)


def _unseen(
    decomposer: Decomposer,
    label: int,
    features: npt.NDArray[np.floating],
    losses: Floats,
    right: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Return whether the model is right on the images of either half's worst subgroup.

    Which subgroup is the worst, and where it lies, is learnt from the other half.
    """
    found = [np.zeros(0, np.bool_)]
    halves = np.arange(len(right)) % 2 == 0
    if halves.sum() - 1 > decomposer.components:
        for half in (halves, ~halves):
            space = space_of(features[half])
            rule = decomposer.fit(space, losses[half], label)
            worst = _worst_first(rule(space), losses[half, -1], right[half])[0]
            members = rule(space.of(features[~half])).subgroups == worst
            found.append(right[~half][members])
    return np.concatenate(found)


def _whole(images: int, subgroups: int) -> Decomposition:
    memberships = np.zeros((images, subgroups))
    memberships[:, 0] = 1
    return Decomposition(np.zeros((images, subgroups)), memberships, None)


def _worst_first(
    found: Decomposition, losses: Floats, right: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Return the order of subgroups: by accuracy, then the larger loss; those of no image last."""
    members = found.subgroups

    def key(group: int) -> tuple[float, float, int]:
        own = members == group
        if not own.any():
            return math.inf, 0.0, group
        return float(right[own].mean()), -float(losses[own].mean()), group

    return np.array(sorted(range(found.scores.shape[1]), key=key))


def _subgroup(
    own: npt.NDArray[np.bool_], scores: Floats, losses: Floats, right: npt.NDArray[np.bool_]
) -> Subgroup:
    above = own & (scores > 0)
    loss = float(losses[own].mean()) if own.any() else math.nan
    return Subgroup(
        share_of(right[own]), loss, share_of(right[above]), share_of(right[own & ~above])
    )


def _worst_at_random(
    right: npt.NDArray[np.bool_], sizes: list[int], seed: tuple[int, int]
) -> float:
    drawn = np.random.default_rng(seed)
    starts = np.cumsum([0, *(size for size in sizes if size)])[:-1]
    lengths = np.array([size for size in sizes if size])
    shuffled = (drawn.permutation(right) for _ in range(DRAWS))
    return float(
        np.mean([(np.add.reduceat(r.astype(np.int64), starts) / lengths).min() for r in shuffled])
    )
