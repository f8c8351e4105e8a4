"""The config ``preview``: a few rows of each split, with masks that a person sees in a viewer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image as Pillow

from builder.dataset.dataset import DataSet
from builder.dataset.format import parquet_schema, preview_features
from builder.dataset.layout import file_name
from builder.dataset.upsampling import kind_masks
from builder.storage.parquet import write_parquet
from salient_imagenet_1m import KINDS, unpack_grids

PREVIEW = "preview"

Mask = npt.NDArray[np.uint8] | None

LARGEST_PREVIEW = 1000
"""Rows of a split at most."""

SMALLEST_PREVIEW = 100
"""Rows of a split, where it has fewer classes than that; otherwise one row per class."""

EXAMPLES = 6
"""Rows that the card shows."""

_LOOKED_THROUGH = 100
_ROW_GROUP = 100
"""Rows that a viewer shows on a page; their pictures are what makes them heavy."""

COPIED = [
    "image_id",
    "label",
    "predicted",
    "kinds",
    "activations",
    "spuriosity",
    "spuriosity_rank",
]


def write_preview(data: DataSet, split: str, target: Path) -> str:
    """Write a split's preview into a directory that is laid out like the data set.

    Returns
    -------
    str
        The file's name in it.
    """
    rows = preview_rows(data, split)
    schema = parquet_schema(preview_features(data.names, data.features_per_class))
    pictures = {
        f"{kind}_mask": [_as_stored(mask) for mask in masks]
        for kind, masks in rendered_masks(rows).items()
    }
    columns = {
        **{name: rows[name].combine_chunks() for name in COPIED},
        **{name: pa.array(values, schema.field(name).type) for name, values in pictures.items()},
    }
    table = pa.table({name: columns[name] for name in schema.names}).cast(schema)
    name = file_name(PREVIEW, split)
    write_parquet(target / name, schema, [table], _ROW_GROUP)
    return name


def preview_rows(data: DataSet, split: str) -> pa.Table:
    """Return the rows of the config ``masks`` that are in the preview: all classes, in order."""
    labels = data.read("masks", split, ["label"])["label"].to_numpy()
    classes = len(np.unique(labels))
    chosen = spread(labels, min(max(classes, SMALLEST_PREVIEW), LARGEST_PREVIEW))
    columns = [*COPIED, "grids", "grid_height", "grid_width"]
    parts, start = [], 0
    for table in data.tables("masks", split, columns):
        inside = chosen[(chosen >= start) & (chosen < start + len(table))]
        parts.append(table.take(pa.array(inside - start)))
        start += len(table)
    return pa.concat_tables(parts)


def example_rows(data: DataSet) -> list[dict[str, Any]]:
    """Return the rows that the card shows: of as many classes, with masks of both kinds if any."""
    columns = [*COPIED, "width", "height", "core_mask", "spurious_mask"]
    rows = next(data.tables("masks", data.splits[0], columns)).slice(0, _LOOKED_THROUGH)
    both = rows.filter(pc.and_(rows["core_mask"].is_valid(), rows["spurious_mask"].is_valid()))
    chosen = both if len(both) >= EXAMPLES else rows
    places = spread(chosen["label"].to_numpy(), EXAMPLES)
    found: list[dict[str, Any]] = chosen.take(pa.array(places)).to_pylist()
    return found


def spread(labels: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Choose rows with as many classes among them as can be: the first of each, the second, ...

    Rows are in a pseudo-random order already.

    Parameters
    ----------
    labels : ndarray of int64, shape (rows,)
    count : int
        Of rows to choose.

    Returns
    -------
    ndarray of int64
        Sorted positions.
    """
    by_class = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    turns = np.empty(len(labels), np.int64)
    turns[by_class] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return np.sort(np.argsort(turns, kind="stable")[:count])


def rendered_masks(rows: pa.Table) -> dict[str, list[Mask]]:
    """Render the core and spurious masks of rows over the square that the network saw.

    Returns
    -------
    dict of str to list of (ndarray of uint8, shape (224, 224), or None)
        By kind; None where a class has no feature of the kind.
    """
    found: dict[str, list[Mask]] = {kind: [] for kind in KINDS}
    for row in rows.select(["grids", "grid_height", "grid_width", "kinds"]).to_pylist():
        grids = unpack_grids(row["grids"], row["grid_height"], row["grid_width"])
        for kind, mask in kind_masks(grids, row["kinds"]).items():
            found[kind].append(mask)
    return found


def _as_stored(mask: Mask) -> dict[str, Any] | None:
    if mask is None:
        return None
    file = io.BytesIO()
    Pillow.fromarray(mask).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}
