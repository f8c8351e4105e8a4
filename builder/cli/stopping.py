"""What a command that goes on later says when it is stopped, or its task is done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from builder.errors import Stopped
from builder.settings.task import Task
from builder.shards.stop import INTERRUPTED, STOPPED, Interrupts

GOES_ON = "Stopped. Run the same command again to go on: what is finished is kept."
BEGINS_ANEW = "Stopped. Nothing was written: the same command begins anew."


@contextmanager
def stoppable(said: str = GOES_ON) -> Iterator[Interrupts]:
    """Say what SIGTERM and Ctrl-C leave; typer would say nothing.

    Parameters
    ----------
    said : str
        After Ctrl-C.

    Yields
    ------
    Interrupts
        Whom to ask, now and then, whether Ctrl-C was pressed: a callback may have swallowed it.
    """
    interrupts = Interrupts()
    try:
        with interrupts.on_signal():
            yield interrupts
    except Stopped as stopped:
        typer.echo(stopped, err=True)
        sys.exit(STOPPED)
    except KeyboardInterrupt:
        typer.echo(said, err=True)
        sys.exit(INTERRUPTED)


def task_done(task: Task, left: int, more: str = "") -> str:
    """Return what a task says at its end.

    Parameters
    ----------
    task : Task
    left : int
        Shards of other tasks that are not finished.
    more : str
        What to do meanwhile.
    """
    if left:
        return f"Task {task} is done: {left:,} shards of other tasks are left{more}."
    return (
        f"Task {task} is done: it was the last; now run the same command with --finalise-only "
        "instead of --task."
    )
