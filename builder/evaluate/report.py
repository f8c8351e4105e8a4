"""The report of an evaluation: what is told of all models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from builder.evaluate.measures import BOTTOM, TOP, Comparison, Score, compare, overall


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
    """

    identity: dict[str, Any]
    scores: dict[str, list[Score]]
    families: dict[str, str]
    k: int
    names: Sequence[str]

    @property
    def comparison(self) -> Comparison | None:
        """What the models show together, where there are two of them and of ranked classes."""
        top, bottom = self.of_classes(TOP), self.of_classes(BOTTOM)
        return compare(top, bottom) if min(top.shape) > 1 else None

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

    def summary(self) -> dict[str, Any]:
        """Return the means over classes, and what they were made from."""
        models = {
            model: {
                measure: {"value": score.value, "low": score.low, "high": score.high}
                for measure, score in overall(scores).items()
            }
            for model, scores in self.scores.items()
        }
        comparison = self.comparison
        return {
            "made_from": self.identity,
            "k": self.k,
            "models": models,
            "comparison": asdict(comparison) if comparison else None,
        }
