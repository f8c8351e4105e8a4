"""Measures: what predictions under the conditions say of a model, per class and class-balanced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from builder.dataset.metrics import relative_core_sensitivity
from builder.dataset.scores import NO_RANK
from builder.evaluate.conditions import CLEAN, CORE, SPURIOUS

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

REPLICATES = 1000
"""Bootstrap samples of an interval."""

INTERVAL = (2.5, 97.5)
"""Percentiles of the samples that an interval lies between."""

RCS = "relative_core_sensitivity"
TOP, BOTTOM, GAP = "top_accuracy", "bottom_accuracy", "spurious_gap"


@dataclass(frozen=True)
class Outcomes:
    """How often a model was right on each image, under each condition.

    Attributes
    ----------
    labels, ranks : ndarray of int64, shape (images,)
    right : dict of str to ndarray of float64, shape (images,)
        By condition, the share of draws in which the model was right; NaN where the image has no
        such mask.
    """

    labels: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    right: dict[str, Floats]


@dataclass(frozen=True)
class Score:
    """A number with its bootstrap interval.

    Attributes
    ----------
    measure : str
    label : int, optional
        Of the class; None is of all: the mean over classes, each counting the same, unless the
        measure says otherwise.
    value, low, high : float
    """

    measure: str
    label: int | None
    value: float
    low: float
    high: float


def overall(scores: Iterable[Score]) -> dict[str, Score]:
    """Return a model's scores of all classes, by measure."""
    return {score.measure: score for score in scores if score.label is None}


def told_means(scores: Iterable[Score]) -> dict[str, dict[str, float]]:
    """Return what a report tells of a model's scores of all classes, by measure."""
    return {
        measure: {"value": score.value, "low": score.low, "high": score.high}
        for measure, score in overall(scores).items()
    }


def accuracy_of(condition: str) -> str:
    """Return the name of the accuracy under a condition."""
    return f"{condition}_accuracy"


def ends(ranks: npt.NDArray[np.integer], k: int) -> tuple[Places, Places]:
    """Return where the `k` most and the `k` least spurious of a class's images are.

    Parameters
    ----------
    ranks : ndarray of int, shape (images,)
        Of spuriosity, 0 the most spurious; `NO_RANK` is left out.
    k : int

    Returns
    -------
    two ndarrays of int64, shape (k,)
        Each by rising rank.
    """
    ranked = np.flatnonzero(ranks != NO_RANK)
    order = ranked[np.argsort(ranks[ranked])]
    return order[:k], order[-k:]


def scores_of(outcomes: Outcomes, k: int, seed: int) -> list[Score]:
    """Return all scores of a model.

    Accuracies are means over images per class, then over classes. RCS is that of the class means
    of core and spurious accuracy. The gap of a class is the accuracy on its `k` most spurious
    images minus that on its `k` least.

    Parameters
    ----------
    outcomes : Outcomes
    k : int
        Images at either end of a class's ranking.
    seed : int
        Of the bootstrap over the images of each class; that of all models is the same, so that
        they can be compared in pairs.
    """
    found: dict[str, list[Floats]] = {}
    scores: list[Score] = []
    for label in np.unique(outcomes.labels).tolist():
        for measure, values in _of_class(outcomes, label, k, seed):
            scores.append(score_of(measure, label, values))
            found.setdefault(measure, []).append(values)
    means = {measure: np.mean(values, axis=0) for measure, values in found.items()}
    core, spurious = accuracy_of(CORE.name), accuracy_of(SPURIOUS.name)
    if core in means:
        means[RCS] = relative_core_sensitivity(means[core], means[spurious])
    return [*(score_of(measure, None, values) for measure, values in means.items()), *scores]


def _of_class(outcomes: Outcomes, label: int, k: int, seed: int) -> Iterator[tuple[str, Floats]]:
    """Yield the measures of a class: their values, the bootstrap's after the one of all images."""
    own = outcomes.labels == label
    ranks = outcomes.ranks[own]
    for condition, right in outcomes.right.items():
        values = right[own]
        values = values[~np.isnan(values)]
        if len(values):
            yield accuracy_of(condition), resampled(values, (seed, label))
    most, least = ends(ranks, k)
    if len(most):
        clean = outcomes.right[CLEAN][own]
        top = resampled(clean[most], (seed, label, 1))
        bottom = resampled(clean[least], (seed, label, 2))
        yield TOP, top
        yield BOTTOM, bottom
        yield GAP, top - bottom


def resampled(values: Floats, seed: tuple[int, ...]) -> Floats:
    """Return the mean of values, and after it those of bootstrap samples of them.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
    seed : tuple of int
        Whoever gives the same draws the same of as many values.
    """
    return np.concatenate([[values.mean()], samples_of(values, seed).mean(1)])


def samples_of(values: Floats, seed: tuple[int, ...]) -> Floats:
    """Return bootstrap samples of values, shape (`REPLICATES`, n)."""
    return np.asarray(values[_drawn(len(values), seed)])


@lru_cache(maxsize=3)  # All conditions of a class draw the same.
def _drawn(count: int, seed: tuple[int, ...]) -> Places:
    """Return which values are in each bootstrap sample, shape (REPLICATES, count)."""
    return np.random.default_rng(seed).integers(0, count, (REPLICATES, count))


def score_of(measure: str, label: int | None, values: Floats) -> Score:
    """Return a score with its interval, of its value and those of bootstrap samples after it."""
    low, high = np.percentile(values[1:], INTERVAL)
    return Score(measure, label, float(values[0]), float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """What several models show together.

    Attributes
    ----------
    effective_robustness : list of float
        Of each model, how far its accuracy on least spurious images lies above the line that fits
        those of all models, over their accuracy on the most spurious.
    correlation : float
        Mean Pearson correlation of the class-wise gaps of two models.
    variance_ratio : float
        Variance of gaps across classes over that across models.
    """

    effective_robustness: list[float]
    correlation: float
    variance_ratio: float


def compare(top: Floats, bottom: Floats) -> Comparison:
    """Compare models by their accuracies at both ends of the rankings.

    Parameters
    ----------
    top, bottom : ndarray of float64, shape (models, classes)
        Accuracies on the most and on the least spurious images; at least two models and classes.
    """
    gaps = top - bottom
    tops, bottoms = top.mean(1), bottom.mean(1)
    line = np.polyfit(tops, bottoms, 1) if np.ptp(tops) > 0 else np.array([0.0, bottoms.mean()])
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = np.asarray(np.corrcoef(gaps))[np.triu_indices(len(gaps), 1)]
        pairs = pairs[np.isfinite(pairs)]  # A model whose gaps are all the same has none.
        correlation = pairs.mean() if len(pairs) else np.nan
        ratio = gaps.var(1).mean() / gaps.var(0).mean()
    return Comparison((bottoms - np.polyval(line, tops)).tolist(), float(correlation), float(ratio))
