"""Which images of a class are worth a look: those at the ends of its rankings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.dataset.configs import WHOLE_IMAGES
from builder.dataset.dataset import DataSet

Row = dict[str, Any]
"""A row of the config masks."""

_COLUMNS = [
    "image_id",
    "label",
    "features",
    "kinds",
    "activations",
    "activation_ranks",
    "grids",
    "grid_height",
    "grid_width",
    "spuriosity",
    "spuriosity_rank",
]


_WHOLE_COLUMNS = ["image_id", "width", "height", "kinds", "grids", "grid_height", "grid_width"]
_WHOLE_COLUMNS += ["box"]


@dataclass
class Highlights:
    """The chosen images of one class.

    Attributes
    ----------
    images : int
        How many the class has.
    accuracy : float
        The share of them that the network gets right.
    top : dict of int to list of dict
        By feature, the rows that activate it most, the first the most.
    most, least : list of dict
        The most and the least spurious rows, the extreme first; empty without a spurious feature.
    """

    images: int
    accuracy: float
    top: dict[int, list[Row]] = field(default_factory=dict)
    most: list[Row] = field(default_factory=list)
    least: list[Row] = field(default_factory=list)

    @property
    def first(self) -> Row:
        """The row whose masks are shown one by one."""
        rows = self.most or next(iter(self.top.values()))
        return rows[0]

    @property
    def ids(self) -> set[str]:
        """The ids of all chosen images."""
        rows = [row for group in (*self.top.values(), self.most, self.least) for row in group]
        return {row["image_id"] for row in rows}


def find_highlights(data: DataSet, split: str, tops: int, ends: int) -> dict[int, Highlights]:
    """Choose images of each class of a data set, reading one row group of it at a time.

    Parameters
    ----------
    data : DataSet
    split : str
    tops : int
        How many images per feature.
    ends : int
        How many most and least spurious images.

    Returns
    -------
    dict of int to Highlights
        By label, sorted.
    """
    known = data.read("masks", split, ["label", "predicted"])
    labels, predicted = (known[name].to_numpy() for name in ("label", "predicted"))
    counts = np.bincount(labels)
    hits = np.bincount(labels[predicted == labels], minlength=len(counts))
    selections = {
        label: Highlights(int(counts[label]), float(hits[label] / counts[label]))
        for label in np.flatnonzero(counts).tolist()
    }
    for table in data.tables("masks", split, _COLUMNS):
        for row in table.filter(pa.array(_is_chosen(table, counts, tops, ends))).to_pylist():
            _place(row, selections[row["label"]], tops, ends)
    for selection in selections.values():
        _sort(selection)
    return selections


def find_whole(data: DataSet, split: str, names: set[str]) -> dict[str, Row]:
    """Return the rows of the config whole of some images, by id; none where there is no such."""
    found: dict[str, Row] = {}
    wanted = pa.array(sorted(names), pa.string())
    for table in data.tables(WHOLE_IMAGES, split, _WHOLE_COLUMNS):
        rows = table.filter(pc.is_in(table["image_id"], wanted)).to_pylist()
        found |= {row["image_id"]: row for row in rows}
    return found


def _is_chosen(
    table: pa.Table, counts: npt.NDArray[np.int64], tops: int, ends: int
) -> npt.NDArray[np.bool_]:
    ranks = table["activation_ranks"].combine_chunks()
    in_top = (ranks.flatten().to_numpy().reshape(len(table), -1) < tops).any(axis=1)
    rank = pc.fill_null(table["spuriosity_rank"], -1).to_numpy()
    last = counts[table["label"].to_numpy()] - 1
    at_an_end = (rank >= 0) & ((rank < ends) | (rank > last - ends))
    return np.asarray(in_top | at_an_end)


def _place(row: Row, selection: Highlights, tops: int, ends: int) -> None:
    for feature, rank in zip(row["features"], row["activation_ranks"], strict=True):
        if rank < tops:
            selection.top.setdefault(feature, []).append(row)
    rank = row["spuriosity_rank"]
    if rank is not None and rank < ends:
        selection.most.append(row)
    if rank is not None and rank >= max(selection.images - ends, ends):
        selection.least.append(row)


def _sort(selection: Highlights) -> None:
    for feature, rows in selection.top.items():
        rows.sort(key=lambda row: row["activation_ranks"][row["features"].index(feature)])
    selection.most.sort(key=lambda row: row["spuriosity_rank"])
    selection.least.sort(key=lambda row: -row["spuriosity_rank"])
