"""The report of an evaluation: what is told of all models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from builder.evaluate.extremes import Ends
from builder.evaluate.measures import BOTTOM, TOP, Comparison, Score, compare, told_means


@dataclass(frozen=True)
class Report:
    """What is told of an evaluation.

    Attributes
    ----------
    identity : dict
        What it was made from: hashes of data and weights, conditions, versions.
    scores : dict of str to list of Score
        By model.
    families : dict of str to str
        Of models.
    k : int
        Images at either end of a class's ranking.
    names : list of str
        Of classes, by label.
    extremes : dict of int to Ends
        By label, the images at both ends of the class's ranking; none are shown without.
    """

    identity: dict[str, Any]
    scores: dict[str, list[Score]]
    families: dict[str, str]
    k: int
    names: Sequence[str]
    extremes: dict[int, Ends] = field(default_factory=dict)

    @property
    def comparison(self) -> Comparison | None:
        """What the models show together, where there are two of them and of ranked classes."""
        top, bottom = self.of_classes(TOP), self.of_classes(BOTTOM)
        return compare(top, bottom) if min(top.shape) > 1 else None

    @property
    def robustness(self) -> dict[str, float]:
        """Effective robustness by model; empty where there is no comparison."""
        comparison = self.comparison
        if not comparison:
            return {}
        return dict(zip(self.scores, comparison.effective_robustness, strict=True))

    def of_classes(self, measure: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return a measure of each model and class, shape (models, classes)."""
        rows = [
            [
                score.value
                for score in scores
                if score.measure == measure and score.label is not None
            ]
            for scores in self.scores.values()
        ]
        return np.array(rows, np.float64)

    def labels_of(self, measure: str) -> list[int]:
        """Return the labels of the classes of `of_classes`."""
        first = next(iter(self.scores.values()))
        return [s.label for s in first if s.measure == measure and s.label is not None]

    def summary(self) -> dict[str, Any]:
        """Return the means over classes, and what they were made from, as JSON can hold it."""
        comparison, robustness = self.comparison, self.robustness
        models = {
            model: {
                "family": self.families[model],
                "effective_robustness": robustness.get(model),
                "means": told_means(scores),
            }
            for model, scores in self.scores.items()
        }
        return {
            "made_from": self.identity,
            "k": self.k,
            "models": models,
            "correlation": _finite(comparison.correlation) if comparison else None,
            "variance_ratio": _finite(comparison.variance_ratio) if comparison else None,
        }


def _finite(value: float) -> float | None:
    """Return a number that JSON has: models that all agree have no correlation, nor a ratio."""
    return value if math.isfinite(value) else None
