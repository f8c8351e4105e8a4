"""Processes forked from one that has imported everything and done nothing.

Exit status, signals and streams are each process's own; what is spared are the seconds that Python
takes to import PyTorch.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp

from builder.cli import main

PROCESSES = multiprocessing.get_context("forkserver")


class Command:
    """``salient-imagenet`` in a process of its own, begun at once.

    Parameters
    ----------
    arguments : sequence of str
    directory : Path
        Where it keeps what the process says, in a new directory.
    prepare : callable, optional
        What the process does before it runs the command line.
    """

    def __init__(
        self, arguments: Sequence[str], directory: Path, prepare: Callable[[], None] | None = None
    ) -> None:
        said = Path(mkdtemp(prefix="said", dir=directory))
        self._outputs = said / "stdout", said / "stderr"
        # That of the process which all are forked from is older.
        here = dict(os.environ), Path.cwd()
        self._process = PROCESSES.Process(
            target=_run, args=(list(arguments), self._outputs, *here, prepare)
        )
        self._process.start()

    def wait(self) -> int:
        """Return the exit status, once there is one."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    @property
    def stdout(self) -> str:
        return self._outputs[0].read_text()

    @property
    def stderr(self) -> str:
        return self._outputs[1].read_text()


def run_command(
    arguments: Sequence[str], directory: Path, prepare: Callable[[], None] | None = None
) -> Command:
    """Run a command to its end, which must be a good one."""
    command = Command(arguments, directory, prepare)
    assert command.wait() == 0, command.stderr
    return command


def _run(
    arguments: list[str],
    outputs: tuple[Path, Path],
    environment: dict[str, str],
    directory: Path,
    prepare: Callable[[], None] | None,
) -> None:
    for number, path in enumerate(outputs, 1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = ["salient-imagenet", *arguments]
    if prepare:
        prepare()
    main()
