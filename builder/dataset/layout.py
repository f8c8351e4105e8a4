"""Where things lie in a data set: its configs, its files, and the order of its rows."""

from __future__ import annotations

import hashlib
import re

import pyarrow as pa

from builder.dataset.configs import CONFIGS
from builder.settings.options import SPLITS

PUBLISHED_CONFIGS = tuple(CONFIGS)
"""The first is the default one."""

IMAGES = "images"
"""The config of the original files, which only a private repository may hold."""

MANIFEST_FILE = "manifest.json"
CARD_FILE = "README.md"
SET_ASIDE_FILE = "set_aside.parquet"
MASKS_SET_ASIDE_FILE = "segmentations_set_aside.parquet"
CROISSANT_FILE = "croissant.json"
MASKS_PLOT = "plots/masks.svg"
KINDS_PLOT = "plots/kinds.svg"
SPURIOSITY_PLOT = "plots/spuriosity.svg"

SINGLE_FILES = (
    *(CARD_FILE, CROISSANT_FILE, MASKS_PLOT, KINDS_PLOT, SPURIOSITY_PLOT),
    *(SET_ASIDE_FILE, MASKS_SET_ASIDE_FILE),
)
"""Those that a data set has one of, beside its manifest; all others are a config's of a split."""

_SPLIT = f"(?:{'|'.join(SPLITS)})"
_NUMBERED_FILE = re.compile(
    rf"(?:{'|'.join(PUBLISHED_CONFIGS)})/{_SPLIT}-[0-9]{{5}}-of-[0-9]{{5}}\.parquet"
    rf"|{IMAGES}/{_SPLIT}-[0-9]{{5}}-[0-9]{{3,}}\.parquet"
)

SET_ASIDE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("split", "image_id", "path", "reason", "detail")]
)


def file_name(config: str, split: str, index: int = 0, count: int = 1) -> str:
    """Return the name of a Parquet file of a config and split, one of `count`."""
    return f"{file_prefix(config, split)}{index:05d}-of-{count:05d}.parquet"


def file_prefix(config: str, split: str) -> str:
    """Return what the names of all files of a config and split begin with."""
    return f"{config}/{split}-"


def file_pattern(config: str, split: str) -> str:
    """Return the pattern of all files of a config and split, as the card's header gives it."""
    return f"{file_prefix(config, split)}*.parquet"


def is_published(name: str) -> bool:
    """Return whether a manifest may list a file of this name: a build's, or images beside it."""
    return name in SINGLE_FILES or bool(_NUMBERED_FILE.fullmatch(name))


def order_keys(ids: list[str], seed: int) -> list[bytes]:
    """Return the keyed hash of each image id, by which rows are sorted."""
    key = seed.to_bytes(8, "little")
    return [hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in ids]
