"""What a user asks of a build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuildError

SPLITS = ("train", "validation")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """The options of ``salient-imagenet build``; see its ``--help``.

    Raises
    ------
    BuildError
        If the split or the precision is unknown.
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

    def __post_init__(self) -> None:
        for name, value, known in (
            ("split", self.split, SPLITS),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise BuildError(f"There is no {name} {value}: use --{name} {' or '.join(known)}.")
