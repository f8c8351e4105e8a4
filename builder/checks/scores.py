"""Scores: what follows from the activations of all rows of a split together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.dataset.dataset import DataSet
from builder.dataset.manifest import Manifest
from builder.dataset.scores import NO_RANK, Scores, score
from builder.storage.parquet import matrix

TOLERANCE = 1e-9
"""Of recomputed means and deviations: another processor adds in another order."""


@dataclass(frozen=True)
class SplitScores:
    """The scores of a split's rows, and what else ranks are told from.

    Attributes
    ----------
    labels : ndarray of int64, shape (rows,)
    id_order : ndarray of int32, shape (rows,)
        The position of each row among all by image id.
    scores : Scores
    """

    labels: npt.NDArray[np.int64]
    id_order: npt.NDArray[np.int32]
    scores: Scores


class ScoredDataSet(DataSet):
    """A data set of which several checks want the scores: each split is scored once."""

    def __init__(self, manifest: Manifest, *places: Path) -> None:
        super().__init__(manifest, *places)
        self._scored: dict[str, SplitScores] = {}

    def scored(self, split: str) -> SplitScores:
        """Return the scores that follow from the activations of a split."""
        if split not in self._scored:
            id_order = pc.rank(_column(self, split, "image_id"), tiebreaker="first")
            labels = _column(self, split, "label").to_numpy()
            order = id_order.to_numpy().astype(np.int32)
            del id_order
            activations = matrix(_column(self, split, "activations"))
            scores = score(labels, order, activations, self.votes.spurious)
            self._scored[split] = SplitScores(labels, order, scores)
        return self._scored[split]


def ranks_are_the_activations(data: ScoredDataSet) -> Iterator[str]:
    """Yield rows whose activation ranks are not what the activations of the class say."""
    for split in data.splits:
        found = matrix(_column(data, split, "activation_ranks"))
        expected = data.scored(split).scores.activation_ranks
        for row in np.flatnonzero((found != expected).any(axis=1)):
            yield (
                f"{_name(data, split, row)} has activation ranks {found[row].tolist()}, its "
                f"activations say {expected[row].tolist()}"
            )


def spuriosity_is_the_activations(data: ScoredDataSet) -> Iterator[str]:
    """Yield rows whose spuriosity or rank does not follow from the activations of the class."""
    for split in data.splits:
        found = pc.fill_null(_column(data, split, "spuriosity"), np.nan).to_numpy()
        expected = data.scored(split).scores.spuriosity
        for row in np.flatnonzero(~_close(found, expected)):
            yield (
                f"{_name(data, split, row)} has spuriosity {found[row]}, its activations say "
                f"{expected[row]}"
            )
        ranks = pc.fill_null(_column(data, split, "spuriosity_rank"), NO_RANK).to_numpy()
        for row in np.flatnonzero(ranks != _spuriosity_ranks(found, data.scored(split))):
            yield (
                f"{_name(data, split, row)} has a spuriosity rank that its spuriosity does not say"
            )


def rankings_are_the_masks(data: DataSet) -> Iterator[str]:
    """Yield what differs between the config rankings and the ranks in the config masks."""
    names = ["label", "spuriosity_rank", "image_id", "spuriosity"]
    for split in data.splits:
        masks = data.read("masks", split, names)
        masks = masks.filter(masks["spuriosity_rank"].is_valid())
        order = np.lexsort((masks["spuriosity_rank"].to_numpy(), masks["label"].to_numpy()))
        found = data.read("rankings", split)
        if len(found) != len(masks):
            yield f"rankings of {split} has {len(found):,} rows, masks says {len(masks):,}"
            continue
        expected = masks.take(pa.array(order))
        for name in names:
            same = pc.equal(found[name], expected[name]).to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(~same.astype(np.bool_)):
                yield f"row {row:,} of rankings, {split}, has another {name} than masks says"


def pairs_are_the_votes(data: ScoredDataSet) -> Iterator[str]:
    """Yield rows of the config features that contradict votes, class names or activations."""
    votes = data.read("features", data.splits[0], data.pair_fields)
    for split in data.splits:
        if data.read("features", split, data.pair_fields) != votes:
            yield f"features of {split} has other votes than that of {data.splits[0]}"
            continue
        scores = data.scored(split).scores
        table = data.read("features", split).to_pylist()
        for pair, row in zip(data.votes_of(split).pairs, table, strict=True):
            place = (pair.label, pair.rank - 1)
            numbers = np.array([row["activation_mean"], row["activation_std"]], np.float64)
            stated = (row["kind"], row["sub_kind"], row["name"])
            name = f"features, {split}: feature {pair.feature} of class {pair.wnid}"
            if stated != (pair.kind, pair.sub_kind, data.names[pair.label]):
                yield f"{name} has a kind that its votes do not say, or another class's name"
            if not np.isfinite(row["weight"]):
                yield f"{name} has a weight that is not finite"
            if not _close(numbers, np.array([scores.means[place], scores.stds[place]])).all():
                yield f"{name} has another activation_mean or activation_std than its activations"


def embeddings_are_the_activations(data: DataSet) -> Iterator[str]:
    """Yield rows of the config embeddings that are not those of the config masks."""
    if not data.manifest.origin["keep_embeddings"]:
        return
    for split in data.splits:
        masks = data.tables("masks", split, ["image_id", "features", "activations"])
        # In the same row groups, as both are written side by side.
        for rows, found in zip_longest(masks, data.tables("embeddings", split)):
            if rows is None or found is None or rows["image_id"] != found["image_id"]:
                yield f"embeddings of {split} has other rows than masks"
                return
            embedding, features = matrix(found["embedding"]), matrix(rows["features"])
            picked = np.take_along_axis(embedding, features.astype(np.int64), axis=1)
            # As they were rounded, whichever way halves went.
            expected = matrix(rows["activations"])
            bad = ~np.isclose(picked.astype(np.float64), expected, rtol=2.0**-10, atol=2.0**-24)
            for row in np.flatnonzero(bad.any(axis=1)):
                yield f"the embedding of {found['image_id'][int(row)]} is not its activations"


def _column(data: DataSet, split: str, name: str) -> pa.ChunkedArray:
    return data.read("masks", split, [name])[name]


def _name(data: DataSet, split: str, row: np.intp) -> str:
    """Return what a row is called where something is wrong with it, which is seldom."""
    return f"{_column(data, split, 'image_id')[int(row)]} ({split})"


def _spuriosity_ranks(
    spuriosity: npt.NDArray[np.float64], rows: SplitScores
) -> npt.NDArray[np.int32]:
    """Rank the published spuriosity, to the last bit of which ties are told from others."""
    ranks = np.full(len(spuriosity), NO_RANK, np.int32)
    order = np.lexsort((rows.id_order, -spuriosity, rows.labels))
    order = order[~np.isnan(spuriosity[order])]
    _, starts, counts = np.unique(rows.labels[order], return_index=True, return_counts=True)
    ranks[order] = np.arange(len(order)) - np.repeat(starts, counts)
    return ranks


def _close(
    found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    return np.isclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
