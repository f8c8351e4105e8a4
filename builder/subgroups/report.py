"""The report: what is told of the subgroups of all classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from builder.subgroups.groups import Division
from builder.subgroups.names import Named, Pair, Word

PER_END = 5
"""Images that are shown of either end of a component."""


@dataclass(frozen=True)
class Component:
    """What a subgroup shows, along its direction and the opposite one.

    Attributes
    ----------
    features : list of Named
        Of the class, the most correlated first.
    high, low : list of int
        The rows of the division with the largest and the smallest scores, the extreme first.
    high_words, low_words : list of Word
        Of either end; empty without a list of words.
    """

    features: list[Named]
    high: list[int]
    low: list[int]
    high_words: list[Word]
    low_words: list[Word]

    @property
    def rows(self) -> list[int]:
        """The rows of both ends."""
        return self.high + self.low


@dataclass(frozen=True)
class DividedClass:
    """A class with its subgroups and what they show."""

    division: Division
    components: list[Component]

    @property
    def pairs(self) -> list[Pair]:
        """The annotated features of the class, by rank."""
        named = self.components[0].features
        return sorted((one.pair for one in named), key=lambda pair: pair.rank)


def ends_of(division: Division, component: int) -> tuple[list[int], list[int]]:
    """Return the rows of a component's extreme images; those with the same score come by id."""
    order = np.argsort(-division.decomposition.scores[:, component], kind="stable")
    return order[:PER_END].tolist(), order[::-1][:PER_END].tolist()


@dataclass(frozen=True)
class Report:
    """What is told of subgroups.

    Attributes
    ----------
    made_from : dict
        What they depend on.
    names : sequence of str
        Of classes, by label.
    space : str
        What images were compared in, in words.
    classes : list of DividedClass
        By label.
    """

    made_from: Mapping[str, Any]
    names: Sequence[str]
    space: str
    classes: list[DividedClass]

    @property
    def subgroups(self) -> int:
        """How many a class has."""
        return len(self.classes[0].components)

    @property
    def divided(self) -> list[DividedClass]:
        """The classes with enough images."""
        return [own for own in self.classes if not own.division.is_whole]

    def means(self) -> dict[str, float]:
        """Return means over classes that were divided, each counting the same; NaN of none."""
        divisions = [own.division for own in self.divided]

        def mean(values: list[float]) -> float:
            return float(np.mean(values)) if values else math.nan

        return {
            "accuracy": mean([d.accuracy.value for d in divisions]),
            "worst_accuracy": mean([d.worst.accuracy.value for d in divisions]),
            "random_worst_accuracy": mean([d.random_worst for d in divisions]),
            "unseen_worst_accuracy": mean([d.unseen.value for d in divisions if d.unseen.images]),
        }

    def summary(self) -> dict[str, Any]:
        """Return the numbers as JSON can hold them."""
        told: dict[str, Any] = _plain(
            {
                "made_from": self.made_from,
                "images": sum(len(own.division.image_ids) for own in self.classes),
                "not_divided": [
                    own.division.label for own in self.classes if own.division.is_whole
                ],
                **self.means(),
                "classes": [self._class(own) for own in self.classes],
            }
        )
        return told

    def _class(self, own: DividedClass) -> dict[str, Any]:
        division = own.division
        return {
            "label": division.label,
            "name": self.names[division.label],
            "accuracy": asdict(division.accuracy),
            "random_worst_accuracy": division.random_worst,
            "unseen_worst_accuracy": asdict(division.unseen),
            "features": [asdict(pair) for pair in own.pairs],
            "subgroups": [
                {
                    **asdict(subgroup),
                    "features": [
                        {"feature": named.pair.feature, "correlation": named.correlation}
                        for named in component.features
                    ],
                    "high_images": [division.image_ids[row] for row in component.high],
                    "low_images": [division.image_ids[row] for row in component.low],
                    "high_words": [asdict(word) for word in component.high_words],
                    "low_words": [asdict(word) for word in component.low_words],
                }
                for subgroup, component in zip(division.subgroups, own.components, strict=True)
            ],
        }


def _plain(value: Any) -> Any:
    """Return a value with null for NaN, which JSON does not know."""
    if isinstance(value, Mapping):
        return {name: _plain(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and math.isnan(value) else value
