"""The loader on what the builder makes of the demo's planted world, where the truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import salient_imagenet_1m as si
from builder.dataset.upsampling import upsample
from tests.conftest import PLANTED, World


@pytest.mark.parametrize(
    ("split", "count"), [("train", PLANTED.train), ("validation", PLANTED.val)]
)
def test_every_planted_image_comes_with_its_own_row(
    planted: Path, planted_world: World, split: str, count: int
) -> None:
    dataset = si.load(planted, images=planted_world.root, split=split, streaming=True)
    seen = set()
    for example in dataset:
        seen.add(example["image_id"])
        assert example["image"].size == (example["width"], example["height"])
        wnid = PLANTED.wnids[example["label"]]
        folder = planted_world.root / ("train" if split == "train" else "val") / wnid
        assert (folder / f"{example['image_id']}.JPEG").exists()
    assert len(seen) == count * PLANTED.classes


def test_masks_at_the_network_s_resolution_are_the_grids_upsampled(
    planted: Path, planted_world: World
) -> None:
    dataset = si.load(planted, "masks", split="train", streaming=True)
    for row in dataset.take(5):
        grids = si.unpack_grids(row["grids"], row["grid_height"], row["grid_width"])
        core = np.array([kind == "core" for kind in row["kinds"]])
        if core.any():
            box = si.crop_box(row["width"], row["height"])
            rendered = si.render(row, "core", window=box, size=224)
            expected = upsample(grids[core], 224, 224).max(axis=0)
            assert np.abs(rendered.astype(float) - expected).max() <= 0.5 + 1e-3
