"""The commands of ``salient-imagenet``, and what they have in common."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from builder.cli import (
    annotate,
    build,
    demo,
    discover,
    evaluate,
    gallery,
    publish,
    segmentations,
    status,
    subgroups,
    train,
    tune_head,
    verify,
)
from builder.cli.streams import readers_may_leave
from builder.errors import BuildError, printable
from builder.reporter import Screen


def _without_flag_types(parameters: list[Any]) -> list[Any]:
    """Show flags as they are typed: ``<bool>`` after one asks for a value that it does not take."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


_UsageError: type[Any] = typer.BadParameter.__mro__[1]
"""What is wrong with a command line; Typer may bring along a Click of its own."""


@contextmanager
def _usage_is_printable() -> Iterator[None]:
    """Show what was typed like any other name, also where the command line is wrong."""
    try:
        yield
    except _UsageError as error:
        error.message = printable(error.message)
        raise


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_flag_types(super().get_params(ctx))

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        if parent and not info_name:  # The default of a group is called by the group's name.
            info_name, parent = parent.info_name, parent.parent
        return super().make_context(info_name, args, parent, **extra)


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_flag_types(super().get_params(ctx))

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _usage_is_printable():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _usage_is_printable():
            return super().invoke(ctx)


class _GroupWithDefault(_Group):
    """Commands of which the first is meant where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        names = self.list_commands(ctx)
        if not args or args[0] not in names:
            args = [names[0], *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        # What is not typed is not shown either.
        return "" if name == self.list_commands(ctx)[0] else name, command, rest


def _typer(name: str, cls: type[TyperGroup], **options: Any) -> typer.Typer:
    return typer.Typer(
        name=name,
        cls=cls,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        add_completion=False,
        **options,
    )


app = _typer("salient-imagenet", _Group, no_args_is_help=True)
voting = _typer("annotate", _GroupWithDefault, help=annotate.SUMMARY)


@app.callback()
def _root() -> None:
    """Soft masks of core and spurious features for all of ImageNet."""


def _register(
    command: Callable[..., None], examples: str | None = None, group: typer.Typer = app
) -> None:
    # Rich keeps line breaks: those of the source would be seen in windows of other widths.
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    group.command(cls=_Command, help=text, epilog=examples)(command)


_register(build.build, build.EXAMPLES)
_register(status.status)
_register(demo.demo)
_register(discover.discover, discover.EXAMPLES)
_register(annotate.annotate, annotate.EXAMPLES, voting)
_register(annotate.export, group=voting)
app.add_typer(voting)
_register(gallery.gallery)
_register(evaluate.evaluate, evaluate.EXAMPLES)
_register(segmentations.segmentations, segmentations.EXAMPLES)
_register(subgroups.subgroups, subgroups.EXAMPLES)
_register(train.train, train.EXAMPLES)
_register(tune_head.tune_head, tune_head.EXAMPLES)
_register(verify.verify)
_register(publish.publish, publish.EXAMPLES)


def run() -> None:
    """Run the command line; bad input is one sentence and exit status 2."""
    # Pillow warns of odd metadata, which is no news in ImageNet.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with readers_may_leave():
        try:
            app()
        except BuildError as error:
            _refuse(str(error))
        except OSError as error:
            if error.filename is None:
                raise
            _refuse(f"{error.filename} cannot be used ({error.strerror}): check its name.")


def _refuse(sentence: str) -> NoReturn:
    Screen(stderr=True).tell(f"Error: {sentence}", "red")
    sys.exit(2)
