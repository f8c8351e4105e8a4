"""Do votes and network belong together? Each class's features, ranked by their importance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from builder.dataset.votes import Votes

TOPS = (5, 10, 20)

MINIMUM_AGREEMENT = 0.5
"""Below this share of the votes' features among a network's own top 20, the two do not belong
together. Votes on the network itself reach 0.9 and more; on another, about 20 / channels."""

MINIMUM_IMAGES = 10
"""A class's features are ranked once the network has predicted that many images as the class."""

_SCALE = 2.0**24


class Contribution(NamedTuple):
    """Sums over some images, of the classes as which these were predicted.

    Attributes
    ----------
    labels : ndarray of int64, shape (classes,)
    sums : ndarray of int64, shape (classes, channels)
    counts : ndarray of int64, shape (classes,)
    """

    labels: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


@dataclass
class Importance:
    """Running sums of activations over the images *predicted* as each class.

    Sums are kept in fixed point (steps of 2**-24), so that they are exact and their order does
    not matter: whoever runs the shards, in whatever order, gets the same sums.

    Attributes
    ----------
    sums : ndarray of int64, shape (classes, channels)
    counts : ndarray of int64, shape (classes,)
        Images predicted as each class.
    """

    sums: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int, channels: int) -> Importance:
        """Return sums over no images."""
        return cls(np.zeros((classes, channels), np.int64), np.zeros(classes, np.int64))

    def add(self, activations: npt.NDArray[np.float32], predicted: npt.NDArray[np.int64]) -> None:
        """Add a batch.

        Parameters
        ----------
        activations : ndarray of float32, shape (images, channels)
        predicted : ndarray of int64, shape (images,)
            The network's top-1 class.
        """
        fixed = np.rint(activations.astype(np.float64) * _SCALE).astype(np.int64)
        np.add.at(self.sums, predicted, fixed)
        np.add.at(self.counts, predicted, 1)

    def contribution(self) -> Contribution:
        """Return the sums without the classes as which no image was predicted."""
        labels = np.flatnonzero(self.counts)
        return Contribution(labels, self.sums[labels], self.counts[labels])

    def merge(self, contribution: Contribution) -> None:
        """Add sums over other images."""
        self.sums[contribution.labels] += contribution.sums
        self.counts[contribution.labels] += contribution.counts

    def ranking(self, label: int, head_weight: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Return a class's features by falling importance, mean of ``r_j(x) * W[c, j]``.

        Parameters
        ----------
        label : int
            The class c, with at least one image predicted as it.
        head_weight : ndarray of float32, shape (classes, channels)

        Returns
        -------
        ndarray of int64, shape (channels,)
        """
        return np.argsort(-self.of(label, head_weight), kind="stable")

    def of(self, label: int, head_weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the importance of each feature for a class, shape (channels,); see `ranking`."""
        mean = self.sums[label] / _SCALE / self.counts[label]
        return np.asarray(mean * head_weight[label])


@dataclass(frozen=True)
class Agreement:
    """How many of the votes' features are among the network's own most important ones.

    Attributes
    ----------
    classes : int
        Classes with votes as which enough images were predicted.
    pairs : int
        The class-feature pairs of those classes.
    in_top : dict of int to int
        How many of these pairs are among the network's own top 5, 10 and 20 of the class.
    """

    classes: int
    pairs: int
    in_top: dict[int, int]

    @property
    def share(self) -> float:
        """The share in the largest top; NaN where no class could be ranked."""
        return self.in_top[max(TOPS)] / self.pairs if self.pairs else float("nan")

    @property
    def is_mismatch(self) -> bool:
        """Whether votes and network do not belong together."""
        return self.share < MINIMUM_AGREEMENT

    def as_json(self) -> dict[str, Any]:
        """Return the numbers for the manifest."""
        return {
            "classes": self.classes,
            "pairs": self.pairs,
            **{f"in_top_{top}": count for top, count in self.in_top.items()},
        }


def agreement(
    importance: Importance, votes: Votes, head_weight: npt.NDArray[np.float32]
) -> Agreement:
    """Compare the votes' features with the network's own.

    Parameters
    ----------
    importance : Importance
    votes : Votes
    head_weight : ndarray of float32, shape (classes, channels)

    Returns
    -------
    Agreement
    """
    ranked = [label for label in votes.by_label if importance.counts[label] >= MINIMUM_IMAGES]
    in_top = dict.fromkeys(TOPS, 0)
    for label in ranked:
        ranking = importance.ranking(label, head_weight)
        for top in TOPS:
            in_top[top] += int(np.isin(votes.features[label], ranking[:top]).sum())
    return Agreement(len(ranked), len(ranked) * votes.features_per_class, in_top)
