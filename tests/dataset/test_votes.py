"""Votes: the rule, the tables, the numbers of the published file, and every bad input."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from builder.dataset.votes import (
    ANSWERS,
    COLUMNS,
    VALIDATION_COLUMNS,
    Pair,
    Validation,
    Vote,
    Votes,
    read_votes,
    write_template,
    write_votes,
)
from builder.errors import BuildError

Rows = list[dict[str, str]]

ONLY_SPURIOUS = [379, 416, 433, 537, 602, 655, 706, 746, 785, 795, 801, 810, 837, 890, 981]


def good_rows(pairs: int = 2, votes: int = 5) -> Rows:
    """Return votes on `pairs` features of each of two classes: 10, 11 of 0 and 20, 21 of 1.

    Row 0 of the list is line 2 of the file.
    """
    return [
        {
            "WorkerId": str(worker),
            "Input.wordnet_id": f"n0000000{label + 1}",
            "Input.class_index": str(label),
            "Input.feature_index": str(10 * (label + 1) + pair),
            "Input.feature_rank": str(pair + 1),
            "Answer.main": "main_object",
            "Answer.confidence": "4.0",
            "Answer.reasons": "a body, a head",
        }
        for label in range(2)
        for pair in range(pairs)
        for worker in range(votes)
    ]


def write(path: Path, rows: Rows, columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(tmp_path: Path, rows: Rows) -> Votes:
    return read_votes(write(tmp_path / "votes.csv", rows))


def refuse(path: Path) -> str:
    """Return the sentence with which a file is refused."""
    with pytest.raises(BuildError) as caught:
        read_votes(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    ("main_object", "separate_object", "background", "kind", "sub_kind"),
    [
        (5, 0, 0, "core", None),
        (3, 2, 0, "core", None),
        (3, 1, 1, "core", None),
        (3, 0, 2, "core", None),
        (2, 3, 0, "spurious", "separate_object"),
        (0, 5, 0, "spurious", "separate_object"),
        (0, 3, 2, "spurious", "separate_object"),
        (2, 0, 3, "spurious", "background"),
        (1, 1, 3, "spurious", "background"),
        (0, 0, 5, "spurious", "background"),
        (2, 2, 1, "spurious", "mixed"),
        (2, 1, 2, "spurious", "mixed"),
        (1, 2, 2, "spurious", "mixed"),
    ],
)
def test_three_of_five_off_the_main_object_make_a_pair_spurious(
    main_object: int, separate_object: int, background: int, kind: str, sub_kind: str | None
) -> None:
    pair = Pair(0, "n00000001", 10, 1, main_object, separate_object, background, 4.0)
    assert (pair.kind, pair.sub_kind) == (kind, sub_kind)


@pytest.mark.parametrize(
    ("counts", "kind"), [((2, 1, 0), "core"), ((1, 1, 1), "spurious"), ((2, 1, 1), "core")]
)
def test_with_other_than_five_votes_it_is_the_majority_and_a_tie_is_core(
    counts: tuple[int, int, int], kind: str
) -> None:
    assert Pair(0, "n00000001", 10, 1, *counts, 4.0).kind == kind


def test_counts_and_mean_confidence_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = good_rows()
    answers = ["background", "separate_object", "main_object", "background", "main_object"]
    for row, answer, confidence in zip(rows, answers, "12345", strict=False):
        row.update({"Answer.main": answer, "Answer.confidence": confidence})
    first = read(tmp_path, rows).pairs[0]
    assert first == Pair(0, "n00000001", 10, 1, 2, 1, 2, 3.0)


def test_what_a_study_found_comes_back_with_the_pairs(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    votes = [
        Vote(str(worker), "robin", 0, feature, rank, "main_object", 4, "")
        for rank, feature in enumerate((7, 8, 9), 1)
        for worker in range(3)
    ]
    found = {("robin", 7): Validation(True, 0.8), ("robin", 9): Validation(False, 0)}
    write_votes(path, votes, found)
    read_back = read_votes(path)
    assert [(pair.validated, pair.same) for pair in read_back.pairs] == [
        (True, 0.8),
        (None, None),
        (False, 0.0),
    ]
    assert read_back.are_validated
    write_votes(path, votes)
    assert not read_votes(path).are_validated
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, "yes"), (0, ""), (1, ""), (1, "nan"), (1, "1.5"), (1, "-0.1"), (1, "half")],
)
def test_what_no_study_finds_is_refused_with_its_line(
    tmp_path: Path, column: int, value: str
) -> None:
    rows = [row | dict(zip(VALIDATION_COLUMNS, ("True", "1"), strict=True)) for row in good_rows()]
    rows[1][VALIDATION_COLUMNS[column]] = value
    columns = (*COLUMNS, *VALIDATION_COLUMNS)
    sentence = refuse(write(tmp_path / "votes.csv", rows, columns))
    assert sentence.startswith(f"{tmp_path}/votes.csv:3 has ")
    assert "use True or False, and a number from 0 to 1, or leave both empty" in sentence


def test_two_results_of_a_study_for_a_pair_are_refused(tmp_path: Path) -> None:
    rows = [row | dict(zip(VALIDATION_COLUMNS, ("True", "1"), strict=True)) for row in good_rows()]
    rows[2] |= dict.fromkeys(VALIDATION_COLUMNS, "")
    columns = (*COLUMNS, *VALIDATION_COLUMNS)
    sentence = refuse(write(tmp_path / "votes.csv", rows, columns))
    assert ":4 has another validation of class n00000001, feature 10 than the rows" in sentence


@pytest.mark.parametrize("answer", ["main_object", "background"])
def test_a_second_vote_of_a_worker_on_a_pair_is_refused(tmp_path: Path, answer: str) -> None:
    rows = good_rows()
    rows += [{**row, "Answer.main": answer} for row in rows]
    sentence = refuse(write(tmp_path / "votes.csv", rows))
    assert (
        f"{tmp_path}/votes.csv:22 is a second vote of the worker 0 on class n00000001, " in sentence
    )
    assert f"feature 10, after {tmp_path}/votes.csv:2: keep one vote of each worker" in sentence


def test_workers_that_are_not_told_may_be_one_or_many(tmp_path: Path) -> None:
    rows = [{**row, "WorkerId": ""} for row in good_rows()]
    assert read(tmp_path, rows).pairs[0].main_object == 5


def test_written_votes_are_read_as_they_were_cast(tmp_path: Path) -> None:
    votes = [
        Vote(f"W{worker}", "n00000001", 0, 10, 1, answer, confidence, 'a "body", a head')
        for worker, (answer, confidence) in enumerate(zip(ANSWERS, (4, 2, 1.5), strict=True))
    ]
    path = tmp_path / "new" / "votes.csv"
    write_votes(path, votes)
    assert path.read_bytes().decode().splitlines(keepends=True) == [
        "WorkerId,Input.wordnet_id,Input.class_index,Input.feature_index,Input.feature_rank,"
        "Answer.main,Answer.confidence,Answer.reasons\n",
        'W0,n00000001,0,10,1,main_object,4,"a ""body"", a head"\n',
        'W1,n00000001,0,10,1,separate_object,2,"a ""body"", a head"\n',
        'W2,n00000001,0,10,1,background,1.5,"a ""body"", a head"\n',
    ]
    assert read_votes(path).pairs == (Pair(0, "n00000001", 10, 1, 1, 1, 1, 2.5),)


def test_pairs_are_sorted_by_label_then_rank_whatever_the_order_of_rows(tmp_path: Path) -> None:
    rows = good_rows()
    order = np.random.default_rng(0).permutation(len(rows))
    votes = read(tmp_path, [rows[index] for index in order])
    assert [(pair.label, pair.rank, pair.feature) for pair in votes.pairs] == [
        (0, 1, 10),
        (0, 2, 11),
        (1, 1, 20),
        (1, 2, 21),
    ]


def test_features_of_a_class_are_in_the_order_of_rank_not_of_index(tmp_path: Path) -> None:
    rows = good_rows()
    for row in rows[:10]:
        row["Input.feature_rank"] = {"1": "2", "2": "1"}[row["Input.feature_rank"]]
    assert read(tmp_path, rows).features.tolist() == [[11, 10], [20, 21]]


def test_tables_have_a_row_per_label_and_minus_one_where_no_one_voted(tmp_path: Path) -> None:
    rows = good_rows()
    for row in rows[10:]:
        row["Input.class_index"] = "3"
    for row in rows[10:13]:
        row["Answer.main"] = "background"
    votes = read(tmp_path, rows)
    assert votes.features.tolist() == [[10, 11], [-1, -1], [-1, -1], [20, 21]]
    assert votes.features.dtype == np.int32
    assert votes.spurious.tolist() == [[False] * 2, [False] * 2, [False] * 2, [True, False]]


def test_labels_come_from_the_files_own_pairs_of_wnid_and_class_index(tmp_path: Path) -> None:
    assert read(tmp_path, good_rows()).labels == {"n00000001": 0, "n00000002": 1}


def test_a_byte_order_mark_and_further_columns_do_no_harm(tmp_path: Path) -> None:
    rows = [{**row, "Answer.more": "é"} for row in good_rows()]
    path = write(tmp_path / "votes.csv", rows, (*COLUMNS, "Answer.more"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_votes(path).pairs) == 4


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    columns = tuple(name for name in COLUMNS if name != column)
    sentence = refuse(write(tmp_path / "votes.csv", good_rows(), columns))
    assert f"votes.csv lacks the column {column}: it needs WorkerId," in sentence


@pytest.mark.parametrize("answer", ["animal", "Main_object"])
def test_an_unknown_answer_is_named_with_its_line(tmp_path: Path, answer: str) -> None:
    rows = good_rows()
    rows[3]["Answer.main"] = answer
    sentence = refuse(write(tmp_path / "votes.csv", rows))
    assert f"votes.csv:5 has the unknown answer {answer!r}: use one of" in sentence
    assert all(known in sentence for known in ANSWERS)


ASKED = ("class_index", "feature_index", "feature_rank")
PAIRS = [("barn owl", 1, 7, 1), ("barn owl", 1, 3, 2), ("wren, v1", 0, 5, 1), ("wren, v1", 0, 2, 2)]


def test_a_template_has_five_rows_of_each_pair_and_no_answer(tmp_path: Path) -> None:
    write_template(tmp_path / "votes.csv", PAIRS)
    with (tmp_path / "votes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["WorkerId"] for row in rows] == list("12345") * len(PAIRS)
    asked = [
        (row["Input.wordnet_id"], *(int(row[f"Input.{name}"]) for name in ASKED)) for row in rows
    ]
    assert asked[::5] == PAIRS
    assert {row[column] for row in rows for column in COLUMNS[-3:]} == {""}
    for row in rows:
        row.update({"Answer.main": "background", "Answer.confidence": "2"})
    votes = read(tmp_path, rows)
    assert [(pair.wnid, pair.label, pair.feature, pair.rank) for pair in votes.pairs] == [
        *PAIRS[2:],
        *PAIRS[:2],
    ]


def test_what_is_missing_of_a_template_is_told_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    write_template(path, PAIRS)
    assert refuse(path) == (
        f"20 of the 20 rows of {path} have no Answer.main, the first in line 2: give each "
        "main_object, separate_object or background."
    )
    rows = good_rows()
    rows[4]["Answer.confidence"] = rows[7]["Answer.confidence"] = " "
    assert refuse(write(path, rows)) == (
        f"2 of the 20 rows of {path} have no Answer.confidence, the first in line 6: give each a "
        "number from 1 to 5."
    )


@pytest.mark.parametrize(
    ("column", "values", "remedy"),
    [
        ("Input.class_index", ("-1", "1.0", "x", "", "²"), "use a whole number from 0 up."),
        ("Input.feature_index", ("-1", "1e3", "x", ""), "use a whole number from 0 up."),
        ("Input.feature_rank", ("0", "-1", "x", ""), "use a whole number from 1 up."),
        ("Answer.confidence", ("0", "6", "nan", "inf", "x"), "use a number from 1 to 5."),
    ],
)
def test_a_bad_number_is_named_with_line_and_column(
    tmp_path: Path, column: str, values: tuple[str, ...], remedy: str
) -> None:
    for value in values:
        rows = good_rows()
        rows[0][column] = value
        sentence = refuse(write(tmp_path / "votes.csv", rows))
        assert f"votes.csv:2 has {value!r} in {column}: {remedy}" in sentence


def test_a_number_too_long_for_python_is_refused_like_any_other(tmp_path: Path) -> None:
    rows = good_rows()
    rows[0]["Input.feature_index"] = "9" * 5000
    assert "Input.feature_index" in refuse(write(tmp_path / "votes.csv", rows))


def test_a_row_that_ends_early_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "votes.csv", good_rows())
    path.write_text(path.read_text() + "7,n00000002,1\n")
    assert "votes.csv:22 has" in refuse(path)


@pytest.mark.parametrize("votes", [1, 2])
def test_a_pair_with_fewer_than_three_votes_is_named(tmp_path: Path, votes: int) -> None:
    rows = good_rows()
    sentence = refuse(write(tmp_path / "votes.csv", rows[: 5 + votes] + rows[10:]))
    assert (
        f"class n00000001, feature 11 in {tmp_path / 'votes.csv'} has {votes} vote(s)" in sentence
    )
    assert "collect at least 3, remove the pair, or give build another --min-votes." in sentence


def _give(first: slice, **changes: str) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        for row in rows[first]:
            row.update({f"Input.{name}": value for name, value in changes.items()})

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            _give(slice(10, 20), class_index="0"),
            "Class index 0 has contradicting wnids in",
            id="one index, two wnids",
        ),
        pytest.param(
            _give(slice(15, 20), wordnet_id="n00000001"),
            "The wnid n00000001 has contradicting class indices in",
            id="one wnid, two indices",
        ),
    ],
)
def test_contradicting_wnids_are_refused_both_ways(
    tmp_path: Path, change: Callable[[Rows], None], said: str
) -> None:
    rows = good_rows()
    change(rows)
    if "indices" in said:  # Else the index that is left would have two wnids too.
        rows = [row for row in rows if row["Input.feature_index"] != "20"]
    sentence = refuse(write(tmp_path / "votes.csv", rows))
    assert said in sentence
    assert "give each wnid one class index of its own." in sentence


@pytest.mark.parametrize("column", ["class_index", "feature_rank"])
def test_votes_on_one_pair_that_contradict_each_other_are_refused(
    tmp_path: Path, column: str
) -> None:
    rows = good_rows()
    _give(slice(0, 1), **{column: "2"})(rows)
    sentence = refuse(write(tmp_path / "votes.csv", rows))
    assert "The votes on class n00000001, feature 10" in sentence
    assert "keep one of each." in sentence


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda rows: rows.__delitem__(slice(15, 20)), id="fewer in one class"),
        pytest.param(_give(slice(15, 20), feature_rank="3"), id="a rank left out"),
        pytest.param(_give(slice(15, 20), feature_rank="1"), id="a rank twice"),
    ],
)
def test_unequal_ranks_are_refused_with_the_class(
    tmp_path: Path, change: Callable[[Rows], None]
) -> None:
    rows = good_rows()
    change(rows)
    sentence = refuse(write(tmp_path / "votes.csv", rows))
    assert "Class n00000002" in sentence
    assert "every class needs the same number of features, ranked from 1." in sentence


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    assert "has no votes: check --votes." in refuse(write(tmp_path / "votes.csv", []))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "lacks the column WorkerId"),
        (b"\xff\xfe\x00", "is no CSV in UTF-8: check --votes."),
        ("é".encode("latin-1"), "is no CSV in UTF-8: check --votes."),
        (",".join(COLUMNS).encode() + b'\n1,"a"b', ":2 is no CSV ("),
        (b'"' + b"a" * 200_000 + b'"', "is no CSV ("),
        (b"\x00" * 100, "lacks the column WorkerId"),
    ],
    ids=["empty", "no UTF-8", "latin-1", "bad quotes", "endless field", "zeros"],
)
def test_what_is_no_csv_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "votes.csv"
    path.write_bytes(data)
    sentence = refuse(path)
    assert str(path) in sentence
    assert said in sentence


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    missing = tmp_path / "none.csv"
    said = f"The votes file {missing} cannot be read (No such file or directory)"
    assert said in refuse(missing)
    assert "cannot be read (Is a directory)" in refuse(tmp_path)


@pytest.fixture(scope="module")
def real_data() -> Path:
    root = os.environ.get("SALIENT_REAL_DATA")
    if not root:
        pytest.skip("SALIENT_REAL_DATA names no folder with the published votes")
    return Path(root)


@pytest.fixture(scope="module")
def published(real_data: Path) -> Votes:
    return read_votes(real_data / "discover_spurious_features.csv")


def test_the_published_file_is_the_one_that_design_md_speaks_of(published: Votes) -> None:
    expected = "6fc1cfbc6e3c90d456420406b05b69ef45e8ce9e851917ddc751486fcec1fa07"
    assert published.sha256 == expected


def test_the_published_votes_give_the_numbers_of_the_paper(published: Votes) -> None:
    votes = sum(
        pair.main_object + pair.separate_object + pair.background for pair in published.pairs
    )
    assert votes == 25_000
    assert Counter(pair.kind for pair in published.pairs) == {"core": 4370, "spurious": 630}
    assert Counter(pair.sub_kind for pair in published.pairs) == {
        None: 4370,
        "background": 231,
        "separate_object": 296,
        "mixed": 103,
    }
    assert len({pair.feature for pair in published.pairs}) == 1462
    assert sorted(published.labels.values()) == list(range(1000))
    assert sorted(published.labels) == [pair.wnid for pair in published.pairs[::5]]


def test_the_published_votes_have_the_spurious_classes_of_the_paper(published: Votes) -> None:
    per_class = published.spurious.sum(axis=1)
    assert published.spurious.shape == (1000, 5)
    assert Counter(per_class[per_class > 0].tolist()) == {1: 205, 2: 83, 3: 32, 4: 22, 5: 15}
    assert np.flatnonzero(per_class == 5).tolist() == ONLY_SPURIOUS


def test_the_efficientnet_votes_have_six_spurious_pairs(real_data: Path) -> None:
    votes = read_votes(real_data / "efficientnet_lite0_votes.csv")
    assert len(votes.pairs) == 50
    spurious = {pair.feature for pair in votes.pairs if pair.kind == "spurious"}
    assert spurious == {1223, 335, 280, 544, 444, 525}
