"""What masks of whole images come to, and how like those of the crops they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from builder.dataset.configs import WHOLE_IMAGES
from builder.dataset.dataset import DataSet
from builder.dataset.upsampling import sample, upsample
from builder.storage.parquet import column_bytes
from salient_imagenet_1m import Box, crop_box, unpack_grids

SIDE = 28
"""Places across the box at which two masks are compared: four to a cell of 7 x 7."""

_DIGITS = 4
"""More of a correlation depend on the processor."""

_COLUMNS = ["width", "height", "grids", "grid_height", "grid_width"]


@dataclass(frozen=True)
class Likeness:
    """How like the masks of whole images are to those of crops, where both are.

    Attributes
    ----------
    mean, lowest_decile : float, optional
        Of the images' correlations; see `correlations`. None where no image has any.
    """

    mean: float | None
    lowest_decile: float | None


def count_whole(data: DataSet, split: str) -> dict[str, int]:
    """Return the counts that the manifest states of a split's masks of whole images."""
    names = data.files(WHOLE_IMAGES, split)
    paths = [data.path(name) for name in names]
    rows = sum(len(table) for table in data.tables(WHOLE_IMAGES, split, ["label"]))
    return {
        "rows": rows,
        "masks": rows * data.features_per_class,
        "grid_bytes": column_bytes(paths, "grids"),
        "bytes": sum(path.stat().st_size for path in paths),
    }


def likeness(data: DataSet, split: str) -> Likeness:
    """Compare all masks of a split."""
    tables = zip(
        data.tables("masks", split, _COLUMNS),
        data.tables(WHOLE_IMAGES, split, [*_COLUMNS, "box"]),
        strict=True,
    )
    found = np.concatenate([np.empty(0), *(correlations(*pair) for pair in tables)])
    found = found[~np.isnan(found)]
    if not len(found):
        return Likeness(None, None)
    mean, decile = float(found.mean()), float(np.quantile(found, 0.1))
    return Likeness(round(mean, _DIGITS), round(decile, _DIGITS))


def correlations(crops: pa.Table, whole: pa.Table) -> npt.NDArray[np.float64]:
    """Return how like each image's masks of the whole are to those of its crop, inside the box.

    Pearson's correlation of the two soft masks of a feature over 28 x 28 places in the box, the
    mean over the features of which neither is the same everywhere; NaN where there is none.

    Parameters
    ----------
    crops, whole : pa.Table
        Rows of the same images.

    Returns
    -------
    ndarray of float64, shape (rows,)
    """
    rows = zip(crops.to_pylist(), whole.to_pylist(), strict=True)
    return np.array([_correlation(crop, other) for crop, other in rows], np.float64)


def _correlation(crop: dict[str, object], whole: dict[str, object]) -> float:
    box = _crop_box(crop["width"], crop["height"])
    one = upsample(_grids(crop), SIDE, SIDE)
    other = sample(_grids(whole), Box(*whole["box"]), box, SIDE, SIDE)  # type: ignore[misc]
    one, other = (each.reshape(len(each), -1) for each in (one, other))
    one, other = (each - each.mean(axis=1, keepdims=True) for each in (one, other))
    scale = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    varies = scale > 1e-6
    if not varies.any():
        return float("nan")
    return float(((one * other).sum(axis=1)[varies] / scale[varies]).mean())


_crop_box = lru_cache(crop_box)


def _grids(row: dict[str, object]) -> npt.NDArray[np.uint8]:
    return unpack_grids(row["grids"], row["grid_height"], row["grid_width"])  # type: ignore[arg-type]
