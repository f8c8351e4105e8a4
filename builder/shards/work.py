"""Work as engines see it: numbered shards that somebody runs, here or elsewhere."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from builder.errors import BuildError


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A shard that is finished.

    Attributes
    ----------
    shard : int
    images : int
    """

    shard: int
    images: int


Result = TypeVar("Result", bound=Finished)
Result_co = TypeVar("Result_co", bound=Finished, covariant=True)


class Work(Protocol[Result_co]):
    """Shards that this process can run, and have run elsewhere."""

    @property
    def workers(self) -> int:
        """Processes or threads that load ahead of the network."""

    def run(self, shards: Iterable[int], advance: Callable[[int], None]) -> Iterator[Result_co]:
        """Run shards and write their files.

        Parameters
        ----------
        shards : iterable of int
            Taken up as there is room; none but those taken up are run.
        advance : callable
            Called with each number of images done.

        Yields
        ------
        Finished
            One for each shard, in any order.
        """

    def elsewhere(self, device: str, threads: int, workers: int) -> Orders:
        """Return what another process has to know to run the same shards on a device."""


class Orders(Protocol):
    """What a worker in another process has to know; it travels there."""

    @property
    def out(self) -> Path:
        """Where the worker writes."""

    @property
    def threads(self) -> int:
        """CPU cores to use."""

    def open(self) -> Work[Finished]:
        """Open all inputs there.

        Raises
        ------
        BuildError
            If they are not those of the process that gives the orders.
        """


def absolute(place: str) -> str:
    """Return a path as a worker with another working directory finds it; other names as they are.

    Parameters
    ----------
    place : str
        A path, or a URL, or an id on the Hub.
    """
    return str(Path(place).absolute()) if Path(place).exists() else place


def require_same(expected: dict[str, Any], found: dict[str, Any]) -> None:
    """See that a worker has what all others have.

    Parameters
    ----------
    expected, found : dict
        All that the bytes of a shard depend on: elsewhere, and here.

    Raises
    ------
    BuildError
        If they differ; the sentence names in what.
    """
    host = platform.node()
    for name, value in expected.items():
        if found[name] == value:
            continue
        if name in ("images", "images_sha256"):
            raise BuildError(
                f"The worker on {host} sees other images: --images must be the same on all "
                "machines."
            )
        raise BuildError(
            f"The worker on {host} differs: its {name} is {found[name]}, elsewhere it is {value}; "
            "all machines need the same inputs and library versions."
        )
