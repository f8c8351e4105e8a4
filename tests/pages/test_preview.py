from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

import salient_imagenet_1m as si
from builder.dataset.dataset import DataSet
from builder.dataset.manifest import Manifest
from builder.pages import preview
from builder.pages.preview import preview_rows, spread
from tests.conftest import CLASSES


def open_data(directory: Path) -> DataSet:
    manifest = Manifest.load(directory)
    assert manifest
    return DataSet(manifest, directory)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_its_masks_are_those_that_the_loader_renders(planted: Path, split: str) -> None:
    masks = {row["image_id"]: row for row in load_dataset(str(planted), "masks", split=split)}
    rows = list(load_dataset(str(planted), "preview", split=split))
    assert len(rows) == len(masks)
    for row in rows:
        source = masks[row["image_id"]]
        window = si.crop_box(source["width"], source["height"])
        for kind in si.KINDS:
            picture = row[f"{kind}_mask"]
            assert (picture is None) == (kind not in source["kinds"])
            if picture is not None:
                assert (picture.mode, picture.size) == ("L", (224, 224))
                rendered = si.render(source, kind, size=224, window=window)
                # The loader takes rows and columns in two steps, and may round the other way.
                assert np.abs(np.asarray(picture).astype(int) - rendered).max() <= 1
        for name in ("label", "predicted", "kinds", "activations", "spuriosity_rank"):
            assert row[name] == source[name]


def test_masks_of_whole_images_are_those_that_the_loader_renders(planted_whole: Path) -> None:
    stored = load_dataset(str(planted_whole), "whole", split="validation")
    masks = {row["image_id"]: row for row in stored}
    rows = list(load_dataset(str(planted_whole), "preview_whole", split="validation"))
    assert [row["image_id"] for row in rows] == list(masks)
    for row in rows:
        source = masks[row["image_id"]]
        assert (row["label"], row["kinds"]) == (source["label"], source["kinds"])
        size = si.whole_size(source["width"], source["height"], 640)
        for kind in si.KINDS:
            picture = row[f"{kind}_mask"]
            assert (picture is None) == (kind not in source["kinds"])
            if picture is not None:
                assert (picture.mode, picture.size) == ("L", size)
                rendered = si.render(source, kind, size=size[::-1])
                assert np.abs(np.asarray(picture).astype(int) - rendered).max() <= 1


def test_row_groups_are_pages_of_the_viewer(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "_ROW_GROUP", 10)
    preview.write_preview(open_data(planted), "train", tmp_path)
    file = pq.ParquetFile(tmp_path / "preview" / "train-00000-of-00001.parquet")
    groups = range(file.metadata.num_row_groups)
    assert [file.metadata.row_group(group).num_rows for group in groups] == [10, 10, 10, 6]


def test_it_has_a_few_rows_of_every_class(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_data(planted)
    published = data.read("masks", "train", ["image_id"])["image_id"].to_pylist()
    monkeypatch.setattr(preview, "SMALLEST_PREVIEW", 7)
    rows = preview_rows(data, "train")
    assert sorted(np.bincount(rows["label"].to_numpy())) == [2, 2, 3]
    ids = rows["image_id"].to_pylist()
    assert ids == sorted(ids, key=published.index)
    monkeypatch.setattr(preview, "SMALLEST_PREVIEW", 1)
    assert sorted(preview_rows(data, "train")["label"].to_pylist()) == list(range(len(CLASSES)))
    monkeypatch.setattr(preview, "LARGEST_PREVIEW", 2)
    assert len(preview_rows(data, "train")) == 2


def test_spread_takes_the_first_of_each_class_then_the_second() -> None:
    labels = np.array([2, 2, 2, 0, 2, 1, 0, 2])
    assert spread(labels, 3).tolist() == [0, 3, 5]
    assert spread(labels, 5).tolist() == [0, 1, 3, 5, 6]
    assert spread(labels, 100).tolist() == list(range(8))
