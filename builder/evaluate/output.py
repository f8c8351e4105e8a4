"""What an evaluation writes for its readers: scores as Parquet and JSON, and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from builder.evaluate.measures import Score
from builder.evaluate.predictions import PREDICTIONS_FILE
from builder.evaluate.suite import Told
from builder.storage.card import Table, card_header
from builder.storage.files import atomic_write, move_into_place
from builder.storage.parquet import write_parquet

SCORES_SCHEMA = pa.schema(
    {
        "model": pa.string(),
        "measure": pa.string(),
        "label": pa.int32(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)
"""A row per model, measure and class; `label` is null for the mean over classes."""

_SCORES_FILE = "scores/scores.parquet"
_CARD = """
An evaluation by salient-imagenet: `report.html` shows it, `report.json` has its numbers and what it
was made from.
"""


def write_report(
    out: Path, scores: Mapping[str, Sequence[Score]], told: Told, staged: Path
) -> None:
    """Write all that a reader opens: the page comes last.

    Parameters
    ----------
    out : Path
    scores : mapping of str to sequence of Score
        By model.
    told : Told
    staged : Path
        A directory beside `out` or in it, where files are written before they are moved: whoever
        dies here leaves no half of one among what readers see.
    """
    rows = [{"model": model, **asdict(score)} for model, found in scores.items() for score in found]
    table = pa.Table.from_pylist(rows, SCORES_SCHEMA)
    write_parquet(staged / _SCORES_FILE, SCORES_SCHEMA, [table])
    tables = [
        Table("scores", "train", staged / _SCORES_FILE, "scores/*.parquet"),
        Table("predictions", "train", out / PREDICTIONS_FILE, "predictions/*.parquet"),
    ]
    texts = {
        "README.md": card_header(tables) + _CARD,
        "report.json": json.dumps(told.summary, indent=2) + "\n",
        "report.html": told.page,
    }
    for name, text in texts.items():
        with atomic_write(staged / name) as file:
            file.write(text.encode())
    for name in (_SCORES_FILE, *texts):
        move_into_place(staged / name, out / name)
