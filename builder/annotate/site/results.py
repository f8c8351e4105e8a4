"""What the page of results tells: how far people are, how they agree, and where they do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from builder.annotate.agreement import (
    Counts,
    Habits,
    Kappa,
    Validation,
    by_kind,
    count_answers,
    disagreement,
    fleiss_kappa,
    habits,
    validate,
)
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
    kinds, answers : Kappa
        Of core or spurious, and of the three answers.
    habits : list of Habits
        By person.
    by_kind : dict of str to int
        Pairs by what the votes make them so far: core, background, separate_object, mixed, open.
    lines : list of Line
        All pairs, those first that people disagree on most.
    validated, asked : int
        Pairs whose maps were found to show the same, and that anybody was asked about.
    """

    kinds: Kappa
    answers: Kappa
    habits: list[Habits]
    by_kind: dict[str, int]
    lines: list[Line]
    validated: int
    asked: int


def sum_up(
    pairs: Sequence[Candidate],
    votes: Sequence[Mapping[str, Any]],
    opinions: Sequence[Mapping[str, Any]],
    answers: int,
) -> Results:
    """Sum up what was answered.

    Parameters
    ----------
    pairs : sequence of Candidate
    votes, opinions : sequence of mapping
        Rows of these tables.
    answers : int
        How many are wanted of each pair.
    """
    counts = count_answers(votes, len(pairs), ANSWERS)
    maps = validate(opinions)
    lines = _lines(pairs, counts, maps, answers)
    return Results(
        kinds=fleiss_kappa(by_kind(counts)),
        answers=fleiss_kappa(counts),
        habits=habits(votes),
        by_kind=dict(Counter(line.kind or "open" for line in lines)),
        lines=lines,
        validated=sum(found.validated and found.answers >= answers for found in maps.values()),
        asked=len(maps),
    )


def _lines(
    pairs: Sequence[Candidate], counts: Counts, maps: dict[int, Validation], answers: int
) -> list[Line]:
    split = disagreement(counts)
    kinds = [kind_of(pair, own) for pair, own in zip(pairs, counts.tolist(), strict=True)]
    order = np.lexsort([np.arange(len(pairs)), -counts.sum(1), -split])
    return [
        Line(
            number,
            pairs[number],
            dict(zip(ANSWERS, counts[number].tolist(), strict=True)),
            kinds[number],
            float(split[number]),
            bool(counts[number].sum() >= answers),
            maps.get(number),
        )
        for number in order.tolist()
    ]


def kind_of(pair: Candidate, counts: Sequence[int]) -> str:
    """Return core, or how a pair is spurious, by the votes so far; empty without any."""
    if not sum(counts):
        return ""
    main, separate, background = counts
    voted = Pair(pair.label, pair.wnid, pair.feature, pair.rank, main, separate, background, 0)
    return voted.sub_kind or voted.kind
