"""The READMEs: what they name is there, what is there they name, and what they show can be run."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from builder.cli.app import app

ROOT = Path(__file__).parents[1]
BUILDER = ROOT / "builder"
PACKAGES = sorted(path.parent for path in BUILDER.glob("*/__init__.py"))
READMES = [ROOT / "README.md", BUILDER / "README.md", ROOT / "tests/benchmarks/README.md"]
READMES += [package / "README.md" for package in PACKAGES]
LONGEST = 300

each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
each_readme = pytest.mark.parametrize(
    "readme", READMES, ids=lambda readme: str(readme.relative_to(ROOT))
)


def layers() -> list[list[str]]:
    """Return the packages of each layer of the contract, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = settings["tool"]["importlinter"]["contracts"][0]
    return [line.replace("builder.", "").split(" | ") for line in contract["layers"]]


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [str(block) for block in found]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command line of ours, from blocks and from running text."""
    text = text.replace("\\\n", " ")
    for found in re.findall(r"(?:^|[\s`'(])salient-imagenet ([a-z][^`'\n#)]*)", text):
        yield found.split()


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_front_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST


@each_package
def test_packages_name_their_files(package: Path) -> None:
    readme = (package / "README.md").read_text()
    files = {path.name for path in package.iterdir() if path.suffix in (".py", ".jinja")}
    listed = re.findall(r"^- `([\w.]+)`: \S", readme, re.MULTILINE)
    assert sorted(listed) == sorted(files - {"__init__.py"})


@each_package
def test_packages_say_what_comes_in_and_out(package: Path) -> None:
    readme = (package / "README.md").read_text()
    assert readme.startswith(f"# {package.name}: ")
    assert "**In**: " in readme
    assert "**Out**: " in readme


@each_package
def test_packages_may_import_what_lies_below(package: Path) -> None:
    (line,) = re.findall(r"^May import: (.*)\.$", (package / "README.md").read_text(), re.MULTILINE)
    names = [name for layer in layers() for name in layer]
    (height,) = [height for height, layer in enumerate(layers()) if package.name in layer]
    below = [name for layer in layers()[height + 1 :] for name in layer]
    assert re.findall(r"`(\w+)`", line) == [name for name in names if name in below]


def test_the_picture_of_layers_is_the_contract() -> None:
    (picture,) = blocks((BUILDER / "README.md").read_text(), "text")
    drawn = [re.split(r"\s{2,}", line)[0].split(" | ") for line in picture.splitlines()]
    assert drawn == layers()


def test_the_builder_names_its_packages_and_files() -> None:
    readme = (BUILDER / "README.md").read_text()
    for package in PACKAGES:
        assert f"[{package.name}]({package.name}/README.md)" in readme
    for path in BUILDER.glob("*.py"):
        assert f"`{path.name}`" in readme or path.name == "__init__.py"


@each_readme
def test_named_files_exist(readme: Path) -> None:
    for name in re.findall(r"`([\w./]+\.(?:py|jinja))`", prose(readme.read_text())):
        places = [readme.parent / name, BUILDER / name, ROOT / name]
        assert any(place.is_file() for place in places), name


@each_readme
def test_links_lead_somewhere(readme: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(readme.read_text())):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = readme.parent / name if name else readme
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


@each_readme
def test_python_is_python(readme: Path) -> None:
    for block in blocks(readme.read_text(), "python"):
        parts = [example.source for example in doctest.DocTestParser().get_examples(block)]
        for part in parts or [block]:
            ast.parse(part)


@each_readme
def test_shell_is_shell(readme: Path) -> None:
    for block in blocks(readme.read_text(), "bash"):
        # Of a document without its end bash only warns.
        checked = subprocess.run(
            ["bash", "-n"], input=block, text=True, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


@each_readme
def test_commands_and_options_exist(readme: Path) -> None:
    known: Any = typer.main.get_command(app)
    for command, *words in commands(readme.read_text()):
        assert command in known.commands, command
        called = known.commands[command]
        if hasattr(called, "commands"):  # Without a name the first is meant.
            default = next(iter(called.commands.values()))
            called = called.commands.get(words[0] if words else "", default)
        options = {name for option in called.params for name in option.opts}
        given = {word.rstrip(".,;:") for word in words if word.startswith("--")}
        assert given <= options | {"--help"}, f"{command} {given - options}"


@each_readme
def test_modules_to_run_exist(readme: Path) -> None:
    for name in re.findall(r"python -m ((?:tests|builder)[\w.]*)", readme.read_text()):
        assert importlib.util.find_spec(name), name


def test_errors_refer_to_sections_that_exist() -> None:
    sections = re.findall(r"^## (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    source = "".join(path.read_text() for path in sorted(BUILDER.rglob("*.py")))
    named = re.findall(r"'([^'\n]+)' in the README", source)
    assert named
    assert set(named) <= set(sections)
