"""The formulas that tell how well something planted is recovered: pure functions on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating]


def auroc(scores: Floats | NDArray[np.integer], positive: Bools) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN without both."""
    positives, negatives = np.count_nonzero(positive), np.count_nonzero(~positive)
    if not positives or not negatives:
        return float("nan")
    rank_sum = _mean_ranks(scores)[positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def mask_auroc(soft: NDArray[np.uint8], truth: Bools) -> float:
    """`auroc` of a soft mask's pixels, by counting its 256 values; NaN where `truth` is constant.

    Parameters
    ----------
    soft
        uint8, shape (height, width).
    truth
        bool, the same shape.
    """
    positives = np.bincount(soft[truth], minlength=256).astype(np.float64)
    negatives = np.bincount(soft[~truth], minlength=256).astype(np.float64)
    pairs = positives.sum() * negatives.sum()
    below = negatives.cumsum() - negatives / 2
    return float(positives @ below / pairs) if pairs else float("nan")


def points_into(soft: NDArray[np.uint8], truth: Bools) -> float:
    """Pointing game: the share of a soft mask's maximal pixels that are true, 0 for an empty mask.

    A union of maps peaks at 255 in several places, and all of them count.
    """
    return float(truth[soft == soft.max()].mean()) if soft.any() else 0.0


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation with mean ranks for ties; NaN where one side is constant."""
    ranks_a, ranks_b = _mean_ranks(a), _mean_ranks(b)
    if np.ptp(ranks_a) == 0 or np.ptp(ranks_b) == 0:
        return float("nan")
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])


def relative_core_sensitivity(core: Floats | float, spurious: Floats | float) -> Floats:
    """Return ``(core - spurious) / (2 min(a, 1 - a))``, a their mean; 0 where a is 0 or 1.

    Of accuracies in [0, 1], with the core left and with the core corrupted: how much a model gains
    by the core over what it could gain at most, from -1 to 1 (Core Risk Minimization; over object
    segmentations it is the relative foreground sensitivity).
    """
    mean = (np.asarray(core) + spurious) / 2
    room = 2 * np.minimum(mean, 1 - mean)
    gained = np.subtract(core, spurious)
    return np.asarray(np.divide(gained, room, out=np.zeros_like(mean), where=room > 0))


def agreement(votes: Bools, truth: Bools) -> float:
    """Share of pairs whose voted kind is the true one."""
    return float((votes == truth).mean())


def chance_agreement(votes: Bools, truth: Bools) -> float:
    """Return the expected `agreement` of votes that are shuffled over the pairs."""
    p, q = votes.mean(), truth.mean()
    return float(p * q + (1 - p) * (1 - q))


def _mean_ranks(values: Floats | NDArray[np.integer]) -> NDArray[np.float64]:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return np.asarray((last - (counts - 1) / 2)[inverse])
