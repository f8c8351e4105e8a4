"""The metadata held against mlcroissant, which reads the records that it describes."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

import mlcroissant
import pytest
from datasets import load_dataset

CONFIGS = ("masks", "rankings", "features", "preview", "contents")


@pytest.fixture(scope="module")
def croissant(planted: Path) -> Any:
    return mlcroissant.Dataset(str(planted / "croissant.json"))


def test_it_is_valid(croissant: Any) -> None:
    issues = croissant.metadata.ctx.issues
    assert not issues.errors
    # No date, so that the same inputs give the same bytes.
    assert [warning for warning in issues.warnings if "datePublished" not in warning] == []


def test_the_fields_of_responsible_ai_are_there(croissant: Any) -> None:
    metadata = croissant.metadata
    for name in (
        "data_collection",
        "data_collection_type",
        "data_collection_missing_data",
        "data_preprocessing_protocol",
        "data_annotation_protocol",
        "data_annotation_platform",
        "annotations_per_item",
        "machine_annotation_tools",
        "data_use_cases",
        "data_limitations",
        "data_biases",
        "data_social_impact",
        "personal_sensitive_information",
        "data_release_maintenance_plan",
    ):
        assert getattr(metadata, name), name
    assert metadata.annotations_per_item == "5 votes on each class-feature pair"
    assert "0 of 51 images could not be used" in metadata.data_collection_missing_data
    assert "1 of 3 classes have no core feature, 1 no spurious one." in metadata.data_limitations


@pytest.mark.parametrize("config", CONFIGS)
def test_its_records_are_the_rows(croissant: Any, planted: Path, config: str) -> None:
    rows = [
        row
        for split in ("train", "validation")
        for row in load_dataset(str(planted), config, split=split, streaming=True)
    ]
    records = list(croissant.records(config))
    assert len(records) == len(rows)
    for record, row in islice(zip(records, rows, strict=True), 5):
        assert {name.removeprefix(f"{config}/") for name in record} == row.keys()
        for name in row.keys() & {"label", "width", "spuriosity", "activation_mean", "rank"}:
            assert record[f"{config}/{name}"] == pytest.approx(row[name], nan_ok=True)
        for name in row.keys() & {"image_id", "wnid"}:
            assert record[f"{config}/{name}"].decode() == row[name]


def test_it_names_every_parquet_file_with_its_hash(planted: Path) -> None:
    content = json.loads((planted / "croissant.json").read_bytes())
    files = {
        file["contentUrl"]: file["sha256"]
        for file in content["distribution"]
        if file["@type"] == "cr:FileObject"
    }
    assert files == {
        path.relative_to(planted).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in planted.glob("*/*.parquet")
    }
