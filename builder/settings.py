"""What a user asks of a build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuildError
from builder.task import WHOLE, Task

SPLITS = ("train", "validation")
PRECISIONS = ("float32", "bfloat16")
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Settings:
    """The options of ``salient-imagenet build``; see its ``--help``.

    Raises
    ------
    BuildError
        If the split, the precision or the engine is unknown, or options exclude each other.
    """

    images: str
    votes: Path
    out: Path
    network: str = "madry-resnet50"
    checkpoint: Path | None = None
    split: str = "train"
    limit: int | None = None
    device: str = "auto"
    precision: str = "float32"
    batch_size: int | None = None
    workers: int | None = None
    shard_size: int | None = None
    seed: int = 0
    keep_embeddings: bool = False
    allow_mismatch: bool = False
    gpu_decode: bool = False
    engine: str = "local"
    address: str | None = None
    task: Task = WHOLE
    finalise_only: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("split", self.split, SPLITS),
            ("precision", self.precision, PRECISIONS),
            ("engine", self.engine, ENGINES),
        ):
            if value not in known:
                raise BuildError(f"There is no {name} {value}: use --{name} {' or '.join(known)}.")
        if self.address and self.engine != "ray":
            raise BuildError("--address is that of a Ray cluster: use it with --engine ray.")
        if self.finalise_only and not self.task.is_whole:
            raise BuildError("--finalise-only is for after all tasks: leave out --task.")
