"""What discover, annotate and annotate export are asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from builder.settings.network import NetworkSettings
from builder.storage.remote import parse_local

_SERVER = "Server"

VotesPlace = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="Where answers are kept: a file, made if it is not there, or the URL of a database "
        "such as postgresql+psycopg://USER@HOST/NAME.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Search(NetworkSettings):
    """The options of ``salient-imagenet discover``."""

    out: Annotated[
        Path,
        typer.Option(
            parser=parse_local,
            metavar="FILE",
            help="The table to write, a new CSV; beside it, for the answers, comes one whose name "
            "ends in -votes.csv.",
        ),
    ]

    @property
    def template(self) -> Path:
        """The votes file in which all answers are missing, beside the table."""
        return self.out.with_name(f"{self.out.stem}-votes.csv")


@dataclass(frozen=True, kw_only=True)
class Annotation(NetworkSettings):
    """The options of ``salient-imagenet annotate``."""

    features: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="The table of features that discover wrote."),
    ]
    votes: VotesPlace
    answers: Annotated[
        int,
        typer.Option(
            min=1,
            max=99,
            metavar="N",
            help="How many people are asked about each pair of a class and a feature.",
        ),
    ] = 5
    definitions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What the classes are: a line for each, with its name, a tab and its definition. "
            "By default WordNet's, where the classes have wnids.",
        ),
    ] = None
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            metavar="N",
            rich_help_panel=_SERVER,
            help="The port of the page; if it is in use, the next one that is not. With 0, any.",
        ),
    ] = 8077
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            rich_help_panel=_SERVER,
            help="From where the page can be reached: by default only from this machine. With "
            "another address, such as 0.0.0.0, by those who have the link that is printed.",
        ),
    ] = "127.0.0.1"
    no_open: Annotated[
        bool,
        typer.Option(
            "--no-open",
            rich_help_panel=_SERVER,
            help="Print where the page is, and open no browser.",
        ),
    ] = False

    @property
    def pictures(self) -> Path:
        """The directory in which pictures are kept, beside the table."""
        return self.features.with_name(f"{self.features.stem}-pictures")


@dataclass(frozen=True)
class VotesExport:
    """The options of ``salient-imagenet annotate export``."""

    votes: Annotated[
        str,
        typer.Argument(metavar="VOTES", help="What annotate took as --votes."),
    ]
    out: Annotated[
        Path,
        typer.Option(
            parser=parse_local,
            metavar="FILE",
            help="The CSV to write, a new file, which build takes as --votes.",
        ),
    ]
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Export although answers are missing: the classes of which each feature has "
            "enough votes for a build.",
        ),
    ] = False
