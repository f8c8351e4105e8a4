"""What a head makes of features: accuracy, the spurious gap, accuracy along the rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from builder.dataset.scores import NO_RANK
from builder.evaluate.conditions import CLEAN
from builder.evaluate.features import Features
from builder.evaluate.measures import Outcomes, Score, ends, scores_of

Floats = npt.NDArray[np.float64]

BINS = 10
"""Of equal parts of a ranking."""


class Standing(NamedTuple):
    """How a head stands: means over classes, of all and of ranked ones, as fractions."""

    accuracy: float
    gap: float


@torch.inference_mode()
def predicted(head: nn.Linear, values: Tensor) -> npt.NDArray[np.int64]:
    """Return the output that a head says of each image.

    Parameters
    ----------
    head : nn.Linear
    values : Tensor of float32, shape (n, features)
    """
    values = values.to(head.weight.device)
    return np.asarray(head(values).argmax(1).cpu().numpy())


@dataclass(frozen=True)
class Judge:
    """Judges heads on the features of some images.

    Attributes
    ----------
    features : Features
    k : int
        Images of a class at either end of its ranking.
    seed : int
        Of bootstrap samples.
    """

    features: Features
    k: int
    seed: int

    def right(self, head: nn.Linear) -> npt.NDArray[np.bool_]:
        """Return on which images a head, with an output for each label, is right."""
        return np.asarray(predicted(head, self.features.values) == self.features.labels)

    def standing(self, head: nn.Linear) -> Standing:
        """Return mean accuracy and gap, as `scores` but without intervals."""
        right = self.right(head).astype(np.float64)
        labels, ranks = self.features.labels, self.features.ranks
        accuracies, gaps = [], []
        for label in np.unique(labels).tolist():
            own = np.flatnonzero(labels == label)
            accuracies.append(right[own].mean())
            most, least = ends(ranks[own], self.k)
            if len(most):
                gaps.append(right[own[most]].mean() - right[own[least]].mean())
        return Standing(float(np.mean(accuracies)), float(np.mean(gaps)))

    def scores(self, head: nn.Linear) -> list[Score]:
        """Return accuracy and gap of all classes and their means, with intervals."""
        right = {CLEAN: self.right(head).astype(np.float64)}
        return scores_of(
            Outcomes(self.features.labels, self.features.ranks, right), self.k, self.seed
        )

    def along(self, head: nn.Linear) -> Floats:
        """Return the accuracy on each tenth of the rankings, as `along_rankings`."""
        return along_rankings(self.features.labels, self.features.ranks, self.right(head))


def along_rankings(
    labels: npt.NDArray[np.int64], ranks: npt.NDArray[np.int64], right: npt.NDArray[np.bool_]
) -> Floats:
    """Return the mean over ranked classes of the accuracy on each tenth of the class's ranking.

    Parameters
    ----------
    labels, ranks : ndarray of int64, shape (images,)
    right : ndarray of bool, shape (images,)

    Returns
    -------
    ndarray of float64, shape (10,)
        The most spurious tenth first; NaN where no class has an image in it.
    """
    rows = []
    for label in np.unique(labels[ranks != NO_RANK]).tolist():
        own = np.flatnonzero(labels == label)
        order = own[np.argsort(ranks[own])]
        tenth = BINS * np.arange(len(order)) // len(order)
        count = np.bincount(tenth, minlength=BINS)
        with np.errstate(invalid="ignore"):
            rows.append(np.bincount(tenth, right[order], minlength=BINS) / count)
    found = np.array(rows)
    known = ~np.isnan(found)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(found, 0) / known.sum(0))
