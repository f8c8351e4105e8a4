"""Predictions: what each model said of each image, under each condition and draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder.dataset.scores import NO_RANK
from builder.evaluate.conditions import CLEAN
from builder.evaluate.measures import Floats, Outcomes, Places
from builder.storage.parquet import damage_as_sentence, read_parquet, write_parquet

PREDICTIONS_FILE = "predictions/predictions.parquet"


def schema_with(**own: pa.DataType) -> pa.Schema:
    """Return the columns of predictions, with those that are a suite's own.

    A row per model, condition, draw and image; `probability` is that of the true class.
    """
    return pa.schema(
        {
            "model": pa.string(),
            "condition": pa.string(),
            "draw": pa.int8(),
            "image_id": pa.string(),
            "label": pa.int32(),
            **own,
            "predicted": pa.int32(),
            "probability": pa.float32(),
        }
    )


SCHEMA = schema_with(spuriosity_rank=pa.int32())
"""`spuriosity_rank` is null where the class has none."""

_ROW_GROUP = 2**16

_ORDER = ("model", "condition", "draw", "image_id")


def in_order(tables: Sequence[pa.Table], models: Sequence[str]) -> pa.Table:
    """Return predictions in an order that does not depend on who made them, nor when."""
    table = pa.concat_tables(tables)
    place = pc.index_in(table["model"], pa.array(models))
    order = pc.sort_indices(
        table.set_column(0, "model", place), [(name, "ascending") for name in _ORDER]
    )
    return table.take(order)


def write_predictions(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write predictions, whole or not at all; few tables are in memory at a time."""
    write_parquet(path, schema, tables, _ROW_GROUP)


def merge_predictions(
    paths: Sequence[Path], target: Path, schema: pa.Schema, models: Sequence[str]
) -> None:
    """Write the predictions of several files as one, in order; in memory are those of a model."""

    def of(model: str) -> pa.Table:
        return in_order([read_predictions(path, model) for path in paths], [model])

    write_predictions(target, schema, map(of, models))


def read_predictions(
    path: Path, model: str | None = None, condition: str | None = None
) -> pa.Table:
    """Read predictions, those of all models or of one, under all conditions or one.

    Raises
    ------
    BuildError
        If the file is damaged.
    """
    asked = {"model": model, "condition": condition}
    filters = [(name, "==", value) for name, value in asked.items() if value is not None]
    with damage_as_sentence(path):
        return pq.read_table(path, filters=filters or None)


def of_model(table: pa.Table, model: str) -> pa.Table:
    """Return the predictions of one model."""
    return table.filter(pc.equal(table["model"], model))


def count_images(path: Path, models: Sequence[str]) -> int:
    """Return how many images a file has predictions of, by all models.

    Raises
    ------
    BuildError
        If the file is damaged.
    """
    with damage_as_sentence(path):
        conditions = read_parquet(path, ["condition"])["condition"]
    return int(pc.sum(pc.equal(conditions, CLEAN)).as_py() or 0) // len(models)


def outcomes_of(own: pa.Table) -> Outcomes:
    """Return how often a model was right on each image, of its predictions."""
    first, right = right_of(own)
    labels = own["label"].to_numpy()[first]
    ranks = own["spuriosity_rank"].fill_null(NO_RANK).to_numpy()[first]
    return Outcomes(labels.astype(np.int64), ranks.astype(np.int64), right)


def right_of(own: pa.Table) -> tuple[Places, dict[str, Floats]]:
    """Return the row that each image is first in, by image id, and how often a model was right.

    The latter by condition: the share of draws, NaN where the image is not shown under it.
    """
    ids = pc.unique(own["image_id"]).sort()
    first = pc.index_in(ids, own["image_id"].combine_chunks()).to_numpy().astype(np.int64)
    right = {}
    for condition in pc.unique(own["condition"]).to_pylist():
        part = own.filter(pc.equal(own["condition"], condition))
        places = pc.index_in(part["image_id"], ids).to_numpy()
        hits = (part["predicted"].to_numpy() == part["label"].to_numpy()).astype(np.float64)
        counts = np.bincount(places, minlength=len(ids))
        with np.errstate(invalid="ignore"):
            right[condition] = np.bincount(places, hits, minlength=len(ids)) / counts
    return first, right
