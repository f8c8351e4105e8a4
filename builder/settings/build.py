"""What build is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from builder.settings.engine import EngineSettings
from builder.settings.network import NetworkSettings
from builder.settings.options import DESCRIPTION, HARDWARE, NetworkName, check_text
from builder.storage.remote import parse_target


@dataclass(frozen=True, kw_only=True)
class Settings(EngineSettings, NetworkSettings):
    """The options of ``salient-imagenet build``.

    Raises
    ------
    BuildError
        If the split, the precision or the engine is unknown, or options exclude each other.
    """

    network: NetworkName = "madry-resnet50"
    votes: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The CSV of the votes that made each class's features core or spurious.",
        ),
    ]
    out: Annotated[
        Path,
        typer.Option(
            parser=parse_target,
            metavar="PATH",
            help="The data set to make or to add to: a directory, or a URL such as "
            "s3://bucket/name.",
        ),
    ]
    shard_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How many images make a shard, the unit in which a stopped build goes on; by "
            "default 16 to 1,024, depending on the number of images.",
        ),
    ] = None
    title: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=DESCRIPTION,
            help="What the data set is called; by default Salient ImageNet-1M, or after --source.",
        ),
    ] = None
    source: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=DESCRIPTION,
            help="What the images are, a name or a URL; by default ImageNet where the classes have "
            "wnids.",
        ),
    ] = None
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=DESCRIPTION,
            help="Under which terms the data set may be used: a name such as cc-by-4.0, or a URL.",
        ),
    ] = None
    keep_embeddings: Annotated[
        bool,
        typer.Option(
            "--keep-embeddings",
            help="Also write all pooled features of each image, not only its class's five, as "
            "float16.",
        ),
    ] = False
    whole_image: Annotated[
        bool,
        typer.Option(
            "--whole-image",
            help="Also run the network over each image as a whole, for masks of all its pixels. "
            "A data set that is finished without gains them.",
        ),
    ] = False
    longest: Annotated[
        int,
        typer.Option(
            min=257,
            metavar="N",
            help="With --whole-image: to how many pixels the long side of an image is made smaller "
            "where its short side of 256 leaves it longer.",
        ),
    ] = 640
    min_votes: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="How many votes each feature of a class needs; the card says how many it has.",
        ),
    ] = 3
    allow_mismatch: Annotated[
        bool,
        typer.Option(
            "--allow-mismatch",
            help="Build even though the features that were voted on are not those that matter "
            "most to this network.",
        ),
    ] = False
    gpu_decode: Annotated[
        bool,
        typer.Option(
            "--gpu-decode",
            rich_help_panel=HARDWARE,
            help="Decode JPEGs on the GPU. Numbers then differ in their last bits, and the "
            "manifest says so.",
        ),
    ] = False

    def __post_init__(self) -> None:
        NetworkSettings.__post_init__(self)
        EngineSettings.__post_init__(self)
        for name in ("title", "source", "licence"):
            check_text(name, getattr(self, name))
