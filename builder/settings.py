"""What a user asks of a build."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuildError

SPLITS = ("train", "validation")
PRECISIONS = ("float32", "bfloat16")
ENGINES = ("local", "ray")


DRIVERS = "drivers"


@dataclass(frozen=True)
class Task:
    """Task `index` of `count`; the only one is the whole build."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Task:
        """Read ``I/N``.

        Raises
        ------
        BuildError
            If that is no share of anything.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        task = cls(*map(int, found.groups())) if found else cls(0, 0)
        if task.index >= task.count:
            raise BuildError(f"There is no task {text}: use --task I/N with I from 0 to N - 1.")
        return task

    @property
    def is_whole(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    def shards(self, total: int) -> range:
        """Return the task's own shards of so many."""
        return range(self.index, total, self.count)

    def directory(self, directory: Path) -> Path:
        """Return where the task keeps what is its own in the working directory of a split."""
        return directory / DRIVERS / f"{self.index}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Task()
"""The only task of a build."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The options of every command that runs a network over images; see ``--help``.

    Raises
    ------
    BuildError
        If the split or the precision is unknown.
    """

    images: str
    network: str = "madry-resnet50"
    checkpoint: Path | None = None
    split: str = "train"
    limit: int | None = None
    device: str = "auto"
    precision: str = "float32"
    batch_size: int | None = None
    workers: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _check_known("split", self.split, SPLITS)
        _check_known("precision", self.precision, PRECISIONS)


@dataclass(frozen=True, kw_only=True)
class Settings(NetworkSettings):
    """The options of ``salient-imagenet build``; see its ``--help``.

    Raises
    ------
    BuildError
        If the split, the precision or the engine is unknown, or options exclude each other.
    """

    votes: Path
    out: Path
    shard_size: int | None = None
    keep_embeddings: bool = False
    allow_mismatch: bool = False
    gpu_decode: bool = False
    engine: str = "local"
    address: str | None = None
    task: Task = WHOLE
    finalise_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_known("engine", self.engine, ENGINES)
        if self.address and self.engine != "ray":
            raise BuildError("--address is that of a Ray cluster: use it with --engine ray.")
        if self.finalise_only and not self.task.is_whole:
            raise BuildError("--finalise-only is for after all tasks: leave out --task.")


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BuildError(f"There is no {name} {value}: use --{name} {' or '.join(known)}.")
