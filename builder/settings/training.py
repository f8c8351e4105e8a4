"""What train is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from builder.errors import BuildError
from builder.settings.options import (
    HARDWARE,
    PRECISIONS,
    BuiltImages,
    DataSet,
    DeviceName,
    check_known,
    seed_option,
)
from builder.storage.remote import parse_local

METHODS = ("erm", "noise", "swap", "saliency", "cam")
REGIONS = ("core", "spurious", "either")
EXTENTS = ("crop", "image")
REWEIGHTINGS = ("soft", "dro")

_METHOD = "What is trained for"
_RECIPE = "Recipe"


@dataclass(frozen=True, kw_only=True)
class Training:
    """The options of ``salient-imagenet train``.

    Raises
    ------
    BuildError
        If the method, the region or the precision is unknown.
    """

    data: DataSet
    images: BuiltImages
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The model to train: timm:NAME, torchvision:NAME, a network of build such as "
            "efficientnet-lite0, or MODULE:FUNCTION of yours. It begins with weights drawn at "
            "random, or NAME=FILE with those of a file.",
        ),
    ]
    out: Annotated[
        Path,
        typer.Option(
            parser=parse_local, metavar="DIR", help="Where to write weights, logs and the report."
        ),
    ]
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained",
            help="Begin with the library's own weights. They want a smaller --lr than the default.",
        ),
    ] = False
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_METHOD,
            help="What is done where the model is not to look: erm (nothing), noise, swap (another "
            "image's surroundings), saliency (a penalty on the loss's gradient), cam (one on the "
            "class's activation map), or a sum such as noise+saliency.",
        ),
    ] = "noise"
    region: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_METHOD,
            help="Where the model is not to look: core, which is all but the dilated core mask, "
            "spurious, the spurious mask, or either, the latter where a class has no core mask.",
        ),
    ] = "core"
    extent: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_METHOD,
            help="What masks cover: crop, the central square, or image, all of it, in a data set "
            "that was built with --whole-image.",
        ),
    ] = "crop"
    sigma: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="X",
            rich_help_panel=_METHOD,
            help="The noise's standard deviation, of pixels from 0 to 1.",
        ),
    ] = 0.25
    probability: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="X",
            rich_help_panel=_METHOD,
            help="How likely an image gets noise.",
        ),
    ] = 0.5
    swap_probability: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="X",
            rich_help_panel=_METHOD,
            help="How likely an image gets other surroundings.",
        ),
    ] = 1.0
    saliency_weight: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="X",
            rich_help_panel=_METHOD,
            help="The weight of saliency's penalty. Of networks that are trained already it wants "
            "to be small, such as 0.001.",
        ),
    ] = 1.0
    cam_weight: Annotated[
        float,
        typer.Option(
            min=0, metavar="X", rich_help_panel=_METHOD, help="The weight of cam's penalty."
        ),
    ] = 0.1
    subgroups: Annotated[
        Path | None,
        typer.Option(
            parser=parse_local,
            metavar="DIR",
            rich_help_panel=_METHOD,
            help="What subgroups wrote of the training images, for --reweight.",
        ),
    ] = None
    reweight: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_METHOD,
            help="How subgroups weigh: soft draws images so that all weigh the same; dro has "
            "those weigh more whose loss is larger (group DRO).",
        ),
    ] = None
    dro_step: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="X",
            rich_help_panel=_METHOD,
            help="How fast weights of dro follow the losses.",
        ),
    ] = 0.01
    epochs: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", rich_help_panel=_RECIPE, help="How often each image is seen."
        ),
    ] = 90
    opt: Annotated[
        str,
        typer.Option(
            metavar="NAME", rich_help_panel=_RECIPE, help="The optimizer, by timm's name of it."
        ),
    ] = "sgd"
    lr: Annotated[
        float,
        typer.Option(
            min=0, metavar="X", rich_help_panel=_RECIPE, help="The largest learning rate."
        ),
    ] = 0.1
    weight_decay: Annotated[
        float,
        typer.Option(
            min=0, metavar="X", rich_help_panel=_RECIPE, help="The optimizer's weight decay."
        ),
    ] = 1e-4
    sched: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_RECIPE,
            help="How the learning rate falls, by timm's name: cosine, step, poly or tanh.",
        ),
    ] = "cosine"
    warmup_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            rich_help_panel=_RECIPE,
            help="For how many epochs the learning rate rises first.",
        ),
    ] = 5
    smoothing: Annotated[
        float,
        typer.Option(
            min=0, max=1, metavar="X", rich_help_panel=_RECIPE, help="How much labels are smoothed."
        ),
    ] = 0.0
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_RECIPE,
            help="An augmentation beside crops and mirror images, by timm's name: "
            "rand-m9-mstd0.5, original, 3a and so on.",
        ),
    ] = None
    smallest_crop: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="X",
            rich_help_panel=_RECIPE,
            help="The least share of an image that a crop shows.",
        ),
    ] = 0.08
    ema: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="X",
            rich_help_panel=_RECIPE,
            help="Keep a running mean of the weights, with this decay, and write that.",
        ),
    ] = None
    seed: Annotated[int, seed_option("all that is drawn", _RECIPE)] = 0
    batch_size: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=HARDWARE,
            help="How many images each process sees at a time.",
        ),
    ] = 128
    accumulate: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=HARDWARE,
            help="Over how many batches gradients are summed before weights change.",
        ),
    ] = 1
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=HARDWARE,
            help="How the model calculates: in float32, or in bfloat16, which is faster on a GPU "
            "and less exact.",
        ),
    ] = "float32"
    device: DeviceName = "auto"
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            rich_help_panel=HARDWARE,
            help="How many processes load images ahead of the model, for each process that trains; "
            "by default one per core on CUDA, and none on a CPU.",
        ),
    ] = None
    log_every: Annotated[
        int, typer.Option(min=1, metavar="N", help="After how many steps a line is logged.")
    ] = 50
    save_every: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="MINUTES",
            help="How often to save where training is, at the next logged line: a killed run goes "
            "on from there.",
        ),
    ] = 10

    def __post_init__(self) -> None:
        check_known("region", self.region, REGIONS)
        check_known("extent", self.extent, EXTENTS)
        check_known("precision", self.precision, PRECISIONS)
        parts = self.method.split("+")
        for part in parts:
            check_known("method", part, METHODS)
        if len(set(parts)) < len(parts) or ("erm" in parts and len(parts) > 1):
            raise BuildError(
                f"--method {self.method} is no sum: name each of noise, swap, saliency and cam "
                "once, or erm alone."
            )

        if (self.subgroups is None) != (self.reweight is None):
            raise BuildError("--subgroups and --reweight soft or dro go together: give both.")
        if self.reweight is not None:
            check_known("reweight", self.reweight, REWEIGHTINGS)
        if self.reweight == "dro" and self.accumulate > 1:
            raise BuildError(
                "--reweight dro looks at a step's images together: leave out --accumulate, and use "
                "a larger --batch-size."
            )

    @property
    def methods(self) -> frozenset[str]:
        """What the loss is made of besides that of labels."""
        return frozenset(self.method.split("+")) - {"erm"}
