"""What a user asks of each command: every option, with its type, default, limits and help."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from builder.errors import BuildError
from builder.storage.remote import is_remote, parse_local, parse_location, parse_target

SPLITS = ("train", "validation")
PRECISIONS = ("float32", "bfloat16")
ENGINES = ("local", "ray")
LARGEST_SEED = 2**63 - 1


DRIVERS = "drivers"

_DESCRIPTION = "What the card says"
_HARDWARE = "Hardware"
_SEVERAL = "Several machines"
_SERVER = "Server"


@dataclass(frozen=True)
class Task:
    """Task `index` of `count`; the only one is the whole work."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Task:
        """Read ``I/N``.

        Raises
        ------
        BuildError
            If that is no share of anything.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        task = cls(*map(int, found.groups())) if found else cls(0, 0)
        if task.index >= task.count:
            raise BuildError(f"There is no task {text}: use --task I/N with I from 0 to N - 1.")
        return task

    @property
    def is_whole(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    def shards(self, total: int) -> range:
        """Return the task's own shards of so many."""
        return range(self.index, total, self.count)

    def directory(self, directory: Path) -> Path:
        """Return where the task keeps what is its own in the working directory of a split."""
        return directory / DRIVERS / f"{self.index}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Task()
"""The only task of a build."""


def _check_seed(seed: int) -> int:
    # As a maximum of the option, its 19 digits would take a third of the help's width.
    if seed > LARGEST_SEED:
        raise typer.BadParameter(f"{seed} is not in the range 0<=x<={LARGEST_SEED}.")
    return seed


def parse_split(name: str) -> str:
    """Return the split of a name: ``val`` is ``validation``, as for the loader.

    Raises
    ------
    BuildError
        If there is none.
    """
    split = {"val": "validation"}.get(name, name)
    _check_known("split", split, SPLITS)
    return split


NetworkName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The network's architecture: madry-resnet50, efficientnet-lite0, small-convnet, "
        "timm:NAME or torchvision:NAME.",
    ),
]


SplitName = Annotated[
    str,
    typer.Option(
        parser=parse_split, metavar="SPLIT", help="Which images to use: train or validation."
    ),
]

BuiltImages = Annotated[
    str,
    typer.Option(
        metavar="SOURCE",
        help="The images that the data set was built from: what build takes as --images.",
    ),
]

DeviceName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_HARDWARE,
        help="Where the network runs: auto, cpu, cuda or cuda:INDEX.",
    ),
]

BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=_HARDWARE,
        help="How many images go through the network at a time; by default 16 on a CPU and 256 on "
        "CUDA.",
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        rich_help_panel=_HARDWARE,
        help="How many processes load images ahead of the network; by default one per core on "
        "CUDA, and none on a CPU, where each core loads and runs batches of its own.",
    ),
]


Seed = Annotated[
    int,
    typer.Option(
        min=0,
        callback=_check_seed,
        metavar="N",
        help="A number that decides all that is drawn.",
    ),
]
LoadingThreads = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        rich_help_panel=_HARDWARE,
        help="How many threads load images ahead of the models; by default one per core on "
        "CUDA, and none on a CPU, whose cores have enough to do.",
    ),
]


