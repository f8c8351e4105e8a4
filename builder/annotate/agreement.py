"""How far people agree, beyond chance and with each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.dataset.votes import ANSWERS

Counts = npt.NDArray[np.int64]

Z = 1.96
"""Standard errors on either side of a value between which lies its interval of 95 %."""


@dataclass(frozen=True)
class Kappa:
    """Fleiss' kappa with its interval.

    Attributes
    ----------
    value : float
        1 where all agree on each pair, 0 where they agree as by chance; NaN where nothing can be
        told, as where only one answer was ever given.
    low, high : float
        Of 95 %; NaN where there are too few pairs.
    observed : float
        The share of couples of people who gave a pair the same answer, in the mean over pairs.
    pairs : int
        That at least two people answered: the others say nothing.
    """

    value: float
    low: float
    high: float
    observed: float
    pairs: int


def fleiss_kappa(counts: Counts) -> Kappa:
    r"""Return Fleiss' kappa, of pairs that may have different numbers of answers.

    With n_ij people who gave the pair i the answer j, and n_i of them altogether,

    .. math:: P_i = \sum_j \frac{n_{ij} (n_{ij} - 1)}{n_i (n_i - 1)}, \quad
        p_j = \frac{\sum_i n_{ij}}{\sum_i n_i}, \quad
        \kappa = \frac{\bar P - \sum_j p_j^2}{1 - \sum_j p_j^2},

    which is Fleiss' own where all n_i are equal. The interval is 1.96 standard errors of the
    jackknife on either side, which leaves out one pair at a time.

    Parameters
    ----------
    counts : ndarray of int64, shape (pairs, answers)

    References
    ----------
    J. L. Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76
    (1971), 378-382.
    """
    counts = counts[counts.sum(1) > 1]
    pairs = len(counts)
    if not pairs:
        nothing = float("nan")
        return Kappa(nothing, nothing, nothing, nothing, 0)
    totals = counts.sum(1)
    agreed = (counts * (counts - 1)).sum(1) / (totals * (totals - 1))
    by_answer = counts.sum(0)
    value = float(_kappa(agreed.mean(), by_answer / by_answer.sum()))
    low = high = float("nan")
    if pairs > 1:
        left = by_answer - counts
        without = _kappa((agreed.sum() - agreed) / (pairs - 1), left / left.sum(1, keepdims=True))
        error = np.sqrt((pairs - 1) / pairs * ((without - without.mean()) ** 2).sum())
        low, high = float(value - Z * error), float(min(1.0, value + Z * error))
    return Kappa(value, low, high, float(agreed.mean()), pairs)


def _kappa(observed: Any, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    expected = (shares**2).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa: npt.NDArray[np.float64] = (observed - expected) / (1 - expected)
    return np.where(expected < 1, kappa, np.nan)


def count_answers(rows: Iterable[Mapping[str, Any]], pairs: int, answers: Sequence[str]) -> Counts:
    """Return how often each pair got each answer, shape (pairs, answers)."""
    counts = np.zeros((pairs, len(answers)), np.int64)
    place = {answer: column for column, answer in enumerate(answers)}
    for row in rows:
        counts[row["pair"], place[row["answer"]]] += 1
    return counts


def by_kind(counts: Counts) -> Counts:
    """Return counts of core and spurious from those of `ANSWERS`, shape (pairs, 2)."""
    core = counts[:, [ANSWERS.index("main_object")]]
    return np.hstack([core, counts.sum(1, keepdims=True) - core])


def disagreement(counts: Counts) -> npt.NDArray[np.float64]:
    """Return of each pair the share of couples of people who disagree; 0 where there are none."""
    totals = counts.sum(1)
    couples = totals * (totals - 1)
    same = (counts * (counts - 1)).sum(1)
    shares: npt.NDArray[np.float64] = 1 - same / np.maximum(couples, 1)
    return np.where(couples > 0, shares, 0.0)


@dataclass(frozen=True)
class Habits:
    """How a person answers.

    Attributes
    ----------
    person : int
    answers : int
    by_answer : dict of str to int
    confidence : float
        In the mean.
    seconds : float
        From the page to the answer, the median; NaN where nobody measured.
    compared : int
        Pairs on which a majority of the others says core or spurious.
    agreement : float
        The share of them on which the person says the same; NaN if there are none.
    """

    person: int
    answers: int
    by_answer: dict[str, int]
    confidence: float
    seconds: float
    compared: int
    agreement: float


def habits(rows: Sequence[Mapping[str, Any]]) -> list[Habits]:
    """Return how each person answers, by person.

    The majority that a person is compared with is that of the others, who know nothing of it.
    """
    spurious: defaultdict[int, dict[int, bool]] = defaultdict(dict)
    own: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        spurious[row["pair"]][row["person"]] = row["answer"] != "main_object"
        own[row["person"]].append(row)
    sums = {pair: (sum(said.values()), len(said)) for pair, said in spurious.items()}
    found = []
    for person, given in sorted(own.items()):
        same = compared = 0
        for row in given:
            total, people = sums[row["pair"]]
            mine = spurious[row["pair"]][person]
            others, without = total - mine, people - 1
            if 2 * others != without:  # A tie has no majority, nor has nobody.
                compared += 1
                same += mine == (2 * others > without)
        seconds = [row["seconds"] for row in given if row["seconds"] is not None]
        counts = Counter(row["answer"] for row in given)
        found.append(
            Habits(
                person,
                len(given),
                {answer: counts[answer] for answer in ANSWERS},
                sum(row["confidence"] for row in given) / len(given),
                float(np.median(seconds)) if seconds else float("nan"),
                compared,
                same / compared if compared else float("nan"),
            )
        )
    return found


@dataclass(frozen=True)
class Validation:
    """What people think of a pair's maps.

    Attributes
    ----------
    answers, same : int
        How many answered, and how many of them see the same thing in all maps.
    validated : bool
        Whether at least four of five say so, and no map looks different to more than one of five.
    """

    answers: int
    same: int
    validated: bool

    @property
    def share_same(self) -> float:
        """The share of the answers that say same."""
        return self.same / self.answers


def validate(rows: Iterable[Mapping[str, Any]]) -> dict[int, Validation]:
    """Return what people think of the maps of each pair of which anybody was asked.

    A pair is validated if at least four fifths of the people say that all maps show the same, and
    if at least four fifths did not mark the map as different, for each of the maps.
    """
    opinions: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        opinions[row["pair"]].append(row)
    found = {}
    for pair, given in opinions.items():
        same = sum(row["answer"] == "same" for row in given)
        marks = Counter(place for row in given for place in set(row["different"].split()))
        most = max(marks.values(), default=0)
        validated = 5 * same >= 4 * len(given) and 5 * (len(given) - most) >= 4 * len(given)
        found[pair] = Validation(len(given), same, validated)
    return found
