"""Corruptions, each against a slow twin that goes pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from builder.evaluate.corruptions import FADES, noise

SIZE = 18


def drawn() -> tuple[Tensor, Tensor]:
    """Return two images and a region of each, that ends in its middle."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, SIZE, SIZE, generator=generator)
    region = torch.rand(2, 1, SIZE, SIZE, generator=generator)
    region[..., SIZE // 2 :] = 0
    return images, region


def test_noise_is_scaled_by_the_region_and_cut_off() -> None:
    images, region = drawn()
    normal = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    found = noise(images, region, normal, 0.5)
    for image, channel, y, x in np.ndindex(*images.shape):
        here = image, channel, y, x
        value = float(images[here]) + 0.5 * float(region[image, 0, y, x]) * float(normal[here])
        assert float(found[here]) == pytest.approx(min(max(value, 0), 1), abs=1e-6)
    assert torch.equal(found[..., SIZE // 2 :], images[..., SIZE // 2 :])


def slow_fill(name: str, image: Tensor) -> Tensor:
    """Return what a region of an image fades to."""
    if name == "gray":
        return torch.full_like(image, 0.5)
    if name == "mean":
        colour = [sum(channel.flatten().tolist()) / SIZE**2 for channel in image]
        return torch.tensor(colour)[:, None, None].expand(image.shape)
    sigma = SIZE / 9
    reach = round(2 * sigma)
    steps = range(-reach, reach + 1)
    weights = [math.exp(-(step**2) / (2 * sigma**2)) for step in steps]
    weights = [weight / sum(weights) for weight in weights]
    filled = torch.zeros_like(image)
    for channel, y, x in np.ndindex(*image.shape):
        for dy, down in zip(steps, weights, strict=True):
            for dx, across in zip(steps, weights, strict=True):
                # What lies outside is what lies inside, mirrored.
                row, column = (mirrored(y + dy), mirrored(x + dx))
                filled[channel, y, x] += down * across * image[channel, row, column]
    return filled


def mirrored(place: int) -> int:
    return min(abs(place), 2 * (SIZE - 1) - abs(place))


@pytest.mark.parametrize("name", sorted(FADES))
def test_a_fade_is_the_slow_one_and_leaves_the_rest(name: str) -> None:
    images, region = drawn()
    found = FADES[name](images, region)
    for image, area, result in zip(images, region, found, strict=True):
        expected = image * (1 - area) + slow_fill(name, image) * area
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)
    assert torch.equal(found[..., SIZE // 2 :], images[..., SIZE // 2 :])
