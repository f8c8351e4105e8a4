"""Rows: what each says beside its class's votes; no other row is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.checks.pictures import all_show
from builder.dataset.dataset import DataSet
from builder.storage.parquet import matrix
from builder.threads import in_threads, usable_cores
from salient_imagenet_1m import KINDS, union

MANY = 100
"""Rows that are named for one fault at most: a broken file may break every row."""

Rows = npt.NDArray[np.bool_]
Look = Callable[[pa.Table], dict[str, Rows]]
"""Tells which rows of a table have which fault."""

_STEPS = {"float32": 2.0**-16, "bfloat16": 2.0**-8}
"""Relative rounding of a network's maps and their mean, by its precision."""


def numbers_are_sound(data: DataSet) -> Iterator[str]:
    """Yield rows with a NaN, an infinity, a size of nothing, or a class that does not exist."""
    classes = len(data.names)

    def look(table: pa.Table) -> dict[str, Rows]:
        labels = np.stack([table[name].to_numpy() for name in ("label", "predicted")])
        sizes = np.stack([table[name].to_numpy() for name in ("width", "height")])
        numbers = np.hstack([matrix(table[name]) for name in ("activations", "peaks")])
        finite = pc.is_finite(table["spuriosity"]).fill_null(True)
        return {
            "a class that does not exist": ((labels < 0) | (labels >= classes)).any(axis=0),
            "a width or height below 1": (sizes < 1).any(axis=0),
            "activations or peaks that are not finite": ~np.isfinite(numbers).all(axis=1),
            "a spuriosity that is not finite": ~np.asarray(finite),
        }

    columns = ["label", "predicted", "width", "height", "activations", "peaks", "spuriosity"]
    yield from chain(*find(data, columns, look))


def features_are_the_class_s(data: DataSet) -> Iterator[str]:
    """Yield rows whose features or kinds are not those of their class in the config features."""
    features, spurious = data.votes.features, data.votes.spurious
    known_labels = list(data.votes.by_label)

    def look(table: pa.Table) -> dict[str, Rows]:
        labels = table["label"].to_numpy()
        known = np.isin(labels, known_labels)
        rows = np.where(known, labels, 0)
        are_spurious, are_core = _are(table, "spurious"), _are(table, "core")
        same_kinds = np.where(spurious[rows], are_spurious, are_core)
        same = (matrix(table["features"]) == features[rows]) & same_kinds
        return {"features or kinds that are not its class's": ~(same.all(axis=1) & known)}

    yield from chain(*find(data, ["label", "features", "kinds"], look))


def grids_decode(data: DataSet) -> Iterator[str]:
    """Yield rows whose grids do not fit their shape, peaks and activations."""
    height, width = data.manifest.origin["grid"]
    shape = data.features_per_class, height * width
    step = _STEPS[data.manifest.origin["precision"]]

    def look(table: pa.Table) -> dict[str, Rows]:
        heights, widths = table["grid_height"].to_numpy(), table["grid_width"].to_numpy()
        odd = (heights != height) | (widths != width) | _have_other_size(shape, table)
        rows = table.filter(pa.array(~odd))
        peaks, activations = (
            matrix(rows[name]).astype(np.float64) for name in ("peaks", "activations")
        )
        grids = packed_grids(shape, rows)
        unlike_peak, unlike_activation = np.zeros((2, len(table)), np.bool_)
        unlike_peak[~odd] = unlike_peaks(grids, peaks)
        unlike_activation[~odd] = _unlike_activations(grids, peaks, activations, step)
        return {
            f"grids that are not {shape[0]} of {height} x {width}": odd,
            "a grid whose maximum does not fit its peak": unlike_peak,
            "a grid that does not fit its activation": unlike_activation,
        }

    columns = ["grids", "grid_height", "grid_width", "peaks", "activations"]
    # One fault brings the next.
    yield from next(filter(None, find(data, columns, look)), [])


def pictures_are_the_grids(data: DataSet) -> Iterator[str]:
    """Yield rows whose PNGs are not the unions of their grids."""
    height, width = data.manifest.origin["grid"]
    shape = data.features_per_class, height * width

    def look(table: pa.Table) -> dict[str, Rows]:
        bad = _have_other_size(shape, table)  # Which have no union.
        good = np.flatnonzero(~bad)
        bad[good] = unlike_pictures(table.take(pa.array(good)), height, width)
        return {UNLIKE_PICTURES: bad}

    columns = ["grids", "kinds", *(f"{kind}_mask" for kind in KINDS)]
    yield from chain(*find(data, columns, look))


