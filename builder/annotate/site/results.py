"""What the page of results tells: how far people are, how they agree, and where they do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from builder.annotate.agreement import (
    Counts,
    Habits,
    Kappa,
    Said,
    Validation,
    by_kind,
    disagreement,
    fleiss_kappa,
    habits,
    validate,
)
from builder.annotate.ballots import Ballots
from builder.annotate.candidates import Candidate
from builder.dataset.votes import ANSWERS, Pair

PAGE = 100
"""Pairs on one page of the list."""


@dataclass(frozen=True)
class Line:
    """A pair in the list.

    Attributes
    ----------
    number : int
    pair : Candidate
    counts : dict of str to int
        How often each answer was given.
    kind : str
        What the votes make it so far; empty where there are none.
    split : float
        The share of couples of people who disagree.
    complete : bool
        Whether it has all its answers.
    maps : Validation, optional
        What people think of its maps.
    """

    number: int
    pair: Candidate
    counts: dict[str, int]
    kind: str
    split: float
    complete: bool
    maps: Validation | None


@dataclass(frozen=True)
class Results:
    """All that was answered, summed up.

    Attributes
    ----------
    pairs : sequence of Candidate
    wanted : int
        How many answers are wanted of each pair.
    counts : ndarray of int64, shape (pairs, 3)
        How often each of `ANSWERS` was given.
    kinds, answers : Kappa
        Of core or spurious, and of the three answers.
    habits : list of Habits
        By person.
    maps : dict of int to Validation
        What people think of maps, by pair.
    """

    pairs: Sequence[Candidate]
    wanted: int
    counts: Counts
    kinds: Kappa
    answers: Kappa
    habits: list[Habits]
    maps: dict[int, Validation]

    @property
    def given(self) -> int:
        """Answers; more than are wanted of a pair do not count."""
        return int(np.minimum(self.counts.sum(1), self.wanted).sum())

    @property
    def by_kind(self) -> dict[str, int]:
        """Pairs by what the votes make them: core, background, separate_object, mixed or open."""
        said, times = np.unique(self.counts, axis=0, return_counts=True)
        found: Counter[str] = Counter()
        for counts, number in zip(said.tolist(), times.tolist(), strict=True):
            found[kind_of(self.pairs[0], counts) or "open"] += number
        return dict(found)

    @property
    def validated(self) -> int:
        """Pairs whose maps were found to show the same, by as many people as are wanted."""
        maps = self.maps.values()
        return sum(found.validated and found.answers >= self.wanted for found in maps)

    def lines(self, page: int) -> list[Line]:
        """Return the pairs of a page, from 1; those come first that people disagree on most."""
        split = disagreement(self.counts)
        order = np.lexsort([np.arange(len(self.pairs)), -self.counts.sum(1), -split])
        return [
            Line(
                number,
                self.pairs[number],
                dict(zip(ANSWERS, self.counts[number].tolist(), strict=True)),
                kind_of(self.pairs[number], self.counts[number].tolist()),
                float(split[number]),
                bool(self.counts[number].sum() >= self.wanted),
                self.maps.get(number),
            )
            for number in order[PAGE * (page - 1) : PAGE * page].tolist()
        ]


def sum_up(pairs: Sequence[Candidate], votes: Ballots, opinions: Ballots) -> Results:
    """Sum up what was answered.

    Parameters
    ----------
    pairs : sequence of Candidate
    votes, opinions : Ballots
    """
    said = Said.of(votes.columns("pair", "person", "answer", "confidence", "seconds"))
    counts = said.counts(len(pairs))
    return Results(
        pairs=pairs,
        wanted=votes.answers,
        counts=counts,
        kinds=fleiss_kappa(by_kind(counts)),
        answers=fleiss_kappa(counts),
        habits=habits(said),
        maps=validate(opinions.columns("pair", "answer", "different")),
    )


def kind_of(pair: Candidate, counts: Sequence[int]) -> str:
    """Return core, or how a pair is spurious, by the votes so far; empty without any."""
    if not sum(counts):
        return ""
    main, separate, background = counts
    voted = Pair(pair.label, pair.wnid, pair.feature, pair.rank, main, separate, background, 0)
    return voted.sub_kind or voted.kind
