"""Object masks beside the others: through every transform, in streams and in random access."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms import v2

import salient_imagenet_1m as si
from tests.conftest import World

PIL_TYPE = PIL.Image.Image


def load(segmented: Path, planted_world: World, **options: Any) -> Any:
    options = {"split": "train", "streaming": True, "objects": True, **options}
    return si.load(segmented, images=planted_world.root, **options)


@pytest.fixture(scope="module")
def drawn(segmented: Path) -> dict[str, PIL_TYPE]:
    """Return each object mask by image id, as the config has it."""
    rows = si.load(segmented, "segmentations", split="train", streaming=True)
    return {row["image_id"]: row["object_mask"] for row in rows}


def gray(mask: PIL_TYPE) -> np.ndarray[Any, Any]:
    return np.asarray(mask.convert("L"))


def test_each_image_has_its_own(
    segmented: Path, planted_world: World, drawn: dict[str, PIL_TYPE], tmp_path: Path
) -> None:
    streamed = load(segmented, planted_world)
    prepared = load(segmented, planted_world, streaming=False, cache_dir=tmp_path)
    for dataset in (streamed, prepared):
        seen = 0
        for example in dataset:
            assert example["object_mask"].size == example["image"].size
            assert np.array_equal(gray(example["object_mask"]), gray(drawn[example["image_id"]]))
            seen += 1
        assert seen == 36
    assert "object_mask" not in next(iter(load(segmented, planted_world, objects=False)))


@pytest.mark.parametrize("mask_size", [None, 16])
def test_crops_cut_it_like_the_image(
    mask_size: int | None, segmented: Path, planted_world: World, drawn: dict[str, PIL_TYPE]
) -> None:
    size = mask_size or 48
    for crop in (si.RandomResizedCrop(48, seed=0), si.CenterCrop(48, 64)):
        rows = load(segmented, planted_world, transform=crop, mask_size=mask_size)
        for row in rows.take(6):
            mask = drawn[row["image_id"]].convert("L")
            expected = mask.resize((size, size), PIL.Image.Resampling.BILINEAR, row["window"])
            if row["flip"]:
                expected = expected.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
            assert np.array_equal(np.asarray(row["object_mask"]), np.asarray(expected))


@pytest.mark.parametrize("render", [True, False])
def test_tensors_have_it_rendered_or_not(
    render: bool, segmented: Path, planted_world: World
) -> None:
    crop = si.CenterCrop(48, 64)
    pictures = list(load(segmented, planted_world, transform=crop).take(8))
    rows = load(segmented, planted_world, transform=crop, format="torch", render=render)
    batch = next(iter(DataLoader(rows, batch_size=8, collate_fn=si.collate)))
    assert batch["object_mask"].shape == (8, 1, 48, 48)
    for picture, tensor in zip(pictures, batch["object_mask"], strict=True):
        assert np.array_equal(np.asarray(picture["object_mask"]), tensor[0].numpy())
    assert ("core_mask" in batch) == render


def test_pipelines_of_torchvision_move_it_like_an_image(
    segmented: Path, planted_world: World, drawn: dict[str, PIL_TYPE]
) -> None:
    flip = si.V2(v2.Compose([v2.RandomHorizontalFlip(1.0)]))
    for row in load(segmented, planted_world, transform=flip, format="torch").take(4):
        expected = gray(drawn[row["image_id"]])[:, ::-1]
        assert np.array_equal(row["object_mask"][0].numpy(), expected)
    images_alone = si.V2(transforms.RandomHorizontalFlip(1.0))
    for row in load(segmented, planted_world, transform=images_alone, format="torch").take(4):
        expected = gray(drawn[row["image_id"]])[:, ::-1]
        assert np.array_equal(row["object_mask"][0].numpy(), expected)


@pytest.fixture
def without_some(segmented: Path, planted_world: World, tmp_path: Path) -> tuple[Path, set[str]]:
    """Return a build in which one class has no object masks, and the ids of its images."""
    data = shutil.copytree(segmented, tmp_path / "data")
    path = data / "segmentations" / "train-00000-of-00001.parquet"
    rows = pq.read_table(path)
    kept = pc.not_equal(rows["label"], 1)
    pq.write_table(rows.filter(kept), path)
    return data, set(rows.filter(pc.invert(kept))["image_id"].to_pylist())


def test_images_without_one_have_none_or_are_left_out(
    without_some: tuple[Path, set[str]], planted_world: World
) -> None:
    data, bare = without_some
    rows = {row["image_id"]: row for row in load(data, planted_world)}
    assert {name for name, row in rows.items() if row["object_mask"] is None} == bare
    assert len(rows) == 36
    tensors = load(data, planted_world, format="torch", transform=si.CenterCrop(8, 16))
    for row in tensors:
        assert row["object_mask"].any() == (row["image_id"] not in bare)
    select = si.Selection(segmented=True)
    for streaming in (True, False):
        chosen = load(data, planted_world, select=select, streaming=streaming)
        assert {row["image_id"] for row in chosen} == rows.keys() - bare


@pytest.mark.parametrize("streaming", [True, False])
def test_joined_datasets_have_it(
    streaming: bool,
    without_some: tuple[Path, set[str]],
    planted_world: World,
    drawn: dict[str, PIL_TYPE],
    tmp_path: Path,
) -> None:
    data, bare = without_some
    files = f"{planted_world.root}/train/**"
    mine = datasets.load_dataset(
        "imagefolder", data_files=files, split="train", streaming=streaming, cache_dir=tmp_path
    )
    options: dict[str, Any] = {"split": "train", "objects": True, "cache_dir": tmp_path}
    joined = si.join(mine, data, select=si.Selection(segmented=True), **options)
    seen = {row["image_id"]: row["object_mask"] for row in joined}
    assert seen.keys() == drawn.keys() - bare
    for name, mask in seen.items():
        assert np.array_equal(gray(mask), gray(drawn[name]))


def test_resized_copies_have_it_at_their_own_size(
    segmented: Path, planted_world: World, drawn: dict[str, PIL_TYPE], tmp_path: Path
) -> None:
    copies = tmp_path / "copies"
    for path in (planted_world.root / "train").glob("*/*"):
        folder = copies / "train" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        with PIL.Image.open(path) as image:
            image.resize((2 * image.width, 2 * image.height)).save(folder / path.name)
    options: dict[str, Any] = {
        "images": copies,
        "split": "train",
        "streaming": True,
        "objects": True,
        "on_mismatch": "warn",
    }
    for row in si.load(segmented, format="torch", **options).take(3):
        width, height = drawn[row["image_id"]].size
        assert row["object_mask"].shape == (1, 2 * height, 2 * width) == row["core_mask"].shape
    for row in si.load(segmented, transform=si.CenterCrop(64, 64), **options).take(3):
        mask = drawn[row["image_id"]].convert("L")
        expected = mask.resize((64, 64), PIL.Image.Resampling.BILINEAR, row["window"])
        assert np.array_equal(np.asarray(row["object_mask"]), np.asarray(expected))


def test_what_cannot_be_is_a_sentence(planted: Path, segmented: Path, planted_world: World) -> None:
    with pytest.raises(si.SalientImageNetError, match="has no object masks of the split train"):
        load(planted, planted_world)
    with pytest.raises(si.SalientImageNetError, match="objects=True is of masks on images"):
        si.load(segmented, "masks", split="train", objects=True)
    with pytest.raises(si.SalientImageNetError, match="say objects=True"):
        load(segmented, planted_world, objects=False, select=si.Selection(segmented=True))
    with pytest.raises(si.SalientImageNetError, match="objects cannot be 1"):
        load(segmented, planted_world, objects=1)
