"""Decompositions of a class into subgroups: DIM, and what it is compared with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from builder.subgroups.space import Floats, Space, spread_of, units

_TOLERANCE, _ROUNDS = 1e-18, 5000
"""Where the power method of partial least squares stops: far within what a float32 tells."""

_NEAREST = 1e-12
"""Of a centre no image is told to be nearer."""

_STARTS = 10
"""Of k-means, of which the best counts."""


@dataclass(frozen=True)
class Decomposition:
    """How the images of a class are divided.

    Attributes
    ----------
    scores : ndarray of float64, shape (images, subgroups)
        Where each image lies along the direction of each subgroup, from -1 to 1.
    memberships : ndarray of float64, shape (images, subgroups)
        Soft ones; each row sums to 1.
    directions : ndarray of float64, shape (subgroups, features), optional
        In the space of features; random groups have none.
    """

    scores: Floats
    memberships: Floats
    directions: Floats | None

    @property
    def subgroups(self) -> npt.NDArray[np.int64]:
        """The subgroup of each image: that of its largest membership, the first of several."""
        return np.asarray(self.memberships.argmax(1))

    def in_order(self, order: npt.NDArray[np.int64]) -> Decomposition:
        """Return the same with its subgroups in another order."""
        directions = None if self.directions is None else self.directions[order]
        return Decomposition(self.scores[:, order], self.memberships[:, order], directions)


class Rule(Protocol):
    """How a class is divided: learnt from some of its images, it may be asked of others."""

    def __call__(self, space: Space) -> Decomposition:
        """Divide images, which need not be those that it was learnt from."""


@dataclass(frozen=True)
class Directions:
    """Subgroups along directions.

    Attributes
    ----------
    directions : ndarray of float64, shape (subgroups, features)
    are_apart : bool
        Whether what lies the opposite way is in no part a member.
    """

    directions: Floats
    are_apart: bool

    def __call__(self, space: Space) -> Decomposition:
        """Divide images by their cosines with the directions."""
        scores = space.cosines(self.directions)
        sizes = scores.clip(min=0) if self.are_apart else np.abs(scores)
        return Decomposition(scores, memberships_of(sizes), self.directions)


@dataclass(frozen=True)
class Centres:
    """Subgroups around centres.

    Attributes
    ----------
    centres : ndarray of float64, shape (subgroups, features)
        In the standardised space.
    directions : ndarray of float64, shape (subgroups, features)
        Towards them.
    """

    centres: Floats
    directions: Floats

    def __call__(self, space: Space) -> Decomposition:
        """Divide images by their distances from the centres: memberships fall with these."""
        from sklearn.metrics import pairwise_distances  # noqa: PLC0415 (an extra)

        distances = pairwise_distances(space.standardised, self.centres)
        near = memberships_of(1 / np.maximum(distances, _NEAREST))
        return Decomposition(space.cosines(self.directions), near, self.directions)


@dataclass(frozen=True)
class Drawn:
    """Subgroups by chance.

    Attributes
    ----------
    seed : tuple of int
    subgroups : int
    """

    seed: tuple[int, int]
    subgroups: int

    def __call__(self, space: Space) -> Decomposition:
        """Draw where images belong."""
        drawn = np.random.default_rng(self.seed)
        scores = drawn.random((len(space.centred), self.subgroups))
        return Decomposition(scores, memberships_of(scores), None)


@dataclass(frozen=True)
class Decomposer:
    """Divides classes, each for itself.

    Attributes
    ----------
    method : str
        ``dim``, ``pca``, ``kmeans`` or ``random``.
    components : int
    ends : str
        Whether both ends of a component of ``dim`` or ``pca`` are subgroups ``apart``, or one
        ``together``.
    loss_weight : float
        Of the losses as a whole over the features as a whole, in the supervision of ``dim``.
    seed : int
        Of ``kmeans`` and ``random``.
    """

    method: str = "dim"
    components: int = 5
    ends: str = "apart"
    loss_weight: float = 1.0
    seed: int = 0

    @property
    def are_apart(self) -> bool:
        """Whether a component has two subgroups."""
        return self.ends == "apart" and self.method in ("dim", "pca")

    @property
    def subgroups(self) -> int:
        """How many subgroups a class is divided into."""
        return 2 * self.components if self.are_apart else self.components

    def fit(self, space: Space, losses: Floats, label: int) -> Rule:
        """Learn from images of a class how to divide it.

        Parameters
        ----------
        space : Space
            Of more images than there are components.
        losses : ndarray of float64, shape (images, checkpoints)
        label : int
            Of the class, on which all chance depends.
        """
        return _METHODS[self.method](self, space, losses, label)

    def __call__(self, space: Space, losses: Floats, label: int) -> Decomposition:
        """Divide a class by what is learnt from all its images, as `fit` takes them."""
        return self.fit(space, losses, label)(space)

    def _dim(self, space: Space, losses: Floats, _label: int) -> Rule:
        rotations = pls_rotations(
            space.standardised, self._supervision(space, losses), self.components
        )
        return self._along(space, rotations, losses)

    def _supervision(self, space: Space, losses: Floats) -> Floats:
        """Return losses, the lower the larger, and features: blocks that weigh as they are told."""
        features = space.standardised
        negative = -losses + losses.mean(0)
        blocks = [
            np.sqrt(self.loss_weight / losses.shape[1]) * negative / spread_of(negative),
            np.sqrt(1 / features.shape[1]) * features,
        ]
        return np.concatenate(blocks, axis=1)

    def _pca(self, space: Space, losses: Floats, _label: int) -> Rule:
        # Of the covariance of images, where there are fewer of these than features.
        _, _, axes = np.linalg.svd(space.standardised, full_matrices=False)
        return self._along(space, axes[: self.components].T, losses)

    def _kmeans(self, space: Space, _losses: Floats, label: int) -> Rule:
        from sklearn.cluster import KMeans  # noqa: PLC0415 (an extra)

        chance = np.random.RandomState((self.seed * 1_000_003 + label) % 2**32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Images may be the same, and centres too.
            found: Any = KMeans(self.components, n_init=_STARTS, random_state=chance).fit(
                space.standardised
            )
        centres = np.asarray(found.cluster_centers_)
        return Centres(centres, units(centres * space.spread))

    def _random(self, _space: Space, _losses: Floats, label: int) -> Rule:
        return Drawn((self.seed, label), self.components)

    def _along(self, space: Space, rotations: Floats, losses: Floats) -> Rule:
        """Return the rule of axes of the standardised space.

        An axis has two signs: the one is taken along which the loss rises, the mean over
        checkpoints.
        """
        directions = units((rotations / space.spread[:, None]).T)
        mean = losses.mean(1)
        rises = (mean - mean.mean()) @ space.cosines(directions)
        directions *= np.where(rises < 0, -1.0, 1.0)[:, None]
        if self.are_apart:
            directions = np.concatenate([directions, -directions])
        return Directions(directions, are_apart=self.are_apart)


_METHODS: dict[str, Callable[[Decomposer, Space, Floats, int], Rule]] = {
    "dim": Decomposer._dim,
    "pca": Decomposer._pca,
    "kmeans": Decomposer._kmeans,
    "random": Decomposer._random,
}


def pls_rotations(features: Floats, supervision: Floats, components: int) -> Floats:
    """Return the rotations of partial least squares: scores are features @ rotations.

    Parameters
    ----------
    features : ndarray of float64, shape (images, features)
    supervision : ndarray of float64, shape (images, targets)
        Both scaled as they are to be.
    components : int

    Returns
    -------
    ndarray of float64, shape (features, components)
        Zeros for components that nothing is left for.
    """
    from sklearn.cross_decomposition import PLSRegression  # noqa: PLC0415 (an extra)

    found: Any = PLSRegression(components, scale=False, tol=_TOLERANCE, max_iter=_ROUNDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What is said when nothing is left, or axes are as long.
        found.fit(features, supervision)
    return np.asarray(found.x_rotations_)


def memberships_of(sizes: Floats) -> Floats:
    """Return soft memberships, each over the sum of an image's; the same where all are 0."""
    sums = sizes.sum(1, keepdims=True)
    same = np.full_like(sizes, 1 / sizes.shape[1])
    return np.asarray(np.divide(sizes, sums, out=same, where=sums > 0))
