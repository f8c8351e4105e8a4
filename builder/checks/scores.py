"""Counts, ids, ranks and scores: what follows from all rows of a split together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.dataset.dataset import PAIR_FIELDS, DataSet
from builder.dataset.layout import SET_ASIDE_FILE, SET_ASIDE_SCHEMA, order_keys
from builder.dataset.scores import NO_RANK, Scores, score
from builder.storage.parquet import column_bytes, matrix

TOLERANCE = 1e-9
"""Of recomputed means and deviations: another processor adds in another order."""


def counts_are_right(data: DataSet) -> Iterator[str]:
    """Yield counts of the manifest that the rows do not bear out."""
    for split in data.splits:
        stated = data.manifest.splits[split]["counts"]
        for name, count in count_rows(data, split).items():
            found, other = _first_difference(stated.get(name), count)
            if found != other:
                yield f"{name} of {split} is {found} in the manifest, {other} in fact"


def ids_are_unique(data: DataSet) -> Iterator[str]:
    """Yield image ids that come twice, over all splits and what was set aside."""
    rows = {split: data.read("masks", split, ["image_id"])["image_id"] for split in data.splits}
    every = pa.chunked_array([chunk for ids in rows.values() for chunk in ids.chunks], pa.string())
    counts = every.value_counts()
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    for name in twice.field("values").to_pylist():
        yield f"{name} has several rows"
    for split, ids in rows.items():
        aside = _set_aside(data, split)["image_id"]
        for name in aside.filter(pc.is_in(aside, ids)).unique().to_pylist():
            yield f"{name} ({split}) has a row and is set aside as well"


def rows_are_in_order(data: DataSet) -> Iterator[str]:
    """Yield places where rows are not in their build's order: they were moved, or ids changed."""
    for split in data.splits:
        seed = data.manifest.splits[split]["inputs"]["seed"]
        last: list[tuple[bytes, str]] = []
        for table in data.tables("masks", split, ["image_id"]):
            ids = table["image_id"].to_pylist()
            keys = last + list(zip(order_keys(ids, seed), ids, strict=True))
            for one, other in pairwise(keys):
                if one > other:
                    yield f"{one[1]} comes before {other[1]} in {split}, against the order"
            last = keys[-1:]


def ranks_are_the_activations(data: DataSet) -> Iterator[str]:
    """Yield rows whose activation ranks are not what the activations of the class say."""
    for split in data.splits:
        rows = _rows(data, split)
        bad = (rows.activation_ranks != rows.scores.activation_ranks).any(axis=1)
        for row in np.flatnonzero(bad):
            yield (
                f"{rows.ids[int(row)]} ({split}) has activation ranks "
                f"{rows.activation_ranks[row].tolist()}, its activations say "
                f"{rows.scores.activation_ranks[row].tolist()}"
            )


def spuriosity_is_the_activations(data: DataSet) -> Iterator[str]:
    """Yield rows whose spuriosity or rank does not follow from the activations of the class."""
    for split in data.splits:
        rows = _rows(data, split)
        for row in np.flatnonzero(~_close(rows.spuriosity, rows.scores.spuriosity)):
            yield (
                f"{rows.ids[int(row)]} ({split}) has spuriosity {rows.spuriosity[row]}, its "
                f"activations say {rows.scores.spuriosity[row]}"
            )
        for row in np.flatnonzero(rows.spuriosity_ranks != _spuriosity_ranks(rows)):
            yield (
                f"{rows.ids[int(row)]} ({split}) has a spuriosity rank that its spuriosity does "
                "not say"
            )


def rankings_are_the_masks(data: DataSet) -> Iterator[str]:
    """Yield what differs between the config rankings and the ranks in the config masks."""
    for split in data.splits:
        rows = _rows(data, split)
        order = np.lexsort((rows.spuriosity_ranks, rows.labels))
        order = order[rows.spuriosity_ranks[order] != NO_RANK]
        found = data.read("rankings", split)
        if len(found) != len(order):
            yield f"rankings of {split} has {len(found):,} rows, masks says {len(order):,}"
            continue
        expected = {
            "label": pa.chunked_array([rows.labels[order]]),
            "spuriosity_rank": pa.chunked_array([rows.spuriosity_ranks[order]]),
            "image_id": rows.ids.take(pa.array(order)),
            "spuriosity": pa.chunked_array([rows.spuriosity[order]]),
        }
        for name, column in expected.items():
            same = pc.equal(found[name], column).to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(~same.astype(np.bool_)):
                yield f"row {row:,} of rankings, {split}, has another {name} than masks says"


