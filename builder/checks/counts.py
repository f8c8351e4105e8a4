"""Counts, ids, contents and order: what all rows of a split come to, whatever their numbers are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from builder.dataset.configs import CONTENTS
from builder.dataset.counts import LATER, Counts
from builder.dataset.dataset import DataSet
from builder.dataset.layout import SET_ASIDE_FILE, SET_ASIDE_SCHEMA, order_keys
from builder.storage.parquet import column_bytes


def counts_are_right(data: DataSet) -> Iterator[str]:
    """Yield counts of the manifest that the rows do not bear out."""
    for split in data.splits:
        stated = data.manifest.splits[split]["counts"]
        for name, count in asdict(count_rows(data, split)).items():
            if name in LATER and name not in stated:
                continue
            found, other = _first_difference(stated.get(name), count)
            if found != other:
                yield f"{name} of {split} is {found} in the manifest, {other} in fact"


def ids_are_unique(data: DataSet) -> Iterator[str]:
    """Yield image ids that come twice, over all splits and what was set aside.

    Ids that have their folder, which ImageNet did not give, may be the same in each split.
    """
    rows = {split: data.read("masks", split, ["image_id"])["image_id"] for split in data.splits}
    given = [ids.filter(pc.invert(pc.match_substring(ids, "/"))) for ids in rows.values()]
    yield from _twice(
        pa.chunked_array([chunk for ids in given for chunk in ids.chunks], pa.string())
    )
    for ids in rows.values():
        yield from _twice(ids.filter(pc.match_substring(ids, "/")))
    for split, ids in rows.items():
        aside = _set_aside(data, split)["image_id"]
        for name in aside.filter(pc.is_in(aside, ids)).unique().to_pylist():
            yield f"{name} ({split}) has a row and is set aside as well"


def _twice(every: pa.ChunkedArray) -> Iterator[str]:
    # Sorted, for which less is in memory than for a table of all ids.
    ordered = every.take(pc.sort_indices(every))
    twice = ordered[1:].filter(pc.equal(ordered[1:], ordered[:-1]))
    for name in every.filter(pc.is_in(every, twice)).unique().to_pylist():
        yield f"{name} has several rows"


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


def contents_are_of_the_rows(data: DataSet) -> Iterator[str]:
    """Yield rows of the config contents that are not those of masks, or tell nothing of a file."""
    for split in data.splits_of(CONTENTS):
        contents = data.read(CONTENTS, split)
        if contents["image_id"] != data.read("masks", split, ["image_id"])["image_id"]:
            yield f"contents of {split} has other rows than masks"
        is_digest = pc.match_substring_regex(contents["content"], "^[0-9a-f]{16}$")
        tells = pc.and_(is_digest, pc.greater(contents["bytes"], 0))
        for name in contents["image_id"].filter(pc.invert(tells)).to_pylist():
            yield f"contents of {name} ({split}) tells no hash of a file"


def count_rows(data: DataSet, split: str) -> Counts:
    """Return the counts that the manifest of a split should state, from its rows alone."""
    labels = data.read("masks", split, ["label"])["label"].to_numpy()
    predicted = data.read("masks", split, ["predicted"])["predicted"].to_numpy()
    ranked = data.read("masks", split, ["spuriosity_rank"])["spuriosity_rank"]
    reasons = Counter(_set_aside(data, split)["reason"].to_pylist())
    spurious = data.votes.spurious
    paths = [data.path(name) for name in data.files("masks", split)]
    present, images = np.unique(labels, return_counts=True)
    return Counts(
        images=len(labels) + reasons.total(),
        rows=len(labels),
        set_aside=dict(sorted(reasons.items())),
        classes=len(present),
        masks=len(labels) * data.features_per_class,
        core_masks=int((~spurious)[labels].sum()),
        spurious_masks=int(spurious[labels].sum()),
        ranked_classes=int(spurious[present].any(axis=1).sum()),
        ranked_rows=len(ranked) - ranked.null_count,
        grid_bytes=column_bytes(paths, "grids"),
        images_by_label=dict(zip(map(str, present.tolist()), images.tolist(), strict=True)),
        masks_bytes=sum(path.stat().st_size for path in paths),
        predicted_as_labelled=int((predicted == labels).sum()),
    )


def _first_difference(found: Any, expected: Any) -> tuple[Any, Any]:
    """Return two counts, or of two tables of counts the first entries that differ."""
    if not isinstance(expected, dict):
        return found, expected
    table = found if isinstance(found, dict) else {}
    keys = (key for key in {**expected, **table} if table.get(key) != expected.get(key))
    key = next(keys, None)
    return f"{key}: {table.get(key)}", f"{key}: {expected.get(key)}"


def _set_aside(data: DataSet, split: str) -> pa.Table:
    if SET_ASIDE_FILE not in data.manifest.files:
        return SET_ASIDE_SCHEMA.empty_table()
    with data.parquet(SET_ASIDE_FILE) as file:
        table = file.read()
    return table.filter(pc.equal(table["split"], split))
