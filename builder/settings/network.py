"""What every command that runs a network over images is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from builder.settings.options import (
    HARDWARE,
    PRECISIONS,
    SPLITS,
    BatchSize,
    DeviceName,
    NetworkName,
    SplitName,
    Workers,
    check_known,
    seed_option,
)


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The options of every command that runs a network over images.

    Raises
    ------
    BuildError
        If the split or the precision is unknown.
    """

    images: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="The images: folders (ROOT/<split>/<wnid>/* or ROOT/<wnid>/*), Kaggle's "
            "directory, an official tar or the directory that holds it, or what `datasets` opens: "
            "a directory of Parquet files or WebDataset shards, or a Hub id.",
        ),
    ]
    network: NetworkName
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file of the network's weights. Only efficientnet-lite0, timm:NAME and "
            "torchvision:NAME have weights without it.",
        ),
    ] = None
    split: SplitName = "train"
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The class of each output of the network, a line for each in their order: the "
            "name of its images' folder, or its wnid. By default the outputs are ImageNet's "
            "classes, or else the folders in the order of their names.",
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Use only this many images, drawn at random."),
    ] = None
    device: DeviceName = "auto"
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=HARDWARE,
            help="How the network calculates: in float32, or in bfloat16, which is faster on a "
            "GPU and less exact.",
        ),
    ] = "float32"
    batch_size: BatchSize = None
    workers: Workers = None
    seed: Annotated[int, seed_option("the images' order, and so which ones --limit draws")] = 0

    def __post_init__(self) -> None:
        check_known("split", self.split, SPLITS)
        check_known("precision", self.precision, PRECISIONS)
