"""``salient-imagenet verify``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from builder.errors import printable
from builder.reporter import Screen
from builder.settings.options import parse_split
from builder.storage.files import disk_errors_as_sentences
from builder.storage.remote import parse_location

if TYPE_CHECKING:
    from builder.checks.verify import Check


def verify(
    data: Annotated[
        Path,
        typer.Argument(
            parser=parse_location,
            metavar="DIR",
            help="The directory or URL of a data set that build made.",
        ),
    ],
    images: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="The images that the data set was built from, of which a sample is compared with "
            "it: what build takes as --images.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            parser=parse_split,
            metavar="SPLIT",
            help="Which images are in --images: train or validation; by default those of every "
            "split of the data set.",
        ),
    ] = None,
) -> None:
    """See whether a data set is what it says it is.

    It hashes every file against the manifest, and recomputes from the rows what other columns,
    other files and the card say of them. Hashes tell damage, and numbers that contradict each
    other tell mistakes; neither tells who wrote them. It prints a line per check, and the exit
    status is 1 if one fails.
    """
    from builder.checks.verify import checks  # noqa: PLC0415 (--help need not wait for it)

    screen = Screen()
    wrong = 0
    with disk_errors_as_sentences(data):
        for check in checks(data, images, split):
            _print(screen, check)
            wrong += not check.passed
    if wrong:
        Screen(stderr=True).tell(f"{data} is not what it says it is.", "red")
        sys.exit(1)


def _print(screen: Screen, check: Check) -> None:
    """Print what a check came to: a line, and one more for each thing that is wrong."""
    mark = Text("ok   ", "green") if check.passed else Text("WRONG", "bold red")
    screen.print(mark, Text(printable(check.name)), soft_wrap=True)
    for problem in check.problems:
        screen.tell(f"      {problem}")
