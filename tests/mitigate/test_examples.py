"""Crops: the mask is that of the crop, and all chance comes from the seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import salient_imagenet_1m as si
from builder.errors import BuildError
from builder.evaluate.classifier import View
from builder.evaluate.regions import dilate
from builder.mitigate.examples import Crops, Examples, collate, open_examples
from builder.mitigate.order import Place
from salient_imagenet_1m import SalientImageNetError
from tests.mitigate.conftest import Options

WIDTH, HEIGHT, SIDE = 240, 200, 96


@pytest.fixture
def example() -> dict[str, Any]:
    """Return an example whose image shows its own mask."""
    grids = np.zeros((1, 7, 7), np.uint8)
    grids[0, 2:4, 1:3] = 255
    mask = si.SoftMask(grids, si._Target(WIDTH, HEIGHT))
    image = PIL.Image.fromarray(np.repeat(mask.numpy()[..., None], 3, 2))
    masks = {"core_mask": mask, "spurious_mask": mask}
    return {"image": image, "label": 1, "image_id": "a", "width": WIDTH, "height": HEIGHT, **masks}


@pytest.mark.parametrize("augment", [None, "rand-m5-n1"])
def test_the_mask_is_that_of_the_crop(
    options: Options, example: dict[str, Any], augment: str | None
) -> None:
    settings = options(region="spurious", augment=augment, smallest_crop=0.3)
    crops = Crops(settings, View(SIDE))
    compared = 0
    for seed in range(8):
        seen = crops(example, seed)
        assert seen.image.shape == (SIDE, SIDE, 3)
        assert seen.core_mask.shape == (1, SIDE, SIDE)
        if not augment and seen.core_mask.any():
            shown = 255 - seen.image[..., 0].int()
            assert (shown - seen.core_mask[0].int()).abs().float().mean() < 3
            compared += 1
        again = crops(example, seed)
        assert torch.equal(seen.image, again.image)
        assert torch.equal(seen.core_mask, again.core_mask)
        assert torch.equal(seen.chances, again.chances)
    assert augment or compared > 4


def test_core_masks_are_dilated_as_far_as_evaluate_dilates_them(
    options: Options, example: dict[str, Any]
) -> None:
    plain = Crops(options(method="noise", region="spurious"), View(224))(example, 3)
    grown = Crops(options(method="noise"), View(224))(example, 3)
    expected = dilate(255 - plain.core_mask[0].numpy(), 15)
    assert np.array_equal(grown.core_mask[0].numpy(), expected)


def test_masks_are_as_large_as_the_method_needs(options: Options, example: dict[str, Any]) -> None:
    sizes = {"erm": 0, "noise": SIDE, "saliency+cam": SIDE, "cam": SIDE // 4}
    for method, size in sizes.items():
        seen = Crops(options(method=method), View(SIDE))(example, 0)
        assert seen.core_mask.shape == (1, size, size)


def test_no_mask_is_a_mask_of_zeros(options: Options, example: dict[str, Any]) -> None:
    for region in ("core", "spurious"):
        crops = Crops(options(region=region), View(SIDE))
        seen = crops({**example, f"{region}_mask": None}, 0)
        assert seen.core_mask.shape == (1, SIDE, SIDE)
        assert not seen.core_mask.any()


def test_a_class_without_a_core_mask_may_have_its_spurious_mask_count(
    options: Options, example: dict[str, Any]
) -> None:
    either = Crops(options(region="either"), View(SIDE))
    for missing, region in ((None, "core"), ("core", "spurious")):
        shown = {**example, f"{missing}_mask": None}
        expected = Crops(options(region=region), View(SIDE))(shown, 3).core_mask
        assert expected.any()
        assert torch.equal(either(shown, 3).core_mask, expected)


def test_an_augmentation_that_masks_cannot_follow_is_a_sentence(
    options: Options, example: dict[str, Any]
) -> None:
    for name in ("augmix-m3", "nonsense"):
        with pytest.raises(BuildError, match=f"no augmentation {name} that masks can follow"):
            Crops(options(augment=name), View(SIDE))(example, 0)


def test_masks_of_whole_images_reach_beyond_the_crop(
    options: Options, planted: Path, planted_whole: Path
) -> None:
    settings = options(method="noise", smallest_crop=1.0)
    whole = replace(settings, data=str(planted_whole), extent="image")
    batches = [
        collate([examples[Place(0, place)] for place in range(36)])
        for examples in (open_examples(each, View(SIDE)) for each in (settings, whole))
    ]
    cropped, wider = (batch.core_masks[..., ::95, ::95].float().mean() for batch in batches)
    assert wider > 3 * cropped  # in the corners of what is seen
    assert batches[0].image_ids == batches[1].image_ids
    with pytest.raises(SalientImageNetError, match="build it with --whole-image"):
        open_examples(replace(settings, extent="image"), View(SIDE))


def test_examples_of_the_loader_are_collated(options: Options) -> None:
    examples = open_examples(options(), View(SIDE))
    assert isinstance(examples, Examples)
    assert len(examples) == 36
    batch = collate([examples[Place(0, place)] for place in range(36)])
    assert batch.images.shape == (36, SIDE, SIDE, 3)
    assert batch.images.dtype == batch.core_masks.dtype == torch.uint8
    assert sorted(batch.labels.tolist()) == [0] * 12 + [1] * 12 + [2] * 12
    with_mask = batch.core_masks.flatten(1).any(1)
    assert not with_mask[batch.labels == 1].any()  # whose features are all spurious
    assert with_mask[batch.labels != 1].float().mean() > 0.5
    assert not torch.equal(examples[Place(1, 0)].image, examples[Place(0, 0)].image)
