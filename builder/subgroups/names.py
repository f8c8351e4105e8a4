"""Names of subgroups: the annotated features that go with them, and words that lie along them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from builder.subgroups.space import Floats, units

LEAST = 0.2
"""The least correlation by which a feature names a subgroup."""

WORDS = 5
"""That name an end."""


@dataclass(frozen=True)
class Pair:
    """An annotated feature of a class.

    Attributes
    ----------
    feature, rank : int
        The channel, and its place among the class's features, from 1.
    kind : str
        ``core`` or ``spurious``.
    votes : dict of str to int
        How many workers gave each answer.
    reasons : sequence of str
        What they wrote, each sentence once; empty without the votes file.
    """

    feature: int
    rank: int
    kind: str
    votes: Mapping[str, int]
    reasons: Sequence[str]


@dataclass(frozen=True)
class Named:
    """How a feature goes with a subgroup.

    Attributes
    ----------
    pair : Pair
    correlation : float
        Pearson's, of the feature's activation with the subgroup's score, over the images of the
        class; 0 where either is constant.
    """

    pair: Pair
    correlation: float


def named_by(
    pairs: Sequence[Pair], activations: npt.NDArray[np.floating], scores: Floats
) -> list[list[Named]]:
    """Return the features of a class for each subgroup, the most correlated first.

    Parameters
    ----------
    pairs : sequence of Pair
        By rank.
    activations : ndarray of float, shape (images, features)
        Theirs.
    scores : ndarray of float64, shape (images, subgroups)
    """
    found = correlations(np.asarray(activations, np.float64), scores)
    return [
        sorted(
            (Named(pair, value) for pair, value in zip(pairs, own, strict=True)),
            key=lambda named: -abs(named.correlation),
        )
        for own in found.T.tolist()
    ]


def correlations(one: Floats, other: Floats) -> Floats:
    """Return Pearson's correlations of columns, shape (columns of one, columns of other)."""
    first, second = (units((values - values.mean(0)).T) for values in (one, other))
    return np.asarray(first @ second.T)


def first_that_tells(features: Sequence[Named], images: int) -> Named | None:
    """Return the feature that names a subgroup, None where none goes with it."""
    return next((named for named in features if tells(named, images)), None)


def tells(named: Named, images: int) -> bool:
    """Return whether a feature goes with a subgroup, beyond chance and beyond a little."""
    return abs(named.correlation) >= max(LEAST, 2 / math.sqrt(images))


@dataclass(frozen=True)
class Word:
    """A word that lies along a component: its cosine with the component's direction."""

    word: str
    cosine: float


def words_along(
    direction: Floats, words: Sequence[str], embeddings: Floats
) -> tuple[list[Word], list[Word]]:
    """Return the words that lie farthest along a direction, and along its opposite.

    Words of a list lie near each other in CLIP's space: what is common to all of them is taken off
    before.

    Parameters
    ----------
    direction : ndarray of float64, shape (features,)
    words : sequence of str
    embeddings : ndarray of float64, shape (words, features)
        Of unit length.
    """
    centred = embeddings - embeddings.mean(0) if len(words) > 1 else embeddings
    cosines = units(centred) @ units(direction[None])[0]
    order = np.argsort(-cosines, kind="stable")
    ends = order[:WORDS], order[::-1][:WORDS]
    high, low = ([Word(words[place], float(cosines[place])) for place in end] for end in ends)
    return high, low
