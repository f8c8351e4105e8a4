"""Readers that leave before all is said, and places that take nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.built import hashes
from tests.conftest import World
from tests.run.test_build import command

ROOT = Path(__file__).parents[2]


def into(output: int, *arguments: str) -> tuple[int, str]:
    """Run a command whose outputs go there; return its status and what Python says beside it."""
    code = (
        "import os, sys\n"
        "beside = os.dup(2)\n"
        "os.dup2(int(sys.argv.pop(1)), 2)\n"
        "from builder.cli import main\n"
        "sys.unraisablehook = lambda error: os.write(beside, repr(error).encode())\n"
        "sys.excepthook = lambda *error: os.write(beside, repr(error).encode())\n"
        "main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(output), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        pass_fds=[output],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stderr


@pytest.fixture
def unread() -> int:
    """Return the writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_build_goes_on_when_nobody_reads_what_it_says(
    planted: Path, world: World, tmp_path: Path, unread: int
) -> None:
    assert into(unread, *command(world, tmp_path / "out")) == (0, "")
    built = {name: digest for name, digest in hashes(tmp_path / "out").items() if "train" in name}
    assert built
    assert built.items() <= hashes(planted).items()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["status", "DATA"], 0), (["verify", "NOWHERE"], 2), (["--help"], 0), (["verify"], 2)],
)
def test_the_status_is_that_of_the_work(
    planted: Path, tmp_path: Path, unread: int, arguments: list[str], status: int
) -> None:
    places = {"DATA": str(planted), "NOWHERE": str(tmp_path / "nowhere")}
    assert into(unread, *(places.get(part, part) for part in arguments)) == (status, "")


def test_what_cannot_be_said_is_an_error(planted: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "builder", "status", str(planted)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )
    assert (ran.returncode, ran.stderr) == (
        2,
        "Error: What the command says cannot be written (No space left on device): check where "
        "its output goes.\n",
    )
