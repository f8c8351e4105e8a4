"""What a command that can go on later says when it is stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from builder.errors import Stopped
from builder.run.stop import INTERRUPTED, STOPPED


@contextmanager
def stoppable() -> Iterator[None]:
    """Say what SIGTERM and Ctrl-C leave; typer would end with a bare "Aborted."."""
    try:
        yield
    except Stopped as stopped:
        typer.echo(stopped, err=True)
        sys.exit(STOPPED)
    except KeyboardInterrupt:
        typer.echo(
            "Stopped. Run the same command again to go on: what is finished is kept.", err=True
        )
        sys.exit(INTERRUPTED)
