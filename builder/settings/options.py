"""Options that several commands share, and what of their values is seen at once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from builder.errors import BuildError

SPLITS = ("train", "validation")
PRECISIONS = ("float32", "bfloat16")
LARGEST_SEED = 2**63 - 1

# Panels of the help.
DESCRIPTION = "What the card says"
HARDWARE = "Hardware"


def parse_split(name: str) -> str:
    """Return the split of a name: ``val`` is ``validation``, as for the loader.

    Raises
    ------
    BuildError
        If there is none.
    """
    split = {"val": "validation"}.get(name, name)
    check_known("split", split, SPLITS)
    return split


def check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    """See that an option takes its value.

    Raises
    ------
    BuildError
        If it does not; the sentence names those that it takes.
    """
    if value not in known:
        raise BuildError(f"There is no {name} {value}: use --{name} {' or '.join(known)}.")


def check_text(name: str, text: str | None) -> None:
    """See that there is something to read in what a card is to say.

    Raises
    ------
    BuildError
        If there is not.
    """
    if text is not None and not (text.strip() and text.isprintable()):
        raise BuildError(f"--{name} {text!r} is no text: give a line of letters, or leave it out.")


def _check_seed(seed: int) -> int:
    # As a maximum of the option, its 19 digits would take a third of the help's width.
    if seed > LARGEST_SEED:
        raise typer.BadParameter(f"{seed} is not in the range 0<=x<={LARGEST_SEED}.")
    return seed


def seed_option(decides: str, panel: str | None = None) -> Any:
    """Return an option for a seed, with what it decides."""
    return typer.Option(
        min=0,
        callback=_check_seed,
        metavar="N",
        rich_help_panel=panel,
        help=f"A number that decides {decides}.",
    )


DataSet = Annotated[
    str,
    typer.Argument(
        metavar="DIR", help="A data set that build made: a directory, a URL or a Hub id."
    ),
]

BuiltImages = Annotated[
    str,
    typer.Option(
        metavar="SOURCE",
        help="The images that the data set was built from: what build takes as --images.",
    ),
]

SplitName = Annotated[
    str,
    typer.Option(
        parser=parse_split, metavar="SPLIT", help="Which images to use: train or validation."
    ),
]

NetworkName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The network's architecture: madry-resnet50, efficientnet-lite0, small-convnet, "
        "timm:NAME or torchvision:NAME.",
    ),
]

DeviceName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=HARDWARE,
        help="Where the network runs: auto, cpu, cuda or cuda:INDEX.",
    ),
]

BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        rich_help_panel=HARDWARE,
        help="How many images go through the network at a time; by default 16 on a CPU and 256 on "
        "CUDA.",
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        rich_help_panel=HARDWARE,
        help="How many processes load images ahead of the network; by default one per core on "
        "CUDA, and none on a CPU, where each core loads and runs batches of its own.",
    ),
]

LoadingThreads = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        rich_help_panel=HARDWARE,
        help="How many threads load images ahead of the models; by default one per core on "
        "CUDA, and none on a CPU, whose cores have enough to do.",
    ),
]

Seed = Annotated[int, seed_option("all that is drawn")]
