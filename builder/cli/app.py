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

from builder.cli import build, demo, discover, evaluate, gallery, publish, status, verify
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


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_flag_types(super().get_params(ctx))

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _usage_is_printable():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _usage_is_printable():
            return super().invoke(ctx)


app = typer.Typer(
    name="salient-imagenet",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)


@app.callback()
def _root() -> None:
    """Soft masks of core and spurious features for all of ImageNet."""


def _register(command: Callable[..., None], examples: str | None = None) -> None:
    # Rich keeps line breaks: those of the source would be seen in windows of other widths.
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    app.command(cls=_Command, help=text, epilog=examples)(command)


_register(build.build, build.EXAMPLES)
_register(status.status)
_register(demo.demo)
_register(discover.discover, discover.EXAMPLES)
_register(gallery.gallery)
_register(evaluate.evaluate, evaluate.EXAMPLES)
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
