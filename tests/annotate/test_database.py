"""What answers are about, and where they can be kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from builder.annotate.database import Database, open_database, reopen_database
from builder.errors import BuildError
from tests.annotate.site.study import NETWORK, begin, candidates


def test_what_is_opened_again_is_the_same(tmp_path: Path) -> None:
    first = begin(tmp_path / "votes.db")
    again = begin(tmp_path / "votes.db", answers=3)
    assert again.fact("vote_token") == first.fact("vote_token") != first.fact("read_token")
    assert again.answers == 3
    known = [(*pair[:5], pair.images) for pair in candidates()]
    for database in (again, reopen_database(str(tmp_path / "votes.db"))):
        assert [(*pair[:5], pair.images) for pair in database.all_pairs()] == known


def test_a_committed_answer_survives_a_power_cut(tmp_path: Path) -> None:
    """SQLite writes its log through to the disk at each commit."""
    database = begin(tmp_path / "votes.db")
    with database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({**NETWORK, "network": "timm:resnet18"}, "network small-convnet, and not timm:resnet18"),
        ({**NETWORK, "weights": "f" * 16}, "weights 0123456789abcdef, and not ffffffffffffffff"),
    ],
)
def test_votes_on_another_network_are_refused(
    tmp_path: Path, network: dict[str, str], said: str
) -> None:
    begin(tmp_path / "votes.db")
    with pytest.raises(BuildError, match=f"another network .{said}.: check --network"):
        open_database(str(tmp_path / "votes.db"), candidates(), network, 5)


def test_votes_on_another_table_are_refused(tmp_path: Path) -> None:
    begin(tmp_path / "votes.db")
    pairs = candidates()
    changed = [*pairs[:7], pairs[7]._replace(feature=77), *pairs[8:]]
    with pytest.raises(BuildError, match="they differ from the class n90000002, rank 3, on"):
        begin(tmp_path / "votes.db", pairs=changed)
    with pytest.raises(BuildError, match="15 pairs, where the table has 10"):
        begin(tmp_path / "votes.db", pairs=pairs[:10])
    images = [pairs[0]._replace(images=("other",)), *pairs[1:]]
    with pytest.raises(BuildError, match="another table of features"):
        begin(tmp_path / "votes.db", pairs=images)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("text.csv", "text.csv is no database of votes"),
        ("folder", "folder is no file: give --votes a new file"),
        ("nowhere/votes.db", "There is no directory .*nowhere: check --votes"),
        ("oracle8://ada:secret@host/votes", r"--votes oracle8://\.\.\.@host/votes cannot be"),
        ("other.db", "other.db was made by another version"),
    ],
)
def test_what_cannot_keep_votes_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.csv").write_text("WorkerId,Answer.main\n")
    Path("folder").mkdir()
    begin(Path("other.db"))
    with sqlite3.connect("other.db") as connection:
        connection.execute("UPDATE facts SET value = '9' WHERE name = 'format'")
    with pytest.raises(BuildError, match=sentence) as caught:
        open_database(place, candidates(), NETWORK, 5)
    assert "secret" not in str(caught.value)


def test_an_export_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"There is no file .*votes.db: name the database"):
        reopen_database(str(tmp_path / "votes.db"))
    assert list(tmp_path.iterdir()) == []
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(BuildError, match=r"other.db is no database of votes"):
        reopen_database(str(tmp_path / "other.db"))


def test_a_database_by_its_url_is_the_same(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 'votes.db'}"
    database = open_database(place, candidates(), NETWORK, 5)
    assert isinstance(database, Database)
    assert reopen_database(str(tmp_path / "votes.db")).fact("id") == database.fact("id")
