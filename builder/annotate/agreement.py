"""How far people agree, beyond chance and with each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
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


@dataclass(frozen=True)
class Said:
    """Who gave which answer on which pair.

    Attributes
    ----------
    pairs, people : ndarray of int64, shape (answers,)
        Numbers.
    answers : ndarray of int64, shape (answers,)
        Indices into `ANSWERS`.
    confidences, seconds : ndarray of float64, shape (answers,)
        1 to 5; how long it took, NaN where nobody measured.
    """

    pairs: npt.NDArray[np.int64]
    people: npt.NDArray[np.int64]
    answers: npt.NDArray[np.int64]
    confidences: npt.NDArray[np.float64]
    seconds: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, str, int, float | None]]) -> Said:
        """Return what rows of pair, person, answer, confidence and seconds say."""
        columns = list(zip(*rows, strict=True)) or [()] * 5
        place = {answer: index for index, answer in enumerate(ANSWERS)}
        return cls(
            np.array(columns[0], np.int64),
            np.array(columns[1], np.int64),
            np.array([place[answer] for answer in columns[2]], np.int64),
            np.array(columns[3], np.float64),
            np.array(columns[4], np.float64),  # None becomes NaN.
        )

    def counts(self, pairs: int) -> Counts:
        """Return how often each of so many pairs got each answer, shape (pairs, 3)."""
        kinds = len(ANSWERS)
        flat = np.bincount(kinds * self.pairs + self.answers, minlength=kinds * pairs)
        return flat.reshape(pairs, kinds).astype(np.int64)


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


def habits(said: Said) -> list[Habits]:
    """Return how each person answers, by person.

    The majority that a person is compared with is that of the others, who know nothing of it.
    """
    spurious = (said.answers != ANSWERS.index("main_object")).astype(np.int64)
    others = np.bincount(said.pairs, spurious)[said.pairs] - spurious
    without = np.bincount(said.pairs)[said.pairs] - 1
    compared = 2 * others != without  # A tie has no majority, nor has nobody.
    same = compared & (spurious == (2 * others > without))
    found = []
    for person in np.unique(said.people).tolist():
        own = said.people == person
        counts = np.bincount(said.answers[own], minlength=len(ANSWERS))
        seconds = said.seconds[own & ~np.isnan(said.seconds)]
        total = int(compared[own].sum())
        found.append(
            Habits(
                person,
                int(own.sum()),
                dict(zip(ANSWERS, counts.tolist(), strict=True)),
                float(said.confidences[own].mean()),
                float(np.median(seconds)) if len(seconds) else float("nan"),
                total,
                int(same[own].sum()) / total if total else float("nan"),
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


def validate(rows: Iterable[tuple[int, str, str]]) -> dict[int, Validation]:
    """Return what people think of the maps of each pair of which anybody was asked.

    A pair is validated if at least four fifths of the people say that all maps show the same, and
    if at least four fifths did not mark the map as different, for each of the maps.

    Parameters
    ----------
    rows : iterable of (int, str, str)
        Pairs, answers, and the places of maps that look different, with blanks between them.
    """
    opinions: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    for pair, answer, different in rows:
        opinions[pair].append((answer, different))
    found = {}
    for pair, given in opinions.items():
        same = sum(answer == "same" for answer, _ in given)
        marks = Counter(place for _, different in given for place in set(different.split()))
        most = max(marks.values(), default=0)
        validated = 5 * same >= 4 * len(given) and 5 * (len(given) - most) >= 4 * len(given)
        found[pair] = Validation(len(given), same, validated)
    return found
