"""A process that loads batches ahead of the network, into memory that it shares with its parent."""

from __future__ import annotations

import mmap
import multiprocessing
import signal
import traceback
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from math import prod
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch

from builder.errors import BuildError
from builder.images.loader import Batch, LoadedBatch, Loader

AHEAD = 2
"""Batches that a process has at a time: one that waits to be taken, and one that it loads."""

_PATIENCE_SECONDS = 600.0
_GO_ON = "and run the same command again; finished work is kept."


class LoaderProcess:
    """Loads one batch after another in a process of its own.

    Parameters
    ----------
    loader : Loader
    batch_size : int
        Images in a batch at most.

    Raises
    ------
    OSError
        If there is no room for another process or its memory.
    """

    def __init__(self, loader: Loader, batch_size: int) -> None:
        # Safe although PyTorch has run: the process decodes, and runs none of its kernels.
        fork = multiprocessing.get_context("fork")
        rooms = [_Room(batch_size, loader.room_for(batch_size)) for _ in range(AHEAD)]
        self._connection, other_end = fork.Pipe()
        self._given, self._taken = cycle(enumerate(rooms)), cycle(rooms)
        self._process = fork.Process(
            target=_serve, args=(loader, rooms, other_end, self._connection), daemon=True
        )
        self._process.start()
        other_end.close()
        # At its exit Python waits for those that nobody ended.
        Finalize(self, self._process.kill, exitpriority=0)

    def give(self, batch: Batch) -> None:
        """Give it a batch, which it loads after those that it has; `AHEAD` at most."""
        place, room = next(self._given)
        room.members[: len(batch.members)] = batch.members
        with suppress(OSError):  # Who takes from it hears that it is lost.
            self._connection.send((place, batch.shard, len(batch.members)))

    def take(self) -> LoadedBatch:
        """Wait for the batch that was given first, and make room for another.

        Raises
        ------
        BuildError
            If the process is gone, or gives no sign of life.
        """
        answer = self._answer()
        if isinstance(answer, Exception):
            raise answer
        shape = answer.pop("shape")
        loaded = torch.from_numpy(next(self._taken).pixels[: prod(shape)]).view(shape)
        pixels = torch.empty_like(loaded, pin_memory=torch.cuda.is_available())
        return LoadedBatch(pixels=pixels.copy_(loaded), **answer)

    def _answer(self) -> Any:
        try:
            if self._connection.poll(_PATIENCE_SECONDS):
                return self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise BuildError(
                f"A process that loads images was lost (exit status {self._process.exitcode}): see "
                f"that there is memory for that many --workers, {_GO_ON}"
            ) from error
        raise BuildError(
            f"A process that loads images has said nothing for {_PATIENCE_SECONDS:.0f} seconds: "
            f"see that --images can be read, {_GO_ON}"
        )

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()


class _Room:
    """Shared memory for a batch: what is to be loaded on its way in, pixels on their way out.

    It is anonymous, and so none of /dev/shm, of which containers have little.
    """

    def __init__(self, batch_size: int, room: int) -> None:
        members = batch_size * np.dtype(np.int64).itemsize
        memory = mmap.mmap(-1, members + room)
        self.members = np.frombuffer(memory, np.int64, batch_size)
        self.pixels = np.frombuffer(memory, np.uint8, offset=members)


def _serve(
    loader: Loader,
    rooms: Sequence[_Room],
    connection: Connection[Any, Any],
    parent_s_end: Connection[Any, Any],
) -> None:
    """Load what is asked for until the parent is gone."""
    # A cluster sends them to all processes at once, and the parent may want to finish its shards.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Else this process itself would keep the pipe open.
    parent_s_end.close()
    with suppress(EOFError, OSError):
        while True:
            place, shard, images = connection.recv()
            connection.send(_load(loader, rooms[place], shard, images))


def _load(loader: Loader, room: _Room, shard: int, images: int) -> dict[str, Any] | Exception:
    """Return a loaded batch but for its pixels, which stay in the room."""
    try:
        loaded = loader(Batch(shard, room.members[:images].copy()), room.pixels)
    except Exception as error:
        # The traceback stays in this process, but notes travel.
        error.add_note(traceback.format_exc())
        return error
    answer = dict(vars(loaded))
    answer["shape"] = tuple(answer.pop("pixels").shape)
    return answer
