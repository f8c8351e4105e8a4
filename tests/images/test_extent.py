"""What the network sees of an image, held against the reference pixel by pixel."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from builder.images.extent import CENTRAL_CROP, WholeImage
from salient_imagenet_1m import whole_box, whole_size
from tests import reference

SIZES = [(500, 375), (375, 500), (256, 256), (61, 47), (1600, 1201), (900, 200), (30, 900), (1, 90)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("stride", "longest"), [(32, 640), (16, 300), (7, 257)])
def test_a_box_holds_the_pixels_of_its_cells(
    size: tuple[int, int], stride: int, longest: int
) -> None:
    """The edges of each cell in the original are those of the pixels that it stands for."""
    rows, columns, scale = reference.whole_cells(*size, stride, longest)
    box = whole_box(*size, stride, longest)
    for cells, low, high, step in (
        (rows, box.top, box.bottom, scale),
        (columns, box.left, box.right, size[0] / whole_size(*size, longest)[0]),
    ):
        for place, pixels in enumerate(cells):
            edges = low + np.array([place, place + 1]) * (high - low) / len(cells)
            assert edges == pytest.approx([pixels[0] * step, (pixels[-1] + 1) * step])


@pytest.mark.parametrize("size", [(50, 37), (37, 50), (256, 256), (90, 20), (3, 90), (1, 90)])
@pytest.mark.parametrize(("stride", "longest"), [(32, 640), (15, 300)])
def test_pixels_are_the_reference_s(size: tuple[int, int], stride: int, longest: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    image = Image.fromarray(noise)
    extent = WholeImage(stride, longest)
    pixels = extent(image)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, reference.whole_pixels(image, stride, longest))
    assert pixels.shape[0] * pixels.shape[1] <= extent.most_pixels
    assert (pixels.shape[0] % stride, pixels.shape[1] % stride) == (0, 0)


def test_a_cell_sees_the_part_of_the_image_that_its_box_says() -> None:
    """Of an image that grows brighter to the right, a cell's mean is the place of its centre."""
    ramp = np.tile(np.linspace(0, 255, 500), (375, 1)).round().astype(np.uint8)
    pixels = WholeImage(32, 640)(Image.fromarray(ramp).convert("RGB"))[..., 0]
    means = pixels.reshape(8, 32, 11, 32).mean(axis=(0, 1, 3))
    box = whole_box(500, 375, 32, 640)
    centres = box.left + (np.arange(11) + 0.5) * (box.right - box.left) / 11
    assert means[1:-1] == pytest.approx((centres[1:-1] - 0.5) * 255 / 499, abs=0.6)


def test_where_receptive_fields_lie_in_their_cells() -> None:
    """Those of patches are the cells; of padded convolutions they centre on a cell's first pixel.

    Where they are not cut off at the border.
    """
    rows, columns, _ = reference.whole_cells(300, 225, 32, 640)
    seen = len(rows) * 32, len(columns) * 32
    patches = torch.nn.Conv2d(3, 1, 32, 32)
    padded = [torch.nn.Conv2d(1 if place else 3, 1, 3, 2, 1) for place in range(5)]
    for layer in (patches, *padded):
        torch.nn.init.constant_(layer.weight, 0.1)
    before = -rows[0][0], -columns[0][0]
    own = reference.receptive_fields(patches, *seen)
    wide = reference.receptive_fields(torch.nn.Sequential(*padded), *seen)
    for i, j in product(range(len(rows)), range(len(columns))):
        axes = zip(own[i][j], wide[i][j], (rows[i], columns[j]), before, strict=True)
        for patch, felt, cell, start in axes:
            assert [place - start for place in patch] == cell
            if len(felt) == 63:
                assert (felt[0] + felt[-1]) / 2 - start == cell[0]
    assert {len(wide[i][j][1]) for i in (0, 4) for j in (0, 1, 9)} == {32, 63}


def test_long_images_are_made_smaller_as_torchvision_does() -> None:
    for width, height in [*SIZES[:-1], (1000, 399), (401, 1000)]:
        for longest in (257, 300, 640):
            image = Image.new("L", (width, height))
            resized = functional.resize(image, [256], max_size=longest)
            assert whole_size(width, height, longest) == resized.size
    assert whole_size(1, 700, 640) == (1, 640)


def test_crops_are_of_one_size() -> None:
    image = Image.new("RGB", (500, 375))
    assert CENTRAL_CROP(image).shape == (*CENTRAL_CROP.shape, 3) == (224, 224, 3)
