"""The shape of ImageNet: its classes, votes like the real ones, and as many ids."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from builder.dataset.counts import Counts
from builder.dataset.manifest import Manifest
from builder.dataset.votes import Pair, Votes
from builder.images.plan import LARGEST_SHARD, Plan
from builder.run.finalise import Finaliser
from builder.run.finished import FinishedShards
from salient_imagenet_1m import CROP_SIZE, RESIZE_SIZE

IMAGES = 1_281_167
CLASSES = 1000
FEATURES = 5
CHANNELS = 2048
GRID = 7
SEED = 0
"""Of the order of rows."""

WNIDS = [f"n{1440764 + 13831 * label:08d}" for label in range(CLASSES)]
NAMES = [f"class number {label}, and a synonym" for label in range(CLASSES)]

SPURIOUS_CLASSES = (205, 83, 32, 22, 15)
"""How many classes have 1, 2, ... 5 spurious features, as in the real votes."""


def make_votes() -> Votes:
    spurious = np.zeros((CLASSES, FEATURES), np.bool_)
    start = 0
    for count, classes in enumerate(SPURIOUS_CLASSES, start=1):
        spurious[start : start + classes, -count:] = True
        start += classes
    return Votes(
        tuple(
            Pair(label, wnid, (7 * label + rank) % CHANNELS, rank + 1, *answers(is_spurious), 4.0)
            for label, wnid in enumerate(WNIDS)
            for rank, is_spurious in enumerate(spurious[label])
        ),
        sha256="",
    )


def answers(is_spurious: bool) -> tuple[int, int, int]:
    return (1, 1, 3) if is_spurious else (4, 0, 1)


def bare_plan(rows: int) -> Plan:
    """Return a plan as far as finalising looks at it."""
    return Plan(
        "train",
        np.arange(rows),
        pa.array([], pa.string()),
        np.empty(0, np.int64),
        [],
        LARGEST_SHARD,
    )


def make_manifest(counts: Counts) -> Manifest:
    """Return the manifest of a build with these counts, as far as its pages look at it."""
    origin = {
        "network": "synthetic",
        "precision": "float32",
        "keep_embeddings": False,
        "weights_sha256": "",
        "votes_sha256": "",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "classes": CLASSES,
        "channels": CHANNELS,
        "pairs": CLASSES * FEATURES,
        "features_per_class": FEATURES,
        "preprocessing": "none",
        "resize": RESIZE_SIZE,
        "crop": CROP_SIZE,
        "grid": [GRID, GRID],
    }
    agreement = {"classes": 0, "pairs": 0, "in_top_5": 0, "in_top_10": 0, "in_top_20": 0}
    inputs = {"split": "train", "seed": SEED, "limit": None, "device": "cpu", "images_sha256": ""}
    split = {"inputs": inputs, "counts": asdict(counts), "agreement": agreement}
    return Manifest(origin, splits={"train": split})


def make_finaliser(base: Path, rows: int) -> Finaliser:
    """Return what makes a data set of the shards under `base`."""
    return Finaliser(
        shards=FinishedShards(base, bare_plan(rows), make_votes(), NAMES),
        head_weight=np.zeros((CLASSES, CHANNELS), np.float32),
        grid_height=GRID,
        grid_width=GRID,
        keep_embeddings=False,
    )
