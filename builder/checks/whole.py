"""Whole images: whether their masks are sound, and of the rows of the config masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain, zip_longest

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.checks.rows import (
    UNLIKE_PICTURES,
    Rows,
    find_in,
    packed_grids,
    unlike_peaks,
    unlike_pictures,
)
from builder.dataset.configs import WHOLE_IMAGES
from builder.dataset.dataset import DataSet
from builder.dataset.whole import count_whole, likeness
from builder.storage.parquet import matrix
from salient_imagenet_1m import KINDS, whole_box

_SAME = ["image_id", "label", "width", "height", "features", "kinds"]
"""Columns that are those of the config masks."""

_TOLERANCE = 2e-4
"""Of correlations, which are told to four digits."""


def rows_are_the_masks(data: DataSet) -> Iterator[str]:
    """Yield splits whose whole images are in other rows or row groups than their crops."""
    for split in data.splits_of(WHOLE_IMAGES):
        crops, whole = (data.tables(config, split, _SAME) for config in ("masks", WHOLE_IMAGES))
        files = [len(data.files(config, split)) for config in ("masks", WHOLE_IMAGES)]
        none = pa.table({})
        pairs = zip_longest(crops, whole, fillvalue=none)
        if files[0] != files[1] or not all(one.equals(other) for one, other in pairs):
            yield f"{WHOLE_IMAGES} of {split} has other rows, or row groups, than masks"


def grids_decode(data: DataSet) -> Iterator[str]:
    """Yield rows whose box, grids, peaks or pictures do not fit each other."""
    features = data.features_per_class
    for split in data.splits_of(WHOLE_IMAGES):
        inputs = data.manifest.splits[split][WHOLE_IMAGES]["inputs"]
        stride, longest = inputs["stride"], inputs["longest"]

        def look(table: pa.Table, stride: int = stride, longest: int = longest) -> dict[str, Rows]:
            sizes = np.stack([table[name].to_numpy() for name in ("width", "height")], axis=1)
            unique, place = np.unique(sizes, axis=0, return_inverse=True)
            known = [whole_box(width, height, stride, longest) for width, height in unique.tolist()]
            boxes = np.array(known, np.float64).reshape(-1, 4)[place.ravel()]
            cells = _cells(table)
            lengths = pc.binary_length(table["grids"]).to_numpy()
            odd = (lengths != features * cells.prod(axis=1)) | (cells < 1).any(axis=1)
            peaks, pictures = np.zeros((2, len(table)), np.bool_)
            for height, width in np.unique(cells[~odd], axis=0).tolist():
                chosen = np.flatnonzero(~odd & (cells == (height, width)).all(axis=1))
                rows = table.take(pa.array(chosen))
                grids = packed_grids((features, height * width), rows)
                peaks[chosen] = unlike_peaks(grids, matrix(rows["peaks"]).astype(np.float64))
                pictures[chosen] = unlike_pictures(rows, height, width)
            return {
                "a box that does not fit its width and height": ~np.isclose(
                    matrix(table["box"]), boxes, rtol=0, atol=1e-6
                ).all(axis=1),
                "grids that are not of the size that it tells": odd,
                "a grid whose maximum does not fit its peak": peaks,
                UNLIKE_PICTURES: pictures,
            }

        columns = [
            "image_id",
            "width",
            "height",
            "box",
            "grids",
            "grid_height",
            "grid_width",
            "peaks",
            "kinds",
        ]
        columns += [f"{kind}_mask" for kind in KINDS]
        tables = {split: data.tables(WHOLE_IMAGES, split, columns)}
        yield from chain(*find_in(tables, look))


def counts_are_right(data: DataSet) -> Iterator[str]:
    """Yield what the manifest tells of masks of whole images that the rows do not bear out."""
    for split in data.splits_of(WHOLE_IMAGES):
        stated = data.manifest.splits[split].get(WHOLE_IMAGES)
        if stated is None:
            yield f"the manifest tells nothing of the whole images of {split}"
            continue
        counts, found = count_whole(data, split), asdict(likeness(data, split))
        if stated["counts"] != counts:
            yield f"the counts of whole images of {split} are {stated['counts']}, in fact {counts}"
        for name, value in found.items():
            told = stated["agreement"].get(name)
            if told != value and (None in (told, value) or abs(told - value) > _TOLERANCE):
                yield f"the {name} of correlations of {split} is {told}, in fact {value}"


def _cells(table: pa.Table) -> npt.NDArray[np.int64]:
    names = ("grid_height", "grid_width")
    return np.stack([table[name].to_numpy().astype(np.int64) for name in names], axis=1)
