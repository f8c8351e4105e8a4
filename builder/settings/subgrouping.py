"""What subgroups is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from builder.errors import BuildError
from builder.settings.options import (
    BatchSize,
    BuiltImages,
    DataSet,
    DeviceName,
    LoadingThreads,
    Seed,
    SplitName,
    check_known,
)
from builder.storage.remote import parse_local

DECOMPOSITIONS = ("dim", "pca", "kmeans", "random")
COMPONENT_ENDS = ("apart", "together")

_NAMES = "Names"


@dataclass(frozen=True)
class Subgrouping:
    """The options of ``salient-imagenet subgroups``.

    Raises
    ------
    BuildError
        If the method is unknown, or options exclude each other.
    """

    data: DataSet
    images: BuiltImages
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The model whose mistakes are looked at: timm:NAME, torchvision:NAME, hf:ID, a "
            "network of build, or MODULE:FUNCTION of yours. NAME=FILE takes its weights from a "
            "file.",
        ),
    ]
    out: Annotated[
        Path,
        typer.Option(
            parser=parse_local,
            metavar="DIR",
            help="Where to write memberships, components and the report.",
        ),
    ]
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A file of the model's weights, as train writes it. May be given several times, "
            "in the order of training: the losses of all supervise, the last is the model.",
        ),
    ] = None
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="In what images are compared: embeddings, those that build kept; model, what "
            "the model hands to its head; or clip:ARCHITECTURE/WEIGHTS. By default embeddings "
            "where the data set has them, and model where not.",
        ),
    ] = None
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How a class is divided: dim, by components that go with the losses (partial "
            "least squares), or for comparison pca, kmeans or random.",
        ),
    ] = "dim"
    components: Annotated[
        int,
        typer.Option(
            min=2,
            metavar="N",
            help="How many components are found of a class; centres of kmeans, groups of random.",
        ),
    ] = 5
    ends: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Whether the two ends of a component of dim or pca are subgroups apart, or one "
            "together, as in the paper.",
        ),
    ] = "apart"
    loss_weight: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="X",
            help="How much the losses weigh in the supervision of dim, over the features, each "
            "taken as a whole. With 0 it is pca.",
        ),
    ] = 1.0
    split: SplitName = "train"
    votes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_NAMES,
            help="The CSV of the votes of the build, to show what people wrote about features.",
        ),
    ] = None
    words: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_NAMES,
            help="A file with a word or phrase in each line, to name both ends of components by; "
            "wants --features clip:ARCHITECTURE/WEIGHTS.",
        ),
    ] = None
    pictures: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Of how many classes the page shows images: those with the worst subgroups.",
        ),
    ] = 50
    device: DeviceName = "auto"
    batch_size: BatchSize = None
    workers: LoadingThreads = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_known("method", self.method, DECOMPOSITIONS)
        check_known("ends", self.ends, COMPONENT_ENDS)
        if self.features not in (None, "embeddings", "model") and not self.clip:
            raise BuildError(
                f"There are no features {self.features}: use --features embeddings, model or "
                "clip:ARCHITECTURE/WEIGHTS."
            )
        if self.words and (self.method == "random" or not self.clip):
            raise BuildError(
                "--words names directions of CLIP's features: use --features "
                "clip:ARCHITECTURE/WEIGHTS, and another method than random."
            )

    @property
    def clip(self) -> str | None:
        """The name of the CLIP model whose features are asked for, if any."""
        return self.features if (self.features or "").startswith("clip:") else None
