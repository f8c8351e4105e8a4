"""Corruptions: what happens to the pixels of a region, before a model normalises them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

SIGMA = 0.25
"""Standard deviation of the papers' noise, of pixels in [0, 1]."""

GRAY = 0.5

_BLUR = 9
"""The blur's standard deviation is the image's side over that many."""


def noise(images: Tensor, region: Tensor, draw: Tensor, sigma: float) -> Tensor:
    """Return ``clamp(x + sigma * region * N(0, 1), 0, 1)``, of the noise that was drawn."""
    return torch.addcmul(images, region, draw, value=sigma).clamp_(0, 1)


def gray(images: Tensor, region: Tensor) -> Tensor:
    """Fade a region to gray."""
    return images * (1 - region) + GRAY * region


def mean(images: Tensor, region: Tensor) -> Tensor:
    """Fade a region to the mean colour of its image."""
    return images * (1 - region) + images.mean((2, 3), keepdim=True) * region


def blur(images: Tensor, region: Tensor) -> Tensor:
    """Fade a region to a blurred copy of its image."""
    sigma = images.shape[-1] / _BLUR
    size = 2 * round(2 * sigma) + 1
    # Along one axis, then the other: a square kernel of this size would take a hundred times.
    across = functional.gaussian_blur(images, [size, 1], [sigma, sigma])
    blurred: Tensor = functional.gaussian_blur(across, [1, size], [sigma, sigma])
    return images * (1 - region) + blurred * region


FADES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"gray": gray, "mean": mean, "blur": blur}
"""Corruptions that draw nothing.

Each takes images, float32 in [0, 1] of shape (n, 3, height, width), and a region, float32 in [0, 1]
of shape (n, 1, height, width), and returns images of that shape.
"""
