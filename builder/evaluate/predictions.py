"""Predictions: what each model said of each image, under each condition and draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from builder.dataset.scores import NO_RANK
from builder.evaluate.measures import Outcomes
from builder.storage.parquet import write_parquet

SCHEMA = pa.schema(
    {
        "model": pa.string(),
        "condition": pa.string(),
        "draw": pa.int8(),
        "image_id": pa.string(),
        "label": pa.int32(),
        "spuriosity_rank": pa.int32(),
        "predicted": pa.int32(),
        "probability": pa.float32(),
    }
)
"""A row per model, condition, draw and image; `probability` is that of the true class, and
`spuriosity_rank` null where the class has none."""

_ORDER = ("model", "condition", "draw", "image_id")


def in_order(tables: Sequence[pa.Table], models: Sequence[str]) -> pa.Table:
    """Return predictions in an order that does not depend on who made them, nor when."""
    table = pa.concat_tables(tables)
    place = pc.index_in(table["model"], pa.array(models))
    order = pc.sort_indices(
        table.set_column(0, "model", place), [(name, "ascending") for name in _ORDER]
    )
    return table.take(order)


def write_predictions(path: Path, table: pa.Table) -> None:
    """Write predictions, whole or not at all."""
    write_parquet(path, SCHEMA, [table.cast(SCHEMA)])


def outcomes_of(table: pa.Table, model: str) -> Outcomes:
    """Return how often a model was right on each image."""
    own = table.filter(pc.equal(table["model"], model))
    ids = pc.unique(own["image_id"]).sort()
    first = pc.index_in(ids, own["image_id"].combine_chunks())
    labels = own["label"].to_numpy()[first]
    ranks = own["spuriosity_rank"].fill_null(NO_RANK).to_numpy()[first]
    right = {}
    for condition in pc.unique(own["condition"]).to_pylist():
        part = own.filter(pc.equal(own["condition"], condition))
        places = pc.index_in(part["image_id"], ids).to_numpy()
        hits = (part["predicted"].to_numpy() == part["label"].to_numpy()).astype(np.float64)
        counts = np.bincount(places, minlength=len(ids))
        with np.errstate(invalid="ignore"):
            right[condition] = np.bincount(places, hits, minlength=len(ids)) / counts
    return Outcomes(labels.astype(np.int64), ranks.astype(np.int64), right)
