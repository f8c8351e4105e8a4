"""``salient-imagenet demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.cli.stopping import stoppable
from builder.reporter import ConsoleReporter, Screen
from builder.storage.remote import parse_local


def demo(
    out: Annotated[
        Path,
        typer.Option(
            parser=parse_local,
            metavar="DIR",
            help="Where to write: a new directory, or that of an earlier demo, which goes on.",
        ),
    ],
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**32 - 1,
            metavar="N",
            help="A number that decides how the images are drawn, how the networks are trained "
            "and how the workers vote.",
        ),
    ] = 0,
) -> None:
    """Build a data set whose truth is known, in two minutes, and show what was recovered.

    It draws images of objects and of the cues that accompany them, trains two small networks,
    finds each class's features, lets simulated workers vote, builds, and compares the result with
    what was drawn. Nothing is downloaded.
    """
    # PyTorch takes seconds to import, which --help and wrong options need not wait for.
    from builder.demo.demo import Folder, run_demo  # noqa: PLC0415
    from builder.demo.summary import next_steps, recovery_table, reliance_table  # noqa: PLC0415
    from builder.demo.world import World  # noqa: PLC0415

    with stoppable() as interrupts:
        reporter = ConsoleReporter(Screen(stderr=True), interrupts.check)
        report = run_demo(out, World(seed=seed), reporter)
    screen = Screen()
    screen.print(recovery_table(report))
    screen.print()
    screen.print(reliance_table(report))
    screen.print(next_steps(Folder(out), report), soft_wrap=True)
