"""What gallery is asked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from builder.settings.options import BuiltImages, parse_split
from builder.storage.remote import is_remote, parse_local, parse_location


@dataclass(frozen=True)
class GallerySettings:
    """The options of ``salient-imagenet gallery``."""

    data: Annotated[
        Path,
        typer.Argument(
            parser=parse_location,
            metavar="DIR",
            help="A data set that build made: a directory or a URL.",
        ),
    ]
    images: BuiltImages
    out: Annotated[
        Path | None,
        typer.Option(
            parser=parse_local,
            metavar="PATH",
            help="Where to write: a new directory for an index and a page per class, or a file "
            "ending in .html for all classes on one page; by default DIR-gallery, that of a URL "
            "here.",
        ),
    ] = None
    split: Annotated[
        str,
        typer.Option(
            parser=parse_split, metavar="SPLIT", help="Which images to show: train or validation."
        ),
    ] = "train"
    votes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The CSV of the votes of the build, to show what people wrote about features.",
        ),
    ] = None

    @property
    def target(self) -> Path:
        """Where to write, whether or not the user said so."""
        if self.out:
            return self.out
        if is_remote(self.data):
            return Path(f"{self.data.name}-gallery" if self.data.name else "gallery")
        data = Path(os.path.realpath(self.data))
        return data.with_name(f"{data.name}-gallery")
