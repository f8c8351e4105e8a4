"""What every command is asked whose work devices or machines can share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from builder.errors import BuildError
from builder.settings.options import HARDWARE, check_known
from builder.settings.task import WHOLE, Task

ENGINES = ("local", "ray")

_SEVERAL = "Several machines"


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
            rich_help_panel=HARDWARE,
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
        check_known("engine", self.engine, ENGINES)
        if self.address and self.engine != "ray":
            raise BuildError("--address is that of a Ray cluster: use it with --engine ray.")
        if self.finalise_only and not self.task.is_whole:
            raise BuildError("--finalise-only is for after all tasks: leave out --task.")