def pairs_are_the_votes(data: DataSet) -> Iterator[str]:
    """Yield rows of the config features that contradict votes, class names or activations."""
    votes = data.read("features", data.splits[0], PAIR_FIELDS)
    for split in data.splits:
        if data.read("features", split, PAIR_FIELDS) != votes:
            yield f"features of {split} has other votes than that of {data.splits[0]}"
            continue
        scores = _rows(data, split).scores
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


def count_rows(data: DataSet, split: str) -> dict[str, Any]:
    """Return the counts that the manifest of a split should state, from its rows alone."""
    labels = data.read("masks", split, ["label"])["label"].to_numpy()
    ranked = data.read("masks", split, ["spuriosity_rank"])["spuriosity_rank"]
    reasons = Counter(_set_aside(data, split)["reason"].to_pylist())
    spurious = data.votes.spurious
    paths = [data.path(name) for name in data.files("masks", split)]
    present, images = np.unique(labels, return_counts=True)
    return {
        "images": len(labels) + reasons.total(),
        "rows": len(labels),
        "set_aside": dict(sorted(reasons.items())),
        "classes": len(present),
        "masks": len(labels) * data.features_per_class,
        "core_masks": int((~spurious)[labels].sum()),
        "spurious_masks": int(spurious[labels].sum()),
        "ranked_classes": int(spurious[present].any(axis=1).sum()),
        "ranked_rows": len(ranked) - ranked.null_count,
        "grid_bytes": column_bytes(paths, "grids"),
        "images_by_label": dict(zip(map(str, present.tolist()), images.tolist(), strict=True)),
        "masks_bytes": sum(path.stat().st_size for path in paths),
    }


def _first_difference(found: Any, expected: Any) -> tuple[Any, Any]:
    """Return two counts, or of two tables of counts the first entries that differ."""
    if not isinstance(expected, dict):
        return found, expected
    table = found if isinstance(found, dict) else {}
    keys = (key for key in {**expected, **table} if table.get(key) != expected.get(key))
    key = next(keys, None)
    return f"{key}: {table.get(key)}", f"{key}: {expected.get(key)}"


class _Rows(NamedTuple):
    """The numbers of a split's rows, and the scores that follow from its activations."""

    ids: pa.ChunkedArray
    labels: npt.NDArray[np.int64]
    id_order: npt.NDArray[np.int64]
    activation_ranks: npt.NDArray[np.int32]
    spuriosity: npt.NDArray[np.float64]
    spuriosity_ranks: npt.NDArray[np.int32]
    scores: Scores


def _rows(data: DataSet, split: str) -> _Rows:
    columns = ["image_id", "label", "activations", "activation_ranks"]
    table = data.read("masks", split, [*columns, "spuriosity", "spuriosity_rank"])
    labels = table["label"].to_numpy()
    id_order = pc.rank(table["image_id"], tiebreaker="first").to_numpy().astype(np.int64)
    return _Rows(
        ids=table["image_id"],
        labels=labels,
        id_order=id_order,
        activation_ranks=matrix(table["activation_ranks"]),
        spuriosity=pc.fill_null(table["spuriosity"], np.nan).to_numpy(),
        spuriosity_ranks=pc.fill_null(table["spuriosity_rank"], NO_RANK).to_numpy(),
        scores=score(labels, id_order, matrix(table["activations"]), data.votes.spurious),
    )


def _spuriosity_ranks(rows: _Rows) -> npt.NDArray[np.int32]:
    """Rank the published spuriosity, to the last bit of which ties are told from others."""
    ranks = np.full(len(rows.labels), NO_RANK, np.int32)
    order = np.lexsort((rows.id_order, -rows.spuriosity, rows.labels))
    order = order[~np.isnan(rows.spuriosity[order])]
    _, starts, counts = np.unique(rows.labels[order], return_index=True, return_counts=True)
    ranks[order] = np.arange(len(order)) - np.repeat(starts, counts)
    return ranks


def _close(
    found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    return np.isclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _set_aside(data: DataSet, split: str) -> pa.Table:
    if SET_ASIDE_FILE not in data.manifest.files:
        return SET_ASIDE_SCHEMA.empty_table()
    with data.parquet(SET_ASIDE_FILE) as file:
        table = file.read()
    return table.filter(pc.equal(table["split"], split))