UNLIKE_PICTURES = "a core_mask or spurious_mask that is not the union of its grids"


def unlike_pictures(rows: pa.Table, height: int, width: int) -> Rows:
    """Return which rows, with grids of one size, have a picture that is not their union."""
    kinds = rows["kinds"].type.list_size
    grids = packed_grids((kinds, height * width), rows)
    bad = np.zeros(len(rows), np.bool_)
    for kind in KINDS:
        chosen = _are(rows, kind)
        unions = union(np.where(chosen[..., None], grids, 0).swapaxes(0, 1))
        pictures = pc.struct_field(rows[f"{kind}_mask"], "bytes")
        is_there = np.asarray(pictures.is_valid())
        same = is_there == chosen.any(axis=1)
        both = np.flatnonzero(is_there & same)
        masks = unions[both].reshape(len(both), height, width)
        same[both] = all_show(pictures.take(pa.array(both)).to_pylist(), masks)
        bad |= ~same
    return bad


def find(data: DataSet, columns: list[str], look: Look) -> list[list[str]]:
    """Return for each fault the first rows of masks that have it; all are looked at in one pass."""
    tables = {split: data.tables("masks", split, ["image_id", *columns]) for split in data.splits}
    return find_in(tables, look)


def find_in(tables_by_split: dict[str, Iterator[pa.Table]], look: Look) -> list[list[str]]:
    """Return for each fault the first rows that have it, of tables of each split."""

    def look_at(table: pa.Table) -> tuple[pa.ChunkedArray, dict[str, Rows]]:
        return table["image_id"], look(table)

    found: dict[str, list[str]] = {}
    for split, tables in tables_by_split.items():
        for ids, faults in in_threads(tables, look_at, usable_cores()):
            for what, bad in faults.items():
                names = found.setdefault(what, [])
                for row in np.flatnonzero(bad)[: MANY - len(names)]:
                    names.append(f"{ids[int(row)]} ({split}) has {what}")
    return list(found.values())


def _are(table: pa.Table, kind: str) -> npt.NDArray[np.bool_]:
    """Return which features are of a kind, (rows, features), without a string of each."""
    kinds = table["kinds"].combine_chunks()
    same = pc.equal(kinds.flatten(), kind).to_numpy(zero_copy_only=False)
    return np.asarray(same.reshape(-1, kinds.type.list_size))


def _have_other_size(shape: tuple[int, int], table: pa.Table) -> Rows:
    return np.asarray(pc.binary_length(table["grids"]).to_numpy() != np.prod(shape))


def packed_grids(shape: tuple[int, int], table: pa.Table) -> npt.NDArray[np.uint8]:
    """Return grids that are known to be of one shape, (rows, features, cells)."""
    data = np.frombuffer(b"".join(table["grids"].to_pylist()), np.uint8)
    return data.reshape(len(table), *shape)


def unlike_peaks(grids: npt.NDArray[np.uint8], peaks: npt.NDArray[np.float64]) -> Rows:
    """Return which rows have a grid whose maximum is not 255, or 0 where its peak is 0."""
    highest = np.where(peaks > 0, 255, 0)
    return np.asarray(((grids.max(axis=2) != highest) | (peaks < 0)).any(axis=1))


def _unlike_activations(
    grids: npt.NDArray[np.uint8],
    peaks: npt.NDArray[np.float64],
    activations: npt.NDArray[np.float64],
    step: float,
) -> Rows:
    """Compare the mean of a map, the activation, with that of its grid.

    A grid has 0 where a map is negative, which some networks' maps can be: its mean is then too
    high. Where no cell is 0 the two are the same but for rounding, of the grid and of the network
    in relative steps of `step`.
    """
    means = grids.mean(axis=2) * peaks / 255
    rounding = peaks * (0.5 / 255 + step) + 1e-6
    too_low = means < activations - rounding
    too_high = (means > activations + rounding) & (grids > 0).all(axis=2)
    return np.asarray((too_low | too_high).any(axis=1))
