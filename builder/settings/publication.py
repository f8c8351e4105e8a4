"""What publish is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from builder.storage.remote import parse_location


@dataclass(frozen=True)
class Publication:
    """The options of ``salient-imagenet publish``: what is to be published, and where.

    Attributes
    ----------
    directory : Path
        A data set that ``build`` wrote.
    name : str
        The repository, ``ORG/NAME``.
    private : bool
        Whether only its owners may see it.
    tag : str, optional
        A name for this version.
    images : str, optional
        The images of the build, to be published with it.
    """

    directory: Annotated[
        Path,
        typer.Argument(
            parser=parse_location,
            metavar="DIR",
            help="The directory of a data set that build made.",
        ),
    ]
    name: Annotated[
        str,
        typer.Argument(
            metavar="ORG/NAME", help="The repository on the Hub, made if there is none yet."
        ),
    ]
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="Let only the members of ORG see the repository; refused if it is public already.",
        ),
    ] = False
    tag: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Give this version a name, such as v1.0, which load_dataset takes as revision.",
        ),
    ] = None
    images: Annotated[
        str | None,
        typer.Option(
            "--with-images",
            metavar="SOURCE",
            help="Publish the images too, as the config `images`: what build took as --images. "
            "Only with --private.",
        ),
    ] = None
