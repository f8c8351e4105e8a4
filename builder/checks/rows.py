"""Rows: what each says beside its class's votes; no other row is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.checks.pictures import all_show
from builder.dataset.dataset import DataSet
from builder.storage.parquet import matrix
from builder.threads import in_threads, usable_cores
from salient_imagenet_1m import KINDS, union

Rows = npt.NDArray[np.bool_]

_STEPS = {"float32": 2.0**-16, "bfloat16": 2.0**-8}
"""Relative rounding of a network's maps and their mean, by its precision."""


def numbers_are_sound(data: DataSet) -> Iterator[str]:
    """Yield rows with a NaN, an infinity, a size of nothing, or a class that does not exist."""
    classes = len(data.names)

    def outside(table: pa.Table) -> Rows:
        labels = np.stack([table[name].to_numpy() for name in ("label", "predicted")])
        return np.asarray(((labels < 0) | (labels >= classes)).any(axis=0))

    tests: list[tuple[str, list[str], Callable[[pa.Table], Rows]]] = [
        ("a class that does not exist", ["label", "predicted"], outside),
        ("a width or height below 1", ["width", "height"], _has_no_pixels),
        ("activations or peaks that are not finite", ["activations", "peaks"], _is_not_finite),
        ("a spuriosity that is not finite", ["spuriosity"], _spuriosity_is_not_finite),
    ]
    for what, columns, is_bad in tests:
        yield from _rows(data, columns, what, is_bad)


def features_are_the_class_s(data: DataSet) -> Iterator[str]:
    """Yield rows whose features or kinds are not those of their class in the config features."""
    features, spurious = data.votes.features, data.votes.spurious

    def is_bad(table: pa.Table) -> Rows:
        labels = table["label"].to_numpy()
        known = np.isin(labels, list(data.votes.by_label))
        rows = np.where(known, labels, 0)
        kinds = np.where(spurious[rows], "spurious", "core")
        same = (matrix(table["features"]) == features[rows]) & (matrix(table["kinds"]) == kinds)
        return np.asarray(~(same.all(axis=1) & known))

    columns = ["label", "features", "kinds"]
    yield from _rows(data, columns, "features or kinds that are not its class's", is_bad)


def grids_decode(data: DataSet) -> Iterator[str]:
    """Yield rows whose grids do not fit their shape, peaks and activations."""
    height, width = data.manifest.origin["grid"]
    shape = data.features_per_class, height * width

    def has_other_shape(table: pa.Table) -> Rows:
        heights, widths = table["grid_height"].to_numpy(), table["grid_width"].to_numpy()
        sizes = pc.binary_length(table["grids"]).to_numpy()
        return np.asarray((heights != height) | (widths != width) | (sizes != np.prod(shape)))

    step = _STEPS[data.manifest.origin["precision"]]
    columns = ["grids", "grid_height", "grid_width", "peaks", "activations"]
    tests: list[tuple[str, Callable[[pa.Table], Rows]]] = [
        (f"grids that are not {data.features_per_class} of {height} x {width}", has_other_shape),
        ("a grid whose maximum does not fit its peak", partial(_peak_does_not_fit, shape)),
        (
            "a grid that does not fit its activation",
            partial(_activation_does_not_fit, shape, step),
        ),
    ]
    for what, is_bad in tests:
        found = _rows(data, columns, what, is_bad)
        first = next(found, None)
        if first is not None:
            yield first
            yield from found
            return


def pictures_are_the_grids(data: DataSet) -> Iterator[str]:
    """Yield rows whose PNGs are not the unions of their grids."""
    height, width = data.manifest.origin["grid"]
    shape = data.features_per_class, height * width

    def is_bad(table: pa.Table) -> Rows:
        # Grids of another length have no union.
        bad = pc.binary_length(table["grids"]).to_numpy() != np.prod(shape)
        good = np.flatnonzero(~bad)
        rows = table.take(pa.array(good))
        kinds, grids = matrix(rows["kinds"]), _grids(shape, rows)
        for kind in KINDS:
            chosen = kinds == kind
            unions = union(np.where(chosen[..., None], grids, 0).swapaxes(0, 1))
            pictures = pc.struct_field(rows[f"{kind}_mask"], "bytes")
            is_there = np.asarray(pictures.is_valid())
            same = is_there == chosen.any(axis=1)
            both = np.flatnonzero(is_there & same)
            masks = unions[both].reshape(len(both), height, width)
            same[both] = all_show(pictures.take(pa.array(both)).to_pylist(), masks)
            bad[good] |= ~same
        return np.asarray(bad)

    columns = ["grids", "kinds", *(f"{kind}_mask" for kind in KINDS)]
    what = "a core_mask or spurious_mask that is not the union of its grids"
    yield from _rows(data, columns, what, is_bad)


def _rows(
    data: DataSet, columns: list[str], what: str, is_bad: Callable[[pa.Table], Rows]
) -> Iterator[str]:
    def look(table: pa.Table) -> tuple[pa.Table, Rows]:
        return table, is_bad(table)

    names = list(dict.fromkeys(["image_id", *columns]))
    for split in data.splits:
        for table, bad in in_threads(data.tables("masks", split, names), look, usable_cores()):
            for row in np.flatnonzero(bad):
                yield f"{table['image_id'][int(row)]} ({split}) has {what}"


def _has_no_pixels(table: pa.Table) -> Rows:
    return np.asarray((table["width"].to_numpy() < 1) | (table["height"].to_numpy() < 1))


def _is_not_finite(table: pa.Table) -> Rows:
    numbers = np.concatenate([matrix(table["activations"]), matrix(table["peaks"])], axis=1)
    return np.asarray(~np.isfinite(numbers).all(axis=1))


def _spuriosity_is_not_finite(table: pa.Table) -> Rows:
    return ~np.asarray(pc.is_finite(table["spuriosity"]).fill_null(True))


def _grids(shape: tuple[int, int], table: pa.Table) -> npt.NDArray[np.uint8]:
    """Return grids that are known to be of one shape, (rows, features, cells)."""
    data = np.frombuffer(b"".join(table["grids"].to_pylist()), np.uint8)
    return data.reshape(len(table), *shape)


def _peak_does_not_fit(shape: tuple[int, int], table: pa.Table) -> Rows:
    peaks = matrix(table["peaks"])
    highest = np.where(peaks > 0, 255, 0)
    return np.asarray(((_grids(shape, table).max(axis=2) != highest) | (peaks < 0)).any(axis=1))


def _activation_does_not_fit(shape: tuple[int, int], step: float, table: pa.Table) -> Rows:
    """Compare the mean of a map, the activation, with that of its grid.

    A grid has 0 where a map is negative, which some networks' maps can be: its mean is then too
    high. Where no cell is 0 the two are the same but for rounding, of the grid and of the network
    in relative steps of `step`.
    """
    peaks, activations = (
        matrix(table[name]).astype(np.float64) for name in ("peaks", "activations")
    )
    grids = _grids(shape, table)
    means = grids.mean(axis=2) * peaks / 255
    rounding = peaks * (0.5 / 255 + step) + 1e-6
    too_low = means < activations - rounding
    too_high = (means > activations + rounding) & (grids > 0).all(axis=2)
    return np.asarray((too_low | too_high).any(axis=1))
