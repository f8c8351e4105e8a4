"""What segmentations is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from builder.errors import BuildError
from builder.settings.options import DESCRIPTION, check_text
from builder.storage.remote import parse_location


@dataclass(frozen=True)
class Segmentation:
    """The options of ``salient-imagenet segmentations``.

    Raises
    ------
    BuildError
        If not exactly one release is named, or what the card is to say is no text.
    """

    data: Annotated[
        Path,
        typer.Argument(
            parser=parse_location,
            metavar="DIR",
            help="The directory of a data set that build made, to which the object masks are added "
            "in place of those that it has, if any.",
        ),
    ]
    hard_imagenet: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The release of Hard ImageNet: folders train and val of masks, and meta.",
        ),
    ] = None
    rival10: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The release of RIVAL10: folders of entire_object_masks."),
    ] = None
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Any folder of masks that are called as their images are, in folders as these are "
            "or not. What is brighter than half of the brightest pixel is the object.",
        ),
    ] = None
    images: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="The images that the data set was built from: a mask then has to be as large as "
            "the image that is there. By default as large as the data set says that it is.",
        ),
    ] = None
    source: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=DESCRIPTION,
            help="Who drew the masks, a name or a URL; by default the name of the release.",
        ),
    ] = None
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=DESCRIPTION,
            help="Under which terms the masks may be used; by default those of the release.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if len([path for path in (self.hard_imagenet, self.rival10, self.masks) if path]) != 1:
            raise BuildError(
                "Say where the masks are: give one of --hard-imagenet, --rival10 and --masks."
            )
        for name in ("source", "licence"):
            check_text(name, getattr(self, name))

    @property
    def release(self) -> Path:
        """Where the masks are, however they are laid out there."""
        return self.hard_imagenet or self.rival10 or self.masks or Path()
