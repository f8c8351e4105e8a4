"""From answers to a votes file that builds."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from datasets import load_dataset

from builder.annotate import database as tables
from builder.annotate.ballots import Ballots
from builder.annotate.export import export
from builder.annotate.people import sign_in
from builder.dataset.votes import ANSWERS, COLUMNS, read_votes
from builder.errors import BuildError
from builder.run.build import build
from builder.settings.annotation import VotesExport
from tests.annotate.site.study import begin, candidates
from tests.conftest import CLASSES, World
from tests.quiet import Quiet


def answered(directory: Path, people: dict[str, list[int]], answers: int = 5) -> str:
    """Return a database in which each person gave these answers, -1 for none, pair by pair."""
    database = begin(directory / "votes.db", answers)
    ballots = Ballots(database, tables.votes, answers)
    for name, said in people.items():
        person = sign_in(database, name).id
        for pair, answer in enumerate(said):
            if answer >= 0:
                form = {"answer": ANSWERS[answer], "confidence": 1 + pair % 5, "reasons": "=wé,"}
                ballots.cast(person, pair, form)
    return str(directory / "votes.db")


def test_what_is_written_is_what_people_said(tmp_path: Path, reporter: Quiet) -> None:
    said = {f"person {n}": [(pair + n) % 3 for pair in range(15)] for n in range(5)}
    out = tmp_path / "votes.csv"
    assert export(VotesExport(answered(tmp_path, said), out), reporter) == 75
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    found = [
        (
            row["WorkerId"],
            row["Input.wordnet_id"],
            int(row["Input.feature_index"]),
            row["Answer.main"],
            row["Answer.confidence"],
            row["Answer.reasons"],
        )
        for row in rows
    ]
    assert sorted(found) == sorted(
        (name, pair.wnid, pair.feature, ANSWERS[answers[place]], str(1 + place % 5), "=wé,")
        for name, answers in said.items()
        for place, pair in enumerate(candidates())
    )
    assert reporter.lines == []


def test_votes_of_one_person_build_and_the_card_says_so(
    tmp_path: Path, world: World, reporter: Quiet
) -> None:
    said = {"Ada": [0, 1, 2, 0, 0] * 3}
    out = tmp_path / "votes.csv"
    assert export(VotesExport(answered(tmp_path, said, answers=1), out), reporter) == 15
    assert reporter.lines == ["Some pairs have 1 vote: give build --min-votes 1."]
    with pytest.raises(BuildError, match=r"has 1 vote.s.: collect at least 3, .* --min-votes"):
        build(world.settings(tmp_path / "data", votes=out), reporter)
    build(world.settings(tmp_path / "data", votes=out, min_votes=1), reporter)
    rows = load_dataset(str(tmp_path / "data"), "features", split="train", streaming=True)
    assert [row["sub_kind"] or row["kind"] for row in rows] == [
        "core", "separate_object", "background", "core", "core"
    ] * 3  # fmt: skip
    assert (
        "core or spurious is there what one person says"
        in (tmp_path / "data" / "README.md").read_text()
    )


def test_what_was_found_of_maps_goes_with_the_votes(tmp_path: Path) -> None:
    said = {f"person {n}": [0] * 15 for n in range(2)}
    votes, out = answered(tmp_path, said, answers=2), tmp_path / "votes.csv"
    database = begin(tmp_path / "votes.db", 2)
    opinions = Ballots(database, tables.opinions, 2)
    for person, pair, answer in ((1, 0, "same"), (2, 0, "same"), (1, 1, "same"), (2, 1, "unclear")):
        form = {"answer": answer, "different": "", "confidence": 4, "reasons": "fins"}
        opinions.cast(person, pair, form)
    opinions.cast(1, 2, form)  # Of which only one of two was asked.
    export(VotesExport(votes, out), Quiet())
    first, second, third = read_votes(out, 2).pairs[:3]
    assert (first.validated, first.same) == (True, 1.0)
    assert (second.validated, second.same) == (False, 0.5)
    assert (third.validated, third.same) == (None, None)


def test_pairs_that_lack_answers_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    said = {f"person {n}": [0] * 15 for n in range(4)} | {"Eve": [0] * 9 + [-1] * 6}
    votes, out = answered(tmp_path, said), tmp_path / "votes.csv"
    with pytest.raises(BuildError) as caught:
        export(VotesExport(votes, out), Quiet())
    assert str(caught.value) == (
        "6 of 15 pairs have fewer than 5 answers (class n90000002, feature 33 has 4, class "
        "n90000003, feature 41 has 4, class n90000003, feature 44 has 4, ...): let people go on, "
        "or export what there is with --partial."
    )
    assert not out.exists()


def test_a_part_is_that_of_whole_classes(tmp_path: Path, reporter: Quiet) -> None:
    said = {f"person {n}": [0] * (12 if n < 3 else 5) + [-1] * 10 for n in range(5)}
    said = {name: answers[:15] for name, answers in said.items()}
    out = tmp_path / "votes.csv"
    settings = VotesExport(answered(tmp_path, said), out, partial=True)
    assert export(settings, reporter) == 25 + 15
    assert [line.partition(" (")[0] for line in reporter.lines] == [
        "10 of 15 pairs have fewer than 5 answers",
        "1 of 3 classes are left out, since a feature of theirs has fewer than 3 votes: n90000003.",
    ]
    assert list(read_votes(out).labels) == list(CLASSES[:2])


def test_of_one_answer_a_sentence_says_answer(tmp_path: Path) -> None:
    votes = answered(tmp_path, {}, answers=1)
    with pytest.raises(BuildError, match=r"^15 of 15 pairs have fewer than 1 answer \(class"):
        export(VotesExport(votes, tmp_path / "votes.csv"), Quiet())


@pytest.mark.parametrize("partial", [False, True])
def test_without_answers_nothing_is_written(tmp_path: Path, partial: bool) -> None:
    votes, out = answered(tmp_path, {}), tmp_path / "votes.csv"
    with pytest.raises(BuildError, match=r"15 of 15 pairs have fewer|no class to export"):
        export(VotesExport(votes, out, partial), Quiet())
    assert not out.exists()


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    votes, out = answered(tmp_path, {}), tmp_path / "votes.csv"
    out.write_text("mine")
    with pytest.raises(BuildError, match=r"votes.csv exists already"):
        export(VotesExport(votes, out), Quiet())
    assert out.read_text() == "mine"
