"""What is written of subgroups: memberships and components as Parquet, a card, numbers, a page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Features, Sequence, Value

from builder.dataset.format import parquet_schema
from builder.dataset.layout import CARD_FILE, file_name, file_pattern
from builder.dataset.memberships import MEMBERSHIPS, membership_features
from builder.storage.card import Table, card_header
from builder.storage.files import atomic_write
from builder.storage.objects import saved_object
from builder.storage.parquet import fixed_lists, write_parquet
from builder.subgroups.names import first_that_tells
from builder.subgroups.report import Component, DividedClass, Report

COMPONENTS = "components"
PAGE_FILE = "report.html"
REPORT_FILE = "report.json"


def component_features(names: list[str]) -> Features:
    """Return the columns of the config ``components``, a row per subgroup."""
    return Features(
        {
            "label": ClassLabel(names=names),
            "subgroup": Value("int32"),
            "images": Value("int32"),
            "accuracy": Value("float64"),
            "accuracy_low": Value("float64"),
            "accuracy_high": Value("float64"),
            "loss": Value("float64"),
            "feature": Value("int32"),
            "kind": Value("string"),
            "correlation": Value("float64"),
            "high_words": Sequence(Value("string")),
            "low_words": Sequence(Value("string")),
            "direction": Sequence(Value("float32")),
        }
    )


def read_summary(out: Path) -> dict[str, Any] | None:
    """Return the numbers of a finished report, None where there is none."""
    return saved_object(out / REPORT_FILE) if (out / PAGE_FILE).exists() else None


def write_report(out: Path, split: str, report: Report, page: str) -> None:
    """Write everything; the page comes last, and tells that all else is there."""
    names = list(report.names)
    schema = parquet_schema(membership_features(names, report.subgroups))
    write_parquet(out / file_name(MEMBERSHIPS, split), schema, _memberships(report, schema))
    schema = parquet_schema(component_features(names))
    rows = [row for own in report.classes for row in _components(own)]
    write_parquet(out / file_name(COMPONENTS, split), schema, [pa.Table.from_pylist(rows, schema)])
    texts = {
        CARD_FILE: _card(out, split, report),
        REPORT_FILE: json.dumps(report.summary(), indent=2) + "\n",
        PAGE_FILE: page,
    }
    for name, text in texts.items():
        with atomic_write(out / name) as file:
            file.write(text.encode())


def _memberships(report: Report, schema: pa.Schema) -> Iterator[pa.Table]:
    for own in report.classes:
        division = own.division
        found = division.decomposition
        columns = {
            "image_id": division.image_ids,
            "label": np.full(len(division.image_ids), division.label),
            "subgroup": found.subgroups,
            "memberships": fixed_lists(found.memberships.astype(np.float32)),
            "scores": fixed_lists(found.scores.astype(np.float32)),
            "loss": division.losses,
            "right": division.right,
        }
        yield pa.table(columns).cast(schema)


def _components(own: DividedClass) -> Iterator[dict[str, Any]]:
    directions = own.division.decomposition.directions
    for group, (subgroup, component) in enumerate(
        zip(own.division.subgroups, own.components, strict=True)
    ):
        accuracy = subgroup.accuracy
        yield {
            "label": own.division.label,
            "subgroup": group,
            "images": accuracy.images,
            "accuracy": _known(accuracy.value),
            "accuracy_low": _known(accuracy.low),
            "accuracy_high": _known(accuracy.high),
            "loss": _known(subgroup.loss),
            **_name(component, len(own.division.image_ids)),
            "high_words": [word.word for word in component.high_words],
            "low_words": [word.word for word in component.low_words],
            "direction": None if directions is None else directions[group].tolist(),
        }


def _name(component: Component, images: int) -> dict[str, Any]:
    """Return the feature that names a subgroup; nulls where none goes with it."""
    named = first_that_tells(component.features, images)
    return {
        "feature": named and named.pair.feature,
        "kind": named and named.pair.kind,
        "correlation": named and named.correlation,
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _card(out: Path, split: str, report: Report) -> str:
    """Return a card by which `load_dataset` finds both tables."""
    tables = [
        Table(name, split, out / file_name(name, split), file_pattern(name, split))
        for name in (MEMBERSHIPS, COMPONENTS)
    ]
    return card_header(tables) + _CARD.format(
        subgroups=report.subgroups, method=report.made_from["method"], split=split
    )


_CARD = """
# Subgroups

Each class of a build of Salient ImageNet-1M in {subgroups} subgroups, found by {method} on the
split {split}. The first of a class, 0, is the one on which the model is least often right. All is
told in `report.html`, what it depends on in `subgroups.json`.
"""
