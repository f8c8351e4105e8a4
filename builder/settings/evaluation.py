"""What evaluate is asked."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from builder.errors import BuildError
from builder.settings.engine import EngineSettings
from builder.settings.options import (
    BatchSize,
    BuiltImages,
    DataSet,
    LoadingThreads,
    SplitName,
    check_known,
    seed_option,
)
from builder.storage.remote import parse_local

CORRUPTIONS = ("noise", "gray", "mean", "blur")

SUITES = {
    "salient-imagenet": ("k", "corruption", "sigma", "per_feature"),
    "hard-imagenet": ("no_alignment", "as_published", "head_finetune"),
}
"""What models can be asked, and the options that are of that alone."""


@dataclass(frozen=True, kw_only=True)
class Evaluation(EngineSettings):
    """The options of ``salient-imagenet evaluate``.

    Raises
    ------
    BuildError
        If the suite, the corruption or the engine is unknown, or options exclude each other.
    """

    data: DataSet
    images: BuiltImages
    out: Annotated[
        Path,
        typer.Option(
            parser=parse_local,
            metavar="DIR",
            help="Where to write predictions, scores and the report.",
        ),
    ]
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A model to evaluate, may be given several times: timm:NAME, torchvision:NAME, "
            "clip:ARCHITECTURE/WEIGHTS, hf:ID, a network of build such as madry-resnet50, or "
            "MODULE:FUNCTION of yours. NAME=FILE takes its weights from a file.",
        ),
    ] = None
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file of the weights of the one model that is named, as train writes it.",
        ),
    ] = None
    models: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Many models: `papers`, the list that comes with this program, or a TOML file of "
            "your own with a table per model: name, family, and weights if they are in a file.",
        ),
    ] = None
    head: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A head that tune-head wrote: the only --model is evaluated with it too. May be "
            "given several times.",
        ),
    ] = None
    split: SplitName = "validation"
    suite: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What models are asked: salient-imagenet (core or spurious regions corrupted, and "
            "the ends of rankings), or hard-imagenet (objects that people drew removed or noisy, "
            "and whether saliency is on them).",
        ),
    ] = "salient-imagenet"
    no_alignment: Annotated[
        bool,
        typer.Option(
            "--no-alignment",
            help="Of hard-imagenet: do not measure how GradCAM lies on the object, which needs an "
            "architecture that it is known for.",
        ),
    ] = False
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Of hard-imagenet: follow the public code where it differs from its paper.",
        ),
    ] = False
    head_finetune: Annotated[
        bool,
        typer.Option(
            "--head-finetune",
            help="Of hard-imagenet: evaluate each model also with a head that is trained on the "
            "training images with object masks, and knows their classes alone.",
        ),
    ] = False
    k: Annotated[
        int,
        typer.Option(
            "--k",
            min=1,
            metavar="N",
            help="How many images of a class count at either end of its ranking.",
        ),
    ] = 10
    corruption: Annotated[
        str,
        typer.Option(metavar="NAME", help="What happens to a region: noise, gray, mean or blur."),
    ] = "noise"
    sigma: Annotated[
        float,
        typer.Option(
            min=0, metavar="X", help="The noise's standard deviation, of pixels from 0 to 1."
        ),
    ] = 0.25
    draws: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="How often noise is drawn.")
    ] = 5
    per_feature: Annotated[
        bool,
        typer.Option(
            "--per-feature", help="Also corrupt the mask of each of a class's features alone."
        ),
    ] = False
    batch_size: BatchSize = None
    workers: LoadingThreads = None
    seed: Annotated[int, seed_option("the bootstrap's samples")] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("suite", self.suite, tuple(SUITES))
        check_known("corruption", self.corruption, CORRUPTIONS)
        self._check_suite()
        if self.checkpoint and (len(self.model or ()) != 1 or self.models):
            raise BuildError(
                "--checkpoint is of one model: use it with one --model, or give each of several "
                "its own as --model NAME=FILE."
            )

    def _check_suite(self) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for suite, names in SUITES.items():
            given = [name for name in names if getattr(self, name) != defaults[name]]
            if given and suite != self.suite:
                name = given[0].replace("_", "-")
                raise BuildError(
                    f"--{name} is of --suite {suite}: leave it out, or use that suite."
                )
