"""What an evaluation writes for its readers: scores as Parquet and JSON, and a page."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from builder.evaluate.page import make_page
from builder.evaluate.report import Report
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

_CARD = """---
configs:
- config_name: scores
  default: true
  data_files: scores/*.parquet
- config_name: predictions
  data_files: predictions/*.parquet
---

An evaluation by salient-imagenet: `report.html` shows it, `report.json` has its numbers and what it
was made from.
"""


def write_report(out: Path, report: Report, staged: Path) -> None:
    """Write all that a reader opens: the page comes last.

    Parameters
    ----------
    out : Path
    report : Report
    staged : Path
        A directory beside `out` or in it, where files are written before they are moved: whoever
        dies here leaves no half of one among what readers see.
    """
    rows = [
        {"model": model, **asdict(score)}
        for model, scores in report.scores.items()
        for score in scores
    ]
    table = pa.Table.from_pylist(rows, SCORES_SCHEMA)
    write_parquet(staged / "scores" / "scores.parquet", SCORES_SCHEMA, [table])
    texts = {
        "README.md": _CARD,
        "report.json": json.dumps(report.summary(), indent=2) + "\n",
        "report.html": make_page(report),
    }
    for name, text in texts.items():
        with atomic_write(staged / name) as file:
            file.write(text.encode())
    for name in ("scores/scores.parquet", *texts):
        move_into_place(staged / name, out / name)
