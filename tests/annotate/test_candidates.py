"""The table of pairs as people edit it by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.annotate.candidates import Candidate, candidates_csv, read_candidates
from builder.errors import BuildError

PAIRS = [
    Candidate(label, wnid, wnid, rank, 10 * label + rank, 0.5, -0.25, ("a/1", "a/2"))
    for label, wnid in enumerate(("barn owl", "robin"))
    for rank in (1, 2)
]


def write(path: Path, change: Callable[[list[str]], object] = lambda lines: None) -> Path:
    lines = candidates_csv(PAIRS).decode().splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n")
    return path


def replace(line: int, old: str, new: str) -> Callable[[list[str]], object]:
    def change(lines: list[str]) -> None:
        assert old in lines[line]
        lines[line] = lines[line].replace(old, new)

    return change


def test_rows_come_back_in_their_order_whatever_the_file_s(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", lambda lines: lines.append(lines.pop(1)))
    assert read_candidates(path) == PAIRS


def test_a_class_may_be_removed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", lambda lines: lines.__delitem__(slice(1, 3)))
    assert read_candidates(path) == PAIRS[2:]


def test_a_pair_without_images_is_one_that_is_silent_in_its_class(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", replace(1, "a/1,a/2", ","))
    assert read_candidates(path)[0].images == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(replace(0, "feature", "neuron"), "lacks the column feature", id="column"),
        pytest.param(lambda lines: lines.__delitem__(slice(1, None)), "has no class", id="no rows"),
        pytest.param(replace(2, ",2,2,", ",2,two,"), r":3 has 'two' as feature", id="word"),
        pytest.param(replace(2, ",2,2,", ",2,-2,"), r":3 has '-2' as feature", id="negative"),
        pytest.param(replace(2, "0.5", "nan"), r":3 has 'nan' as importance", id="not a number"),
        pytest.param(replace(1, ",barn owl,", ",,"), ":2 has nothing as wnid", id="no class"),
        pytest.param(
            replace(2, ",2,2,", ",2,1,"),
            ":3 has the feature 1 of the class barn owl again, after line 2",
            id="feature twice",
        ),
        pytest.param(replace(1, "0,barn owl", "1,barn owl"), "contradicting wnids", id="label"),
        pytest.param(lambda lines: lines.pop(2), "has features of ranks", id="rank missing"),
        pytest.param(replace(4, ",a/1,a/2,,,", ""), ":5 has not the 12 values", id="short row"),
        pytest.param(replace(4, "a/1", '"a/1'), r"is no CSV \(unexpected end", id="open quote"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, change: Callable[[list[str]], object], sentence: str
) -> None:
    with pytest.raises(BuildError, match=sentence):
        read_candidates(write(tmp_path / "t.csv", change))


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot be read \(No such file"):
        read_candidates(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"m\xf6we\n")
    with pytest.raises(BuildError, match="is no CSV in UTF-8"):
        read_candidates(tmp_path / "latin.csv")
