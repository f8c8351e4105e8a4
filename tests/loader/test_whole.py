"""Masks of whole images: their geometry, in every way of reading them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import salient_imagenet_1m as si
from tests.conftest import World
from tests.loader.test_render import close, reference

STRIDE, LONGEST = 32, 640
OPTIONS: dict[str, Any] = {"split": "validation", "streaming": True}


@pytest.fixture
def images(planted_world: World) -> str:
    return str(planted_world.root)


@pytest.fixture(scope="module")
def rows(planted_whole: Path) -> dict[str, dict[str, Any]]:
    stored = si.load(planted_whole, "whole", **OPTIONS)
    return {row["image_id"]: row for row in stored}


def grids_of(row: dict[str, Any], kind: str) -> np.ndarray[Any, Any]:
    grids = si.unpack_grids(row["grids"], row["grid_height"], row["grid_width"])
    return grids[[own == kind for own in row["kinds"]]]


def test_masks_are_the_reference_s_to_the_edges(
    planted_whole: Path, images: str, rows: dict[str, dict[str, Any]]
) -> None:
    for example in si.load(planted_whole, images=images, extent="image", **OPTIONS).take(5):
        row = rows[example["image_id"]]
        assert example["peaks"] == row["peaks"]
        whole = (0, 0, row["width"], row["height"])
        box = si.whole_box(row["width"], row["height"], STRIDE, LONGEST)
        for kind in si.KINDS:
            mask, grids = example[f"{kind}_mask"], grids_of(row, kind)
            if mask is None:
                assert not len(grids)
                continue
            assert mask.box == box
            close(np.asarray(mask), reference(grids, whole, mask.size[::-1], box))
            assert np.array_equal(si.render(example, kind), np.asarray(mask))


def test_numbers_are_those_of_the_crop_and_rows_the_same_in_each_way(
    planted_whole: Path, images: str, tmp_path: Path
) -> None:
    crops = list(si.load(planted_whole, images=images, **OPTIONS))
    whole = list(si.load(planted_whole, images=images, extent="image", **OPTIONS))
    mine = datasets.load_dataset("imagefolder", data_files=f"{images}/val/**", split="train")
    ways = [
        si.load(planted_whole, images=images, extent="image", split="val", cache_dir=tmp_path),
        si.join(mine, planted_whole, split="val", extent="image", cache_dir=tmp_path),
        si.join(mine.to_iterable_dataset(), planted_whole, split="val", extent="image"),
    ]
    others = [{row["image_id"]: row for row in way} for way in ways]
    for crop, row in zip(crops, whole, strict=True):
        for name in ("image_id", "label", "activations", "spuriosity", "activation_ranks"):
            assert row[name] == crop[name]
        assert row["grids"] != crop["grids"]
        for other in others:
            same = other[row["image_id"]]
            for kind in si.KINDS:
                pair = row[f"{kind}_mask"], same[f"{kind}_mask"]
                assert (pair[0] is None) == (pair[1] is None)
                assert pair[0] is None or np.array_equal(np.asarray(pair[0]), np.asarray(pair[1]))


@pytest.mark.parametrize("kind", si.KINDS)
def test_a_batch_of_unlike_grids_is_rendered_later(
    planted_whole: Path, images: str, kind: str
) -> None:
    """On the device, and as numpy does it, to the same pixels as masks handed out."""
    options = {**OPTIONS, "images": images, "extent": "image", "format": "torch"}
    given, later = (
        list(
            si.load(
                planted_whole,
                transform=si.RandomResizedCrop(40, seed=1),
                render=render,
                **options,
            )
        )
        for render in (True, False)
    )
    assert len({example["grids"].shape for example in later}) > 2
    batch = si.collate(later)
    expected = torch.cat([example[f"{kind}_mask"] for example in given])
    difference = (si.render(batch, kind, size=40).int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.001
    rows = {name: np.asarray(values) for name, values in batch.items() if name != "image"}
    assert np.array_equal(si.render(rows, kind, size=40), expected.numpy())


def test_workers_collate_them(planted_whole: Path, images: str) -> None:
    options = {**OPTIONS, "images": images, "extent": "image", "format": "torch"}
    later = si.load(planted_whole, transform=si.CenterCrop(64), render=False, **options)
    loader = DataLoader(later, 15, num_workers=1, collate_fn=si.collate)
    there, here = next(iter(loader)), si.collate(list(later))
    assert torch.equal(there["grids"], here["grids"])
    assert torch.equal(there["box"], here["box"])


def test_rows_as_they_are_stored_are_rendered_together(rows: dict[str, dict[str, Any]]) -> None:
    some = list(rows.values())[:6]
    batch = {name: [row[name] for row in some] for name in some[0]}
    masks = si.render(batch, "core", size=(30, 20))
    for row, mask in zip(some, masks, strict=True):
        assert np.array_equal(mask, si.render(row, "core", size=(30, 20)))


def test_transforms_cut_them(planted_whole: Path, images: str) -> None:
    for transform in (si.RandomResizedCrop(32, seed=0), si.CenterCrop(200, 256)):
        dataset = si.load(
            planted_whole, images=images, extent="image", transform=transform, **OPTIONS
        )
        for example in dataset.take(4):
            for kind in si.KINDS:
                if example[f"{kind}_mask"] is not None:
                    cut = si.render(example, kind, size=transform.size)
                    assert np.array_equal(np.asarray(example[f"{kind}_mask"]), cut)
    pipeline = si.V2(v2.Compose([v2.Resize((50, 60))]))
    example = next(
        iter(si.load(planted_whole, images=images, extent="image", transform=pipeline, **OPTIONS))
    )
    assert example["core_mask"].shape == (1, 50, 60)


def test_masks_outlast_map_and_disk(planted_whole: Path, images: str, tmp_path: Path) -> None:
    dataset = si.load(
        planted_whole, images=images, extent="image", split="val", cache_dir=tmp_path / "cache"
    )
    mapped = dataset.map(lambda example: {"core_mask": example["core_mask"]})
    mapped.save_to_disk(tmp_path / "saved")
    again = datasets.load_from_disk(tmp_path / "saved")
    both = zip(again["core_mask"], dataset["core_mask"], strict=True)
    pairs = [pair for pair in both if None not in pair]
    assert len(pairs) == 10
    assert all(np.array_equal(*pair) and pair[0].box == pair[1].box for pair in pairs)


def test_what_cannot_be_is_a_sentence(
    planted: Path, planted_whole: Path, images: str, tmp_path: Path
) -> None:
    with pytest.raises(si.SalientImageNetError, match="no masks of whole images of the split val"):
        si.load(planted, images=images, extent="image", **OPTIONS)
    with pytest.raises(si.SalientImageNetError, match="geometry upstream is that of crops"):
        si.load(planted_whole, images=images, extent="image", geometry="upstream", **OPTIONS)
    with pytest.raises(si.SalientImageNetError, match="say images=, or load the config whole"):
        si.load(planted_whole, extent="image", **OPTIONS)
    with pytest.raises(si.SalientImageNetError, match="There is no extent 'all': use crop or ima"):
        si.load(planted_whole, images=images, extent="all", **OPTIONS)  # type: ignore[arg-type]
    broken = shutil.copytree(planted_whole, tmp_path / "broken")
    (path,) = (broken / "whole").glob("validation-*")
    table = pq.read_table(path)
    pq.write_table(table.take(list(range(len(table)))[::-1]), path)
    with pytest.raises(si.SalientImageNetError, match="has other rows than"):
        list(si.load(broken, images=images, extent="image", **OPTIONS))
