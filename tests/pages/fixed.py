"""A small data set whose every number is written down here: only code can change its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Features

from builder.dataset.dataset import DataSet
from builder.dataset.format import (
    content_features,
    mask_features,
    pair_features,
    parquet_schema,
    preview_features,
    ranking_features,
)
from builder.dataset.layout import file_name
from builder.dataset.manifest import Manifest
from builder.storage.parquet import write_parquet

NAMES = ["otter, a swimmer", "band | aid", "n00000003"]
WNIDS = ["n00000001", "n00000002", "n00000003"]
IMAGES = {"train": 4, "validation": 2}
"""Of each class."""

PICTURE = b"the bytes of a PNG"
"""Which no page decodes."""

_VOTES = [
    [(5, 0, 0), (1, 1, 3)],
    [(0, 4, 1), (1, 2, 2)],
    [(4, 1, 0), (3, 2, 0)],
]
"""Main object, separate object, background: by class, then rank."""

_KINDS = [["core", "spurious"], ["spurious", "spurious"], ["core", "core"]]
_SUB_KINDS: list[list[str | None]] = [
    [None, "background"],
    ["separate_object", "mixed"],
    [None, None],
]
_ORIGIN = {
    "network": "small-convnet",
    "precision": "float32",
    "keep_embeddings": False,
    "classes": 3,
    "weights_sha256": "a1" * 32,
    "mean": [0.5, 0.25, 0.125],
    "std": [0.25, 0.25, 0.25],
    "votes_sha256": "b2" * 32,
    "features_per_class": 2,
    "preprocessing": "Resize(256), CenterCrop(224)",
    "resize": 256,
    "crop": 224,
    "grid": [2, 3],
}


def write_fixed(directory: Path) -> DataSet:
    """Write the data set's Parquet files; bytes and hashes in its manifest are made up."""
    splits = {split: _split(split) for split in IMAGES}
    manifest = Manifest(_ORIGIN, format_version=1, splits=splits)
    tables: dict[str, tuple[Features, Any]] = {
        "masks": (mask_features(NAMES, 2), _mask_rows),
        "rankings": (ranking_features(NAMES), _ranking_rows),
        "features": (pair_features(NAMES), _pair_rows),
        "preview": (preview_features(NAMES, 2), lambda split: []),
        "contents": (content_features(), _content_rows),
    }
    for split in splits:
        for config, (features, rows) in tables.items():
            schema = parquet_schema(features)
            name = file_name(config, split)
            write_parquet(directory / name, schema, [pa.Table.from_pylist(rows(split), schema)])
            manifest.files[name] = {"bytes": 1000 + len(name), "sha256": "c3" * 32}
    return DataSet(manifest, directory)


def _split(split: str) -> dict[str, Any]:
    rows = 3 * IMAGES[split]
    return {
        "inputs": {"images_sha256": "d4" * 32, "python": "3.11.7", "torch": "2.9.0"},
        "counts": {
            "images": rows + 1,
            "rows": rows,
            "set_aside": {"truncated": 1} if split == "train" else {},
            "classes": 3,
            "masks": 2 * rows,
            "core_masks": rows,
            "spurious_masks": rows,
            "ranked_rows": 2 * IMAGES[split],
            "grid_bytes": 30 * rows,
            "predicted_as_labelled": rows // 2,
        },
        "agreement": {"classes": 3, "pairs": 6, "in_top_5": 4, "in_top_10": 5, "in_top_20": 6},
    }


def _mask_rows(split: str) -> list[dict[str, Any]]:
    return [_mask_row(split, label, rank) for rank in range(IMAGES[split]) for label in range(3)]


def _mask_row(split: str, label: int, rank: int) -> dict[str, Any]:
    kinds = _KINDS[label]
    return {
        "image_id": f"{split}_{label}_{rank}",
        "label": label,
        "width": 500,
        "height": 375,
        "features": [10 * label, 10 * label + 1],
        "kinds": kinds,
        "activations": [0.5, 0.25],
        "peaks": [2.0, 1.0],
        "activation_ranks": [rank, rank],
        "grids": bytes(range(12)),
        "grid_height": 2,
        "grid_width": 3,
        "core_mask": {"bytes": PICTURE, "path": None} if "core" in kinds else None,
        "spurious_mask": {"bytes": PICTURE, "path": None} if "spurious" in kinds else None,
        "spuriosity": _spuriosity(rank) if "spurious" in kinds else None,
        "spuriosity_rank": rank if "spurious" in kinds else None,
        "predicted": (label + rank) % 3,
    }


def _content_rows(split: str) -> list[dict[str, Any]]:
    names = [row["image_id"] for row in _mask_rows(split)]
    return [{"image_id": name, "bytes": 1000, "content": "e5" * 8} for name in names]


def _spuriosity(rank: int) -> float:
    return 4.5 - 1.75 * rank


def _ranking_rows(split: str) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "spuriosity_rank": rank,
            "image_id": f"{split}_{label}_{rank}",
            "spuriosity": _spuriosity(rank),
        }
        for label in (0, 1)
        for rank in range(IMAGES[split])
    ]


def _pair_rows(split: str) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "wnid": WNIDS[label],
            "name": NAMES[label],
            "feature": 10 * label + place,
            "rank": place + 1,
            "kind": _KINDS[label][place],
            "sub_kind": _SUB_KINDS[label][place],
            **dict(zip(("main_object", "separate_object", "background"), votes, strict=True)),
            "confidence": 4.0,
            "weight": 0.5,
            "activation_mean": 0.5,
            "activation_std": 0.25,
        }
        for label, pairs in enumerate(_VOTES)
        for place, votes in enumerate(pairs)
    ]
