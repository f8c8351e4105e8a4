"""What tune-head is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from builder.errors import BuildError
from builder.settings.options import (
    BatchSize,
    BuiltImages,
    DeviceName,
    LoadingThreads,
    Seed,
    check_known,
)
from builder.storage.remote import parse_local

TUNINGS = ("sgd", "dfr")
CHOICES = ("least-spurious", "random", "misclassified")


@dataclass(frozen=True)
class HeadTuning:
    """The options of ``salient-imagenet tune-head``.

    Raises
    ------
    BuildError
        If the method or the choice of images is unknown, or options exclude each other.
    """

    data: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="A data set that build made, with both splits: a directory, a URL or a Hub id.",
        ),
    ]
    images: BuiltImages
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The model whose head is tuned: timm:NAME, torchvision:NAME, hf:ID, a network of "
            "build, or MODULE:FUNCTION of yours. NAME=FILE takes its weights from a file.",
        ),
    ]
    out: Annotated[
        Path,
        typer.Option(
            parser=parse_local, metavar="DIR", help="Where to write head.safetensors and a report."
        ),
    ]
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="With sgd training goes on from the model's own head; dfr fits a new one to "
            "images from both ends of the rankings (Deep Feature Reweighting).",
        ),
    ] = "sgd"
    choose: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Which training images of each ranked class sgd sees: least-spurious, or as "
            "controls random or misclassified.",
        ),
    ] = "least-spurious"
    also_unranked: Annotated[
        bool,
        typer.Option(
            "--also-unranked",
            help="Have sgd also see as many images of each class without a ranking, drawn at "
            "random. Of classes that a head does not see it says less and less.",
        ),
    ] = False
    per_class: Annotated[
        int,
        typer.Option(
            "--per-class",
            min=1,
            metavar="N",
            help="How many training images of each ranked class; of dfr, at either end.",
        ),
    ] = 100
    learning_rate: Annotated[
        float, typer.Option(min=0, metavar="X", help="The learning rate of sgd.")
    ] = 0.001
    epochs: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many epochs of sgd at most.")
    ] = 20
    stop_gap: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="The spurious gap, in percentage points, below which sgd stops.",
        ),
    ] = 5.0
    fits: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many fits the head of dfr is the mean of.")
    ] = 20
    k: Annotated[
        int,
        typer.Option(
            "--k",
            min=2,
            metavar="N",
            help="How many validation images of a class count at either end of its ranking: half "
            "of them decide when to stop, the others are reported.",
        ),
    ] = 10
    features: Annotated[
        Path | None,
        typer.Option(
            parser=parse_local,
            metavar="DIR",
            help="Where to keep what the model makes of the images, for other runs with it; by "
            "default in --out, and only while it runs.",
        ),
    ] = None
    device: DeviceName = "auto"
    batch_size: BatchSize = None
    workers: LoadingThreads = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_known("method", self.method, TUNINGS)
        check_known("choose", self.choose, CHOICES)
        is_chosen = self.choose != CHOICES[0]
        if self.method == "dfr" and (is_chosen or self.also_unranked):
            raise BuildError(
                "--method dfr takes images from both ends of the rankings, and at random of "
                f"classes without one: leave out --{'choose' if is_chosen else 'also-unranked'}."
            )
