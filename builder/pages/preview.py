"""The configs of a few rows of each split, with masks that a person sees in a viewer."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features
from PIL import Image as Pillow

from builder.dataset.configs import PREVIEW, WHOLE_IMAGES, WHOLE_PREVIEW
from builder.dataset.dataset import DataSet
from builder.dataset.format import parquet_schema, preview_features, whole_preview_features
from builder.dataset.layout import file_name
from builder.dataset.upsampling import kind_masks, sample, unions
from builder.storage.parquet import write_parquet
from salient_imagenet_1m import KINDS, Box, unpack_grids, whole_size

Mask = npt.NDArray[np.uint8] | None
Row = dict[str, Any]

LARGEST_PREVIEW = 1000
"""Rows of a split at most."""

SMALLEST_PREVIEW = 100
"""Rows of a split, where it has fewer classes than that; otherwise one row per class."""

EXAMPLES = 6
"""Rows that the card shows."""

_LOOKED_THROUGH = 100
_ROW_GROUP = 100
"""Rows that a viewer shows on a page; their pictures are what makes them heavy."""

_LONGEST = 640
"""Pixels of the long side of a mask of a whole image; the short side is 256 at most."""

_DIGITS = 6

_GRIDS = ["kinds", "grids", "grid_height", "grid_width"]


@dataclass(frozen=True)
class Preview:
    """A config of some rows of another one.

    Attributes
    ----------
    config, of : str
        Its name, and that of the config whose rows it shows.
    columns : callable
        Gives its columns, from names and features of classes.
    copied : list of str
        Columns that it has from the other as they are.
    rendered : list of str
        Columns of the other that its masks are made from.
    render : callable
        Makes the masks of a row, by kind: None where the class has no feature of the kind.
    """

    config: str
    of: str
    columns: Callable[[list[str], int], Features]
    copied: list[str]
    rendered: list[str]
    render: Callable[[Row], dict[str, Mask]]

    def masks(self, rows: pa.Table) -> dict[str, list[Mask]]:
        """Render the masks of rows.

        Returns
        -------
        dict of str to list of (ndarray of uint8, shape (height, width), or None)
            By kind.
        """
        masks = [self.render(row) for row in rows.select(self.rendered).to_pylist()]
        return {kind: [own[kind] for own in masks] for kind in KINDS}


def _of_crop(row: Row) -> dict[str, Mask]:
    return kind_masks(_grids(row), row["kinds"])


def _of_whole_image(row: Row) -> dict[str, Mask]:
    size = row["width"], row["height"]
    width, height = whole_size(*size, _LONGEST)
    masks = sample(_grids(row), Box(*row["box"]), Box(0, 0, *size), height, width)
    # Else the last bits, which depend on the processor, would say how a half is rounded.
    return unions(masks.round(_DIGITS), row["kinds"])


def _grids(row: Row) -> npt.NDArray[np.uint8]:
    return unpack_grids(row["grids"], row["grid_height"], row["grid_width"])


OF_CROPS = Preview(
    config=PREVIEW,
    of="masks",
    columns=preview_features,
    copied=[
        "image_id",
        "label",
        "predicted",
        "kinds",
        "activations",
        "spuriosity",
        "spuriosity_rank",
    ],
    rendered=_GRIDS,
    render=_of_crop,
)
OF_WHOLE_IMAGES = Preview(
    config=WHOLE_PREVIEW,
    of=WHOLE_IMAGES,
    columns=whole_preview_features,
    copied=["image_id", "label", "kinds"],
    rendered=[*_GRIDS, "width", "height", "box"],
    render=_of_whole_image,
)
PREVIEWS = (OF_CROPS, OF_WHOLE_IMAGES)


def write_preview(data: DataSet, split: str, target: Path, preview: Preview = OF_CROPS) -> str:
    """Write a preview of a split into a directory that is laid out like the data set.

    Returns
    -------
    str
        The file's name in it.
    """
    rows = preview_rows(data, split, preview)
    schema = parquet_schema(preview.columns(data.names, data.features_per_class))
    pictures = {
        f"{kind}_mask": [_as_stored(mask) for mask in masks]
        for kind, masks in preview.masks(rows).items()
    }
    columns = {
        **{name: rows[name].combine_chunks() for name in preview.copied},
        **{name: pa.array(values, schema.field(name).type) for name, values in pictures.items()},
    }
    table = pa.table({name: columns[name] for name in schema.names}).cast(schema)
    name = file_name(preview.config, split)
    write_parquet(target / name, schema, [table], _ROW_GROUP)
    return name


def preview_rows(data: DataSet, split: str, preview: Preview = OF_CROPS) -> pa.Table:
    """Return the rows that are in a preview, as they are stored: all classes, in order."""
    labels = data.read(preview.of, split, ["label"])["label"].to_numpy()
    classes = len(np.unique(labels))
    chosen = spread(labels, min(max(classes, SMALLEST_PREVIEW), LARGEST_PREVIEW))
    columns = list(dict.fromkeys([*preview.copied, *preview.rendered]))
    parts, start = [], 0
    for table in data.tables(preview.of, split, columns):
        inside = chosen[(chosen >= start) & (chosen < start + len(table))]
        parts.append(table.take(pa.array(inside - start)))
        start += len(table)
    return pa.concat_tables(parts)


def example_rows(data: DataSet) -> list[dict[str, Any]]:
    """Return the rows that the card shows: of as many classes, with masks of both kinds if any."""
    columns = [*OF_CROPS.copied, "width", "height", "core_mask", "spurious_mask"]
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


def _as_stored(mask: Mask) -> dict[str, Any] | None:
    if mask is None:
        return None
    file = io.BytesIO()
    Pillow.fromarray(mask).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}
