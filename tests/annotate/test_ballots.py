"""Who is asked what, and which answers are taken."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from builder.annotate import database as tables
from builder.annotate.ballots import LOOK_SECONDS, Ballots, RefusedError
from builder.annotate.database import Database
from builder.annotate.people import names, recognise, sign_in
from tests.annotate.site.study import begin, candidates

MAIN = {"answer": "main_object", "confidence": 5, "reasons": "its head"}
WATER = {"answer": "background", "confidence": 2, "reasons": "water"}


@dataclass
class Clock:
    """Tells what it is set to, later each time."""

    now: float = 1e9

    def __call__(self) -> float:
        self.now += 1
        return self.now


@dataclass
class Study:
    """Votes of a few people on a few pairs."""

    database: Database
    clock: Clock
    answers: int

    @property
    def votes(self) -> Ballots:
        return Ballots(self.database, tables.votes, self.answers, self.clock)

    def person(self, name: str) -> int:
        return sign_in(self.database, name).id


def study(directory: Path, pairs: int, answers: int) -> Study:
    return Study(begin(directory / "votes.db", answers, candidates()[:pairs]), Clock(), answers)


def test_those_with_the_fewest_answers_come_first_and_none_twice(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=4, answers=2)
    ada, ben = asked.person("Ada"), asked.person("Ben")
    for pair in (2, 0):
        asked.votes.cast(ada, pair, MAIN)
    served: list[int] = []
    while (found := asked.votes.next(ben)) is not None:
        served.append(found)
        asked.votes.cast(ben, found, WATER)
    assert served == [1, 3, 0, 2]
    assert [asked.votes.next(ada), asked.votes.next(ben)] == [1, None]


def test_a_page_that_is_loaded_again_asks_the_same(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=4, answers=2)
    ada, ben = asked.person("Ada"), asked.person("Ben")
    assert [asked.votes.next(ada), asked.votes.next(ben), asked.votes.next(ada)] == [0, 1, 0]


def test_what_others_are_about_to_answer_is_kept_for_them_for_a_while(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=1, answers=1)
    ada, ben = asked.person("Ada"), asked.person("Ben")
    assert asked.votes.next(ada) == 0
    assert asked.votes.next(ben) is None
    assert asked.votes.progress(ben).left == 1
    asked.clock.now += LOOK_SECONDS
    assert asked.votes.next(ben) == 0
    asked.votes.cast(ben, 0, WATER)
    with pytest.raises(RefusedError, match="Others were faster") as refused:
        asked.votes.cast(ada, 0, MAIN)
    assert refused.value.status == 409
    assert [row["person"] for row in asked.votes.all()] == [ben]


def test_what_is_skipped_comes_again_after_all_others(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=3, answers=5)
    ada = asked.person("Ada")
    served = []
    for skips in (True, True, False, False, True):
        pair = asked.votes.next(ada)
        assert pair is not None
        served.append(pair)
        if skips:
            asked.votes.skip(ada, pair)
        else:
            asked.votes.cast(ada, pair, MAIN)
    assert served == [0, 1, 2, 0, 1]
    assert asked.votes.progress(ada).skipped == 1
    assert asked.votes.next(ada) == 1


def test_a_pair_whose_pictures_are_not_made_waits(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=3, answers=1)
    ada = asked.person("Ada")
    assert asked.votes.next(ada, {1, 2}.__contains__) == 1
    asked.votes.skip(ada, 1)
    assert asked.votes.next(ada, {1}.__contains__) == 1
    assert study(tmp_path, pairs=3, answers=1).votes.next(ada, set[int]().__contains__) == 1


def test_what_is_sent_twice_is_one_answer(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=2, answers=3)
    ada = asked.person("Ada")
    asked.votes.cast(ada, 1, MAIN)
    asked.votes.cast(ada, 1, MAIN)
    (row,) = asked.votes.all()
    assert {name: row[name] for name in MAIN} == MAIN


def test_another_answer_is_taken_only_as_a_change(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=2, answers=3)
    ada = asked.person("Ada")
    asked.votes.cast(ada, 1, MAIN)
    with pytest.raises(RefusedError, match="You have answered this pair before") as refused:
        asked.votes.cast(ada, 1, WATER)
    assert refused.value.status == 409
    (before,) = asked.votes.all()
    asked.votes.cast(ada, 1, WATER, change=True)
    assert asked.votes.all() == [{**before, **WATER}]


def test_a_change_is_taken_when_the_pair_is_full(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=1, answers=2)
    ada, ben = asked.person("Ada"), asked.person("Ben")
    for person in (ada, ben):
        asked.votes.cast(person, 0, MAIN)
    asked.votes.cast(ada, 0, WATER, change=True)
    assert [row["answer"] for row in asked.votes.on(0)] == ["background", "main_object"]


@pytest.mark.parametrize("pair", [-1, 2, 10**12])
def test_nobody_asks_about_other_pairs(tmp_path: Path, pair: int) -> None:
    asked = study(tmp_path, pairs=2, answers=1)
    ada = asked.person("Ada")
    with pytest.raises(RefusedError, match="Nobody asks about this pair") as refused:
        asked.votes.cast(ada, pair, MAIN)
    assert refused.value.status == 404
    with pytest.raises(RefusedError, match="Nobody asks about this pair"):
        asked.votes.skip(ada, pair)


def test_undo_leads_back_step_by_step(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=3, answers=1)
    ada = asked.person("Ada")
    for pair in (2, 0, 1):
        asked.votes.cast(ada, pair, {**MAIN, "reasons": f"word {pair}"})
    steps: list[int] = []
    last = asked.votes.last(ada)
    while last:
        steps.append(last["pair"])
        last = asked.votes.last(ada, last["at"])
    assert steps == [1, 0, 2]
    assert asked.votes.words(ada) == ["word 1", "word 0", "word 2"]


def test_how_long_an_answer_took_is_measured_from_the_page(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=2, answers=1)
    ada = asked.person("Ada")
    pair = asked.votes.next(ada)
    assert pair == 0
    asked.clock.now += 10
    asked.votes.cast(ada, 0, MAIN)
    asked.votes.cast(ada, 1, MAIN)
    first, second = asked.votes.all()
    assert 10 < first["seconds"] < 13
    assert second["seconds"] is None


def test_progress_counts_what_is_wanted(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=3, answers=2)
    ada, ben, cy = (asked.person(name) for name in ("Ada", "Ben", "Cy"))
    for person, pair in ((ada, 0), (ada, 1), (ben, 0)):
        asked.votes.cast(person, pair, MAIN)
    found = asked.votes.progress(ada)
    assert (found.own, found.left, found.given, found.wanted) == (2, 1, 3, 6)
    assert asked.votes.progress(cy).left == 2


def test_opinions_are_kept_apart_from_votes(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=1, answers=1)
    ada = asked.person("Ada")
    opinions = Ballots(asked.database, tables.opinions, 1, asked.clock)
    assert [asked.votes.next(ada), opinions.next(ada)] == [0, 0]
    opinions.cast(ada, 0, {**WATER, "answer": "same", "different": "3 14"})
    assert asked.votes.all() == []
    assert asked.votes.next(ada) == 0


def test_a_crowd_at_once_fills_each_pair_and_no_more(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=6, answers=3)
    people = [asked.person(f"person {number}") for number in range(8)]

    def answer_all(person: int) -> list[int]:
        given = []
        for pair in range(6):  # In the same order, whatever is served: all want the same seats.
            try:
                asked.votes.cast(person, pair, MAIN)
                given.append(pair)
            except RefusedError as refused:
                assert refused.status == 409
        return given

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(answer_all, people))
    rows = asked.votes.all()
    assert Counter(row["pair"] for row in rows) == dict.fromkeys(range(6), 3)
    assert sorted((row["person"], row["pair"]) for row in rows) == sorted(
        (person, pair) for person, pairs in zip(people, given, strict=True) for pair in pairs
    )
    seats = [(row["pair"], row["seat"]) for row in rows]
    assert all(before < after for before, after in pairwise(seats))


def test_an_answer_is_there_when_the_database_is_opened_again(tmp_path: Path) -> None:
    asked = study(tmp_path, pairs=2, answers=2)
    ada = sign_in(asked.database, "Ada")
    asked.votes.cast(ada.id, 0, MAIN)
    rows: list[dict[str, Any]] = asked.votes.all()
    again = study(tmp_path, pairs=2, answers=2)
    assert again.votes.all() == rows
    assert recognise(again.database, ada.key) == ada


@pytest.mark.parametrize("other", ["ada", "  Ada  ", "\uff21da"])
def test_a_name_is_one_person_however_it_is_typed(tmp_path: Path, other: str) -> None:
    database = study(tmp_path, pairs=1, answers=1).database
    first = sign_in(database, "Ada")
    assert sign_in(database, other) == first
    assert names(database) == {first.id: "Ada"}


@pytest.mark.parametrize("name", ["", "  ", "A" * 61, "\u202eAda"])
def test_what_is_no_name_is_a_sentence(tmp_path: Path, name: str) -> None:
    database = study(tmp_path, pairs=1, answers=1).database
    with pytest.raises(ValueError, match="Sign in with a name of 1 to 60 letters"):
        sign_in(database, name)
    assert names(database) == {}
