"""A build in a process of its own in which things go wrong; what went wrong goes into a log."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from builder.errors import BuildError, Stopped
from builder.images.sources import FolderImages
from builder.run.build import build, run_task
from builder.settings.build import Settings
from builder.shards.stop import Stop
from tests.quiet import Quiet

DONE, FAILED, STOPPED = 0, 2, 3


@dataclass(frozen=True)
class Faults:
    """How often things go wrong.

    Attributes
    ----------
    seed : int
    log : Path
        Gets a line per fault, written before it happens.
    read, write, full : float
        Probability that a read fails, a write fails, the disk is full.
    unreadable : tuple of str
        Names of images that can never be read.
    clock : float
        By how many seconds the clock is wrong.
    little_shared_memory : bool
        Whether /dev/shm is as small as in a container.
    """

    seed: int
    log: Path
    read: float = 0.0
    write: float = 0.0
    full: float = 0.0
    unreadable: tuple[str, ...] = ()
    clock: float = 0.0
    little_shared_memory: bool = False


def run(settings: Settings, faults: Faults) -> None:
    """Build, or run a task of a build, and end the process with the status of the command line."""
    torch.set_num_threads(1)
    if faults.little_shared_memory and shrink_shared_memory():
        note(faults.log, "little shared memory")
    dice = random.Random(faults.seed)
    stop = Stop()
    command: Callable[..., object] = build if settings.task.is_whole else run_task
    with (
        mock.patch.object(FolderImages, "read", _failing_read(faults, dice)),
        mock.patch("os.fsync", _failing_sync(faults, dice)),
        mock.patch("time.time", _wrong_clock(faults)),
        mock.patch("builder.storage.retry._PAUSES", (0.0, 0.0)),
        stop.on_signal(),
    ):
        try:
            command(settings, Quiet(), stop)
        except BuildError as error:
            note(faults.log, f"ended: {error}")
            sys.exit(FAILED)
        except Stopped:
            sys.exit(STOPPED)


def note(log: Path, line: str) -> None:
    """Write a line that stays whatever becomes of this process."""
    with log.open("a") as file:
        file.write(f"{line}\n")


def shrink_shared_memory() -> bool:
    """Leave 64 kB of /dev/shm to this process and those that it begins; return whether it may."""
    libc = ctypes.CDLL(None)
    new_namespace, private = 0x20000, ctypes.c_ulong(0x44000)  # of mounts, all of them
    return not (
        libc.unshare(new_namespace)
        or libc.mount(b"none", b"/", None, private, None)
        or libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", ctypes.c_ulong(0), b"size=64k")
    )


def _failing_read(faults: Faults, dice: random.Random) -> Callable[[FolderImages, int], bytes]:
    read = FolderImages.read

    def failing(self: FolderImages, index: int) -> bytes:
        path = Path(self.paths[index].as_py())
        if path.name in faults.unreadable:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        # At most once in a row: an error that stays would set the image aside.
        if index not in failed and dice.random() < faults.read:
            failed.add(index)
            note(faults.log, "read error that goes away")
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(self, index)

    failed: set[int] = set()
    return failing


def _failing_sync(faults: Faults, dice: random.Random) -> Callable[[int], None]:
    sync = os.fsync

    def failing(descriptor: int) -> None:
        draw = dice.random()
        if draw < faults.full:
            note(faults.log, "full disk")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if draw < faults.full + faults.write:
            note(faults.log, "write error")
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    return failing


def _wrong_clock(faults: Faults) -> Any:
    now = time.time
    return lambda: now() + faults.clock
