"""Agreement, against slow re-implementations that count couples of people."""

from __future__ import annotations

import csv
import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from builder.annotate.agreement import (
    Said,
    by_kind,
    disagreement,
    fleiss_kappa,
    habits,
    validate,
)
from builder.dataset.votes import ANSWERS


def slow_kappa(pairs: list[list[int]], answers: int) -> tuple[float, float]:
    """Return kappa and the observed agreement, from each pair's answers, couple by couple."""
    agreed, given = [], []
    for said in pairs:
        if len(said) > 1:
            couples = list(combinations(said, 2))
            agreed.append(sum(one == other for one, other in couples) / len(couples))
            given += said
    observed = sum(agreed) / len(agreed)
    expected = sum((given.count(answer) / len(given)) ** 2 for answer in range(answers))
    return (observed - expected) / (1 - expected), observed


def crowd(pairs: int, most: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    lean = rng.integers(3, size=pairs)
    return [
        [int(lean[n] if rng.random() < 0.7 else rng.integers(3)) for _ in range(rng.integers(most))]
        for n in range(pairs)
    ]


def counted(pairs: list[list[int]]) -> np.ndarray:
    return np.array([np.bincount(said, minlength=3) for said in pairs])


@pytest.mark.parametrize(("pairs", "most"), [(30, 7), (9, 5), (200, 6)])
def test_kappa_is_that_of_couples_of_people(pairs: int, most: int) -> None:
    said = crowd(pairs, most, seed=pairs)
    found = fleiss_kappa(counted(said))
    kappa, observed = slow_kappa(said, 3)
    assert found.value == pytest.approx(kappa, abs=1e-12)
    assert found.observed == pytest.approx(observed, abs=1e-12)
    assert found.pairs == sum(len(one) > 1 for one in said)


def test_the_interval_is_that_of_the_jackknife() -> None:
    said = [one for one in crowd(40, 6, seed=3) if len(one) > 1]
    without = [slow_kappa(said[:n] + said[n + 1 :], 3)[0] for n in range(len(said))]
    error = (np.var(without) * (len(said) - 1)) ** 0.5
    found = fleiss_kappa(counted(said))
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=1e-12)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=1e-12)


def test_the_textbook_example() -> None:
    """Fleiss' table of 10 subjects, 14 raters and 5 categories, as Wikipedia prints it."""
    table = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    assert fleiss_kappa(np.array(table)).value == pytest.approx(0.210, abs=5e-4)


def test_the_published_votes_agree_as_published() -> None:
    if "SALIENT_REAL_DATA" not in os.environ:
        pytest.skip("SALIENT_REAL_DATA does not name a folder with real images and votes")
    path = Path(os.environ["SALIENT_REAL_DATA"]) / "discover_spurious_features.csv"
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    keys = [(row["Input.wordnet_id"], row["Input.feature_index"]) for row in rows]
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    said = Said.of(
        (number[key], 0, row["Answer.main"], 5, None) for key, row in zip(keys, rows, strict=True)
    )
    found = fleiss_kappa(by_kind(said.counts(len(number))))
    assert found.value == pytest.approx(0.604, abs=5e-4)
    assert found.observed == pytest.approx(0.905, abs=5e-4)
    assert 0.57 < found.low < 0.6
    assert 0.61 < found.high < 0.64


@pytest.mark.parametrize(
    "counts", [np.zeros((0, 3), int), np.array([[1, 0, 0]]), np.array([[3, 0, 0], [5, 0, 0]])]
)
def test_where_nothing_can_be_told_kappa_is_not_a_number(counts: np.ndarray) -> None:
    assert np.isnan(fleiss_kappa(counts).value)


def test_disagreement_is_the_share_of_couples() -> None:
    found = disagreement(np.array([[5, 0, 0], [3, 2, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0]]))
    assert found.tolist() == pytest.approx([0, 0.6, 1, 0, 0])


def test_a_person_is_compared_with_the_majority_of_the_others() -> None:
    main, separate, background = ANSWERS
    rows: list[tuple[int, int, str, int, float | None]] = [
        # All others say spurious, if not the same way; 1 alone says core.
        *((0, 1, main, 2, 2.0), (0, 2, separate, 4, 8.0), (0, 3, background, 4, 8.0)),
        # 3 stands against a tie, and 1 and 2 have one for and one against each.
        *((1, 1, main, 4, 8.0), (1, 2, background, 4, None), (1, 3, background, 4, 8.0)),
        (2, 2, main, 4, 8.0),  # Alone.
    ]
    one, two, three = habits(Said.of(rows))
    assert (one.answers, one.compared, one.agreement) == (2, 2, 0.0)
    assert (two.answers, two.compared, two.seconds) == (3, 0, 8.0)
    assert np.isnan(two.agreement)
    assert (three.compared, one.confidence, one.seconds) == (0, 3.0, 5.0)
    assert one.by_answer == {main: 2, separate: 0, background: 0}


@pytest.mark.parametrize(
    ("answers", "marks", "validated"),
    [
        (["same"] * 5, [""] * 5, True),
        (["same"] * 4 + ["unclear"], ["3", "4 5", "", "", ""], True),
        (["same"] * 3 + ["different"] * 2, [""] * 5, False),
        (["same"] * 5, ["14", "14", "", "", ""], False),
        (["same"] * 5, ["14 14", "", "", "", ""], True),
    ],
)
def test_maps_are_valid_if_four_of_five_see_the_same(
    answers: list[str], marks: list[str], validated: bool
) -> None:
    rows = [(7, answer, places) for answer, places in zip(answers, marks, strict=True)]
    (found,) = validate(rows).values()
    assert found.validated is validated
    assert found.share_same == answers.count("same") / 5
