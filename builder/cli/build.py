"""``salient-imagenet build``."""

from __future__ import annotations

from typing import Annotated

import typer

from builder.cli.options import options_of
from builder.cli.stopping import stoppable, task_done
from builder.reporter import ConsoleReporter, Screen
from builder.settings.build import Settings
from builder.shards.stop import DROPPED, INTERRUPTED, STOPPED, Stop
from builder.storage.remote import is_remote

EXAMPLES = f"""
[bold]Examples[/bold]

The real run, on all of ImageNet's training images:

  salient-imagenet build --images /data/ILSVRC2012 \\
    --votes discover_spurious_features.csv \\
    --checkpoint imagenet_l2_3_0.pt --out ./salient-imagenet-1m

To see first what that would come to, add [bold]--dry-run[/bold]. To add the validation images to \
the same data set, run it again with [bold]--split validation[/bold]. If it was stopped, run the \
same command again.

[bold]Exit status[/bold]

  0    The data set, or the task, is done.
  2    An input is wrong, or the disk is full: the last line says which.
  {STOPPED}    SIGTERM stopped it, after the shards under way.
  {INTERRUPTED}  Ctrl-C interrupted it.
  {DROPPED}  A second SIGTERM stopped it at once, and dropped the shards under way.

After all but 0, the same command goes on where it was.
"""


@options_of(Settings)
def build(
    settings: Settings,
    *,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Tell how many images there are, how long they take and how large the data set "
            "becomes, and write nothing.",
        ),
    ] = False,
) -> None:
    """Run the network over a split of ImageNet and write the data set.

    The directory that it writes is a whole dataset repository: load_dataset streams it with none
    of this code. Images that cannot be used are set aside, each with its reason. A run that was
    stopped goes on when the same command is given again, and gives the same bytes.
    """
    # PyTorch takes seconds to import, which --help and wrong options need not wait for.
    from builder.cli.tables import estimate_table, outcome_table  # noqa: PLC0415
    from builder.run.build import build as run_build  # noqa: PLC0415
    from builder.run.build import run_task  # noqa: PLC0415
    from builder.run.estimate import estimate  # noqa: PLC0415

    screen, stop = Screen(stderr=True), Stop()
    if dry_run:
        screen.print(estimate_table(estimate(settings, ConsoleReporter(screen))))
        return
    with stoppable() as interrupts, stop.on_signal():
        reporter = ConsoleReporter(screen, interrupts.check)
        if not settings.task.is_whole:
            done = run_task(settings, reporter, stop)
            reporter.say(task_done(settings.task, done.left, "; see salient-imagenet status"))
            return
        outcome = run_build(settings, reporter, stop)
    screen.print(outcome_table(outcome))
    reporter.say(f"Done. Look: load_dataset({_how_to_load(settings)})")


def _how_to_load(settings: Settings) -> str:
    out, split = settings.out, settings.split
    if is_remote(out):  # Which load_dataset takes for the name of a local directory.
        return f"'parquet', data_files='{out}/masks/{split}-*.parquet', split='train'"
    return f"{str(out)!r}, 'masks', split={split!r}"
