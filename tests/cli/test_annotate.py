"""``salient-imagenet annotate``: one word, and a second one for what is exported."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from builder.cli import main
from builder.cli.annotate import REQUIRED
from builder.cli.app import app
from builder.settings.annotation import Annotation, VotesExport
from tests.annotate.site.study import begin
from tests.without import run_without

GIVEN = ["features.csv", "--images", "i", "--network", "n", "--votes", "v"]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    monkeypatch.setattr(
        "builder.annotate.annotate.annotate", lambda settings, reporter: seen.append(settings)
    )

    def export(settings: VotesExport, _reporter: object) -> int:
        seen.append(settings)
        return 7

    monkeypatch.setattr("builder.annotate.export.export", export)
    return seen


@pytest.mark.parametrize("given", [GIVEN, [*GIVEN[1:], GIVEN[0]]], ids=["table first", "last"])
def test_without_a_second_word_people_vote(called: list[Any], given: list[str]) -> None:
    result = CliRunner().invoke(app, ["annotate", *given])
    assert result.exit_code == 0, result.output
    assert called == [Annotation(features=Path("features.csv"), images="i", network="n", votes="v")]
    assert called[0].pictures == Path("features-pictures")


def test_export_is_the_second_word(called: list[Any]) -> None:
    result = CliRunner().invoke(app, ["annotate", "export", "v.db", "--out", "o.csv"])
    assert result.exit_code == 0, result.output
    assert called == [VotesExport("v.db", Path("o.csv"))]
    assert "o.csv has 7 votes" in result.output


def test_help_names_the_command_once_and_the_export() -> None:
    runner = CliRunner()
    text = " ".join(runner.invoke(app, ["annotate", "--help"]).output.split())
    assert "annotate [OPTIONS] {TABLE}" in text
    assert "salient-imagenet annotate export votes.db --out votes.csv" in text
    text = runner.invoke(app, ["annotate", "export", "--help"]).output
    assert "annotate export [OPTIONS] {VOTES}" in " ".join(text.split())


@pytest.mark.parametrize("missing", [set(REQUIRED), {"starlette"}])
@pytest.mark.parametrize("words", [GIVEN, ["export", "v.db", "--out", "o.csv"]], ids=["", "export"])
def test_without_the_extra_a_sentence_says_what_to_install(
    missing: set[str], words: list[str]
) -> None:
    code = "import sys; from builder.cli import main; main()"
    ran = run_without(missing, code, "annotate", *words)
    assert ran.returncode == 2
    assert ran.stderr == (
        f"Error: annotate needs more packages ({', '.join(sorted(missing))}): run pip install -e "
        "'.[annotate]'.\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.csv", *GIVEN[1:]], "The table missing.csv cannot be read"),
        (["other.db", *GIVEN[1:]], "The table other.db is no CSV in UTF-8"),
        (["export", "missing.db", "--out", "o.csv"], "There is no file missing.db"),
        (["export", "other.db", "--out", "o.csv"], "other.db is no database of votes"),
        (["export", "votes.db", "--out", "o.csv"], "15 of 15 pairs have fewer than 5 answers"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_status_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    sqlite3.connect("other.db").execute("CREATE TABLE facts (x)").connection.close()
    begin(Path("votes.db"))
    monkeypatch.setattr("sys.argv", ["salient-imagenet", "annotate", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {said}")
