"""Engines: who computes the shards of some work. All make the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

from builder.errors import BuildError
from builder.network.devices import find_devices
from builder.settings.engine import EngineSettings
from builder.shards.processes import Processes
from builder.shards.work import Result, Work


class Engine(Protocol):
    """Computes shards.

    Attributes
    ----------
    device : torch.device
        Where this process needs the network.
    runs_on : str
        The kind of device that computes the shards.
    """

    device: torch.device
    runs_on: str

    def run(
        self, work: Work[Result], shards: Iterable[int], advance: Callable[[int], None]
    ) -> Iterator[Result]:
        """Compute shards and write their files.

        Parameters
        ----------
        work : Work
        shards : iterable of int
            Taken up as there is room; none but those taken up are computed.
        advance : callable
            Called with each number of images done.

        Yields
        ------
        Finished
            One for each shard, in any order, whatever befell those who computed it.
        """
        ...


class InProcess:
    """Computes shards in this process; see `Engine`.

    Parameters
    ----------
    device : torch.device
    runs_on : str, optional
        Where nothing is left to compute: the kind of device that did.
    """

    def __init__(self, device: torch.device, runs_on: str | None = None) -> None:
        self.device, self.runs_on = device, runs_on or device.type

    def run(
        self, work: Work[Result], shards: Iterable[int], advance: Callable[[int], None]
    ) -> Iterator[Result]:
        """Compute shards; see `Engine`."""
        return work.run(shards, advance)


@contextmanager
def open_engine(settings: EngineSettings, say: Callable[[str], None]) -> Iterator[Engine]:
    """Have the engine that the settings name while the block lasts.

    Parameters
    ----------
    settings : EngineSettings
    say : callable
        Tells the user what went wrong with a worker and was mended.

    Raises
    ------
    BuildError
        If there is no such device or cluster, or Ray is not installed.
    """
    if settings.engine == "ray":
        try:
            from builder.shards.ray_actors import Actors, connected  # noqa: PLC0415
        except ImportError as error:
            raise BuildError(
                "Ray is not installed: pip install -e '.[ray]', or use --engine local."
            ) from error
        with connected(settings.address):
            yield Actors(settings.device, say)
        return
    devices = find_devices(settings.device)
    if len(devices) == 1:
        yield InProcess(devices[0])
        return
    if len({device.type for device in devices}) > 1:
        raise BuildError(
            f"--device {settings.device} mixes kinds, whose last bits differ: use one."
        )
    yield Processes(devices, say)
