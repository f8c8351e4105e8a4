"""What a user asks of a build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The options of ``salient-imagenet build``; see its ``--help``."""

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
