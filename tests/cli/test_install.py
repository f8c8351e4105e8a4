"""What the command says where only the loader is installed."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from builder.cli import REQUIRED
from tests.without import run_without

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

CONSOLE_SCRIPT = "from builder.cli import main; main()"
AS_MODULE = "import runpy; runpy.run_module('builder', run_name='__main__')"


def names(requirements: list[str]) -> set[str]:
    return {re.split("[<>=]", requirement)[0].lower() for requirement in requirements}


def test_what_is_looked_for_is_what_the_extra_installs() -> None:
    distributions = packages_distributions()
    found = {distributions[module][0].lower().replace("_", "-") for module in REQUIRED}
    assert found == names(PROJECT["optional-dependencies"]["build"])


def test_the_loader_needs_four_packages() -> None:
    assert names(PROJECT["dependencies"]) == {"datasets", "numpy", "pillow", "pyarrow"}


@pytest.mark.parametrize("code", [CONSOLE_SCRIPT, AS_MODULE])
@pytest.mark.parametrize("missing", [set(REQUIRED), {"torch"}, {"typer", "rich"}])
def test_without_the_extra_one_sentence_says_what_to_install(code: str, missing: set[str]) -> None:
    ran = run_without(missing, code, "--help")
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == (
        f"Error: salient-imagenet needs more than the loader does ({', '.join(sorted(missing))}): "
        "pip install 'salient-imagenet-1m[build]', or pip install -e '.[build]' in a clone.\n"
    )


@pytest.mark.parametrize("code", [CONSOLE_SCRIPT, AS_MODULE])
def test_with_the_extra_it_runs(code: str) -> None:
    ran = run_without((), code, "--help")
    assert ran.returncode == 0
    assert "publish" in ran.stdout


def test_help_and_wrong_options_need_no_pytorch() -> None:
    """Which takes seconds to import."""
    code = "import sys, builder.cli.app; assert 'torch' not in sys.modules"
    assert run_without((), code).returncode == 0
