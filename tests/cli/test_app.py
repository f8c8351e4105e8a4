"""The commands together, and their help."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from builder.cli.app import app

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def help_of(command: str, columns: int = 80) -> list[str]:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    return result.output.splitlines()


def test_no_arguments_show_the_commands() -> None:
    output = CliRunner().invoke(app, []).output
    assert "Usage" in output
    for command in ("build", "status", "demo", "discover", "gallery", "verify", "publish"):
        assert re.search(rf"^. {command} ", output, re.MULTILINE)


def test_help_shows_examples() -> None:
    text = " ".join(" ".join(help_of("build")).split())
    assert "Examples" in text
    assert "salient-imagenet build --images" in text
    assert "--checkpoint imagenet_l2_3_0.pt --out ./salient-imagenet-1m" in text


def test_help_lists_every_option_of_build() -> None:
    text = "\n".join(help_of("build"))
    for option in (
        *("images", "split", "limit", "network", "checkpoint", "device", "precision", "votes"),
        *("allow-mismatch", "keep-embeddings", "dry-run", "out"),
    ):
        assert re.search(rf"--{option}\b", text), option


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["status", "x", "s3://KEY:SEC/RET@bucket"], "s3://...@bucket"),
        (["s3://KEY:SECRET@bucket"], "s3://...@bucket"),
        (["build", "--limit", "\x1b[2J"], "--limit"),
        (["\x1b[2J"], r"\x1b[2J"),
        (["--\x1b[2J"], r"\x1b[2J"),
    ],
)
def test_what_was_typed_wrongly_commands_no_terminal(arguments: list[str], shown: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert shown in result.output
    assert "SEC" not in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_in_whole_sentences(command: str) -> None:
    for parameter in COMMANDS[command].params:
        assert re.fullmatch(r"[A-Z].+[^.]\.", parameter.help), parameter.name
        assert len(parameter.help.split()) > 3, parameter.name


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_its_window(command: str, columns: int) -> None:
    lines = help_of(command, columns)
    assert max(map(len, lines)) <= columns
    text = "\n".join(lines)
    assert "…" not in text
    # As if a flag took a value.
    assert "<bool>" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_paragraph_breaks_only_where_the_window_ends(command: str) -> None:
    lines = help_of(command, 400)
    description = lines[: next(index for index, line in enumerate(lines) if line.startswith("╭"))]
    for line, following in pairwise(line.strip() for line in description):
        assert not line or not following
