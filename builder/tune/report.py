"""The report of a tuned head: what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from builder.evaluate.measures import Score, told_means
from builder.network.head import Head
from builder.tune.dfr import Fitted
from builder.tune.judge import Floats, Standing


@dataclass(frozen=True)
class HeadReport:
    """What is told of a tuned head.

    Attributes
    ----------
    made_from : dict
        What the head depends on.
    names : list of str
        Of classes, by label.
    images : int
        That it was tuned on.
    how : list of Standing, or Fitted
        Before the first epoch and after each, on the images that decide when to stop; or how Deep
        Feature Reweighting went.
    scores : dict of str to list of Score
        Of the head ``before`` and ``after``, on the other images.
    along : dict of str to ndarray of float64, shape (10,)
        Of the two likewise, the accuracy on each tenth of the rankings, the most spurious first.
    head : Head
    """

    made_from: dict[str, Any]
    names: Sequence[str]
    images: int
    how: list[Standing] | Fitted
    scores: dict[str, list[Score]]
    along: dict[str, Floats]
    head: Head

    def summary(self) -> dict[str, Any]:
        """Return the numbers as JSON can hold them."""
        means = {name: told_means(scores) for name, scores in self.scores.items()}
        how: dict[str, Any]
        if isinstance(self.how, Fitted):
            how = {
                "strength": self.how.strength,
                "worst_accuracy": {f"{c:g}": worst for c, worst in self.how.worst.items()},
            }
        else:
            how = {"epochs": [standing._asdict() for standing in self.how]}
        along = {
            name: [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 (NaN)
            for name, values in self.along.items()
        }
        return {
            "made_from": self.made_from,
            "images": self.images,
            **how,
            **means,
            "along_rankings": along,
        }