VotesPlace = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="Where answers are kept: a file, made if it is not there, or the URL of a database "
        "such as postgresql+psycopg://USER@HOST/NAME.",
    ),
]


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
            rich_help_panel=_HARDWARE,
            help="How the network calculates: in float32, or in bfloat16, which is faster on a "
            "GPU and less exact.",
        ),
    ] = "float32"
    batch_size: BatchSize = None
    workers: Workers = None
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            callback=_check_seed,
            metavar="N",
            help="A number that decides the images' order, and so which ones --limit draws.",
        ),
    ] = 0

    def __post_init__(self) -> None:
        _check_known("split", self.split, SPLITS)
        _check_known("precision", self.precision, PRECISIONS)


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """The options of every command whose work devices or machines can share.

    Raises
    ------
    BuildError
        If the engine is unknown, or options exclude each other.
    """

    device: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_HARDWARE,
            help="Where the network runs: auto, cpu, cuda (all GPUs), cuda:INDEX, or several of "
            "these with commas between them.",
        ),
    ] = "auto"
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_SEVERAL,
            help="What runs the shards: local, with a process per GPU of this machine, or ray, "
            "with an actor per GPU of a Ray cluster.",
        ),
    ] = "local"
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            rich_help_panel=_SEVERAL,
            help="The address of the Ray cluster; by default the one that the environment names.",
        ),
    ] = None
    task: Annotated[
        Task,
        typer.Option(
            parser=Task.parse,
            metavar="I/N",
            rich_help_panel=_SEVERAL,
            help="Run only every N-th shard, beginning with shard I (0 to N - 1), and do not "
            "finalise. Each machine runs one of the N tasks.",
        ),
    ] = WHOLE

    finalise_only: Annotated[
        bool,
        typer.Option(
            "--finalise-only",
            rich_help_panel=_SEVERAL,
            help="Run no shards: write the result of those that the tasks have finished.",
        ),
    ] = False

    def __post_init__(self) -> None:
        _check_known("engine", self.engine, ENGINES)
        if self.address and self.engine != "ray":
            raise BuildError("--address is that of a Ray cluster: use it with --engine ray.")
        if self.finalise_only and not self.task.is_whole:
            raise BuildError("--finalise-only is for after all tasks: leave out --task.")


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
            rich_help_panel=_DESCRIPTION,
            help="What the data set is called; by default Salient ImageNet-1M, or after --source.",
        ),
    ] = None
    source: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=_DESCRIPTION,
            help="What the images are, a name or a URL; by default ImageNet where the classes have "
            "wnids.",
        ),
    ] = None
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=_DESCRIPTION,
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
            rich_help_panel=_HARDWARE,
            help="Decode JPEGs on the GPU. Numbers then differ in their last bits, and the "
            "manifest says so.",
        ),
    ] = False

    def __post_init__(self) -> None:
        NetworkSettings.__post_init__(self)
        EngineSettings.__post_init__(self)
        for name in ("title", "source", "licence"):
            _check_text(name, getattr(self, name))


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

    data: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="A data set that build made: a directory, a URL or a Hub id."
        ),
    ]
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
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            callback=_check_seed,
            metavar="N",
            help="A number that decides the bootstrap's samples.",
        ),
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_known("suite", self.suite, tuple(SUITES))
        _check_known("corruption", self.corruption, CORRUPTIONS)
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

    data: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="A data set that build made: a directory, a URL or a Hub id."
        ),
    ]
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
            min=0, metavar="X", rich_help_panel=_METHOD, help="The weight of saliency's penalty."
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
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            callback=_check_seed,
            metavar="N",
            rich_help_panel=_RECIPE,
            help="A number that decides all that is drawn.",
        ),
    ] = 0
    batch_size: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_HARDWARE,
            help="How many images each process sees at a time.",
        ),
    ] = 128
    accumulate: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_HARDWARE,
            help="Over how many batches gradients are summed before weights change.",
        ),
    ] = 1
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_HARDWARE,
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
            rich_help_panel=_HARDWARE,
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
        _check_known("region", self.region, REGIONS)
        _check_known("extent", self.extent, EXTENTS)
        _check_known("precision", self.precision, PRECISIONS)
        parts = self.method.split("+")
        for part in parts:
            _check_known("method", part, METHODS)
        if len(set(parts)) < len(parts) or ("erm" in parts and len(parts) > 1):
            raise BuildError(
                f"--method {self.method} is no sum: name each of noise, swap, saliency and cam "
                "once, or erm alone."
            )

        if (self.subgroups is None) != (self.reweight is None):
            raise BuildError("--subgroups and --reweight soft or dro go together: give both.")
        if self.reweight is not None:
            _check_known("reweight", self.reweight, REWEIGHTINGS)
        if self.reweight == "dro" and self.accumulate > 1:
            raise BuildError(
                "--reweight dro looks at a step's images together: leave out --accumulate, and use "
                "a larger --batch-size."
            )

    @property
    def methods(self) -> frozenset[str]:
        """What the loss is made of besides that of labels."""
        return frozenset(self.method.split("+")) - {"erm"}


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
        _check_known("method", self.method, TUNINGS)
        _check_known("choose", self.choose, CHOICES)
        if self.method == "dfr" and self.choose != CHOICES[0]:
            raise BuildError(
                "--method dfr takes images from both ends of the rankings: leave out --choose."
            )


DECOMPOSITIONS = ("dim", "pca", "kmeans", "random")
COMPONENT_ENDS = ("apart", "together")
_ANSWERS = "Names"


@dataclass(frozen=True)
class Subgrouping:
    """The options of ``salient-imagenet subgroups``.

    Raises
    ------
    BuildError
        If the method is unknown, or options exclude each other.
    """

    data: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="A data set that build made: a directory, a URL or a Hub id."
        ),
    ]
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
            rich_help_panel=_ANSWERS,
            help="The CSV of the votes of the build, to show what people wrote about features.",
        ),
    ] = None
    words: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_ANSWERS,
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
        _check_known("method", self.method, DECOMPOSITIONS)
        _check_known("ends", self.ends, COMPONENT_ENDS)
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
            rich_help_panel=_DESCRIPTION,
            help="Who drew the masks, a name or a URL; by default the name of the release.",
        ),
    ] = None
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=_DESCRIPTION,
            help="Under which terms the masks may be used; by default those of the release.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if len([path for path in (self.hard_imagenet, self.rival10, self.masks) if path]) != 1:
            raise BuildError(
                "Say where the masks are: give one of --hard-imagenet, --rival10 and --masks."
            )
        for name in ("source", "licence"):
            _check_text(name, getattr(self, name))

    @property
    def release(self) -> Path:
        """Where the masks are, however they are laid out there."""
        return self.hard_imagenet or self.rival10 or self.masks or Path()


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BuildError(f"There is no {name} {value}: use --{name} {' or '.join(known)}.")


def _check_text(name: str, text: str | None) -> None:
    if text is not None and not (text.strip() and text.isprintable()):
        raise BuildError(f"--{name} {text!r} is no text: give a line of letters, or leave it out.")
