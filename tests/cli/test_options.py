from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from builder.cli.app import app
from builder.cli.options import options_of
from builder.errors import BuildError
from builder.settings.annotation import Annotation, Search, VotesExport
from builder.settings.build import Settings
from builder.settings.evaluation import Evaluation
from builder.settings.gallery import GallerySettings
from builder.settings.publication import Publication


@dataclass(frozen=True)
class Depth:
    """What an option with a parser gives."""

    metres: int

    def __str__(self) -> str:
        return f"{self.metres}m"


def parse_depth(text: str) -> Depth:
    return Depth(int(text.removesuffix("m")))


@dataclass(frozen=True, kw_only=True)
class Swim:
    """How a river is swum."""

    river: Annotated[str, typer.Argument(help="Which river.")] = "Spree"
    depth: Annotated[Depth, typer.Option(parser=parse_depth)] = Depth(3)
    laps: Annotated[int | None, typer.Option(min=1)] = None


@dataclass(frozen=True, kw_only=True)
class Otter(Swim):
    """An otter that swims it."""

    name: Annotated[str, typer.Option(help="Its name.")]
    wet: Annotated[bool, typer.Option("--wet")] = False


@pytest.fixture
def seen() -> list[tuple[Otter, bool]]:
    return []


@pytest.fixture
def command(seen: list[tuple[Otter, bool]]) -> typer.Typer:
    river = typer.Typer(add_completion=False)

    @river.command()
    @options_of(Otter)
    def swim(otter: Otter, *, dry_run: Annotated[bool, typer.Option("--dry-run")] = False) -> None:
        """Swim."""
        seen.append((otter, dry_run))

    return river


@pytest.mark.parametrize(
    ("given", "otter", "dry_run"),
    [
        ("--name Ottilie", Otter(name="Ottilie"), False),
        (
            "Havel --name O --depth 12m --laps 2 --wet --dry-run",
            Otter(name="O", river="Havel", depth=Depth(12), laps=2, wet=True),
            True,
        ),
    ],
)
def test_a_command_takes_a_dataclass_and_its_user_the_fields(
    command: typer.Typer,
    seen: list[tuple[Otter, bool]],
    given: str,
    otter: Otter,
    dry_run: bool,
) -> None:
    result = CliRunner().invoke(command, given.split())
    assert result.exit_code == 0, result.output
    assert seen == [(otter, dry_run)]


@pytest.mark.parametrize(
    ("given", "said"),
    [("", "Missing option '--name'"), ("--name O --laps 0", "Invalid value for '--laps'")],
)
def test_limits_are_those_of_the_fields(
    command: typer.Typer, seen: list[tuple[Otter, bool]], given: str, said: str
) -> None:
    result = CliRunner().invoke(command, given.split())
    assert result.exit_code == 2
    assert said in result.output
    assert not seen


def test_help_shows_required_options_first(command: typer.Typer) -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    assert "Swim." in text
    assert "[default: 3m]" in text
    assert text.index("--name") < text.index("--depth") < text.index("--dry-run")


@pytest.mark.parametrize(
    ("name", "settings", "others"),
    [
        ("build", Settings, {"dry_run"}),
        ("discover", Search, set()),
        ("evaluate", Evaluation, {"dry_run"}),
        ("annotate annotate", Annotation, set()),
        ("annotate export", VotesExport, set()),
        ("gallery", GallerySettings, set()),
        ("publish", Publication, {"dry_run"}),
    ],
)
def test_commands_have_the_options_and_defaults_of_their_settings(
    name: str, settings: type[Any], others: set[str]
) -> None:
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    parameters = {parameter.name: parameter for parameter in command.params}
    assert parameters.keys() == {field.name for field in fields(settings)} | others
    for field in fields(settings):
        parameter = parameters[field.name]
        assert parameter.required == (field.default is MISSING)
        assert parameter.required or str(parameter.default) == str(field.default)


def test_pages_go_beside_the_data_set_by_default(tmp_path: Path) -> None:
    settings = GallerySettings(tmp_path / "data", "images")
    assert settings.target == tmp_path / "data-gallery"
    settings = GallerySettings(tmp_path / "data", "images", Path("page.html"))
    assert settings.target == Path("page.html")


class CalledError(Exception):
    """Has the arguments of the call of which a command consists."""


SPLIT_COMMANDS = {
    "build --images i --votes v --out o": "builder.run.build.build",
    "discover --images i --network n --out o": "builder.annotate.discover.discover",
    "annotate f --images i --network n --votes v": "builder.annotate.annotate.annotate",
    "evaluate d --images i --model m --out o": "builder.evaluate.evaluation.evaluate",
    "gallery d --images i": "builder.pages.gallery.make_gallery",
    "subgroups d --images i --model m --out o": "builder.subgroups.subgroups.find_subgroups",
    "verify d --images i": "builder.checks.verify.checks",
}


@pytest.mark.parametrize(("given", "call"), SPLIT_COMMANDS.items())
def test_val_is_the_split_validation_as_for_the_loader(
    given: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*arguments: object) -> None:
        splits = (vars(argument)["split"] for argument in arguments if is_dataclass(argument))
        raise CalledError(*arguments, *splits)

    monkeypatch.setattr(call, called)
    for name, split in (("val", "validation"), ("validation", "validation"), ("train", "train")):
        result = CliRunner().invoke(app, [*given.split(), "--split", name])
        assert isinstance(result.exception, CalledError)
        assert result.exception.args[-1] == split
    result = CliRunner().invoke(app, [*given.split(), "--split", "test"])
    assert isinstance(result.exception, BuildError)
    assert str(result.exception) == "There is no split test: use --split train or validation."


def test_every_command_that_takes_a_split_is_among_these() -> None:
    commands: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    found = {
        name
        for name, command in commands.items()
        for called in getattr(command, "commands", {name: command}).values()
        if any(param.name == "split" for param in called.params)
    }
    assert found == {given.split()[0] for given in SPLIT_COMMANDS}
