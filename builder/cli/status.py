"""``salient-imagenet status``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.reporter import Screen
from builder.storage.files import disk_errors_as_sentences
from builder.storage.remote import parse_location


def status(
    data: Annotated[
        Path,
        typer.Argument(
            parser=parse_location,
            metavar="DIR",
            help="The directory or URL that build writes to.",
        ),
    ],
) -> None:
    """Tell how far the builds of a data set are.

    It only reads, and may be called while they run. It tells how many shards are done, running,
    left and failed, how many images were set aside so far, the rate and the time left, and when
    each build, or each task of one, last gave a sign of life.
    """
    from builder.cli.tables import status_tables  # noqa: PLC0415 (--help need not wait for them)
    from builder.run.status import read_status  # noqa: PLC0415

    screen = Screen()
    with disk_errors_as_sentences(data):
        found = read_status(data)
    for table in status_tables(found):
        screen.print(table)
