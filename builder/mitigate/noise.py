"""Noise outside of the core: what a model is not to need becomes useless to it."""

from __future__ import annotations

import torch
from torch import Tensor

from builder.evaluate.corruptions import SIGMA, noise

PROBABILITY = 0.5
"""How likely an image gets noise, as in the papers' code."""


def outside(core_mask: Tensor) -> Tensor:
    """Return where a model is not to look: 1 - M, and nowhere without a mask.

    Parameters
    ----------
    core_mask : Tensor of float32 in [0, 1], shape (n, 1, height, width)
        Of zeros where an image's class has no core feature, or its crop misses them.

    Returns
    -------
    Tensor of float32 in [0, 1], shape (n, 1, height, width)
    """
    return (1 - core_mask) * core_mask.flatten(1).any(1).view(-1, 1, 1, 1)


def core_noise(
    images: Tensor,
    core_mask: Tensor,
    probability: float = PROBABILITY,
    sigma: float = SIGMA,
    *,
    chances: Tensor | None = None,
    draw: Tensor | None = None,
) -> Tensor:
    """Add noise outside of the core: ``clamp(x + sigma * (1 - M) * N(0, 1), 0, 1)``.

    Of Core Risk Minimization, as far as it is known: its core masks are dilated, its noise comes
    before normalisation. The public code draws once per batch whether there is noise, this once per
    image.

    Parameters
    ----------
    images : Tensor of float32 in [0, 1], shape (n, 3, height, width)
    core_mask : Tensor of float32 in [0, 1], shape (n, 1, height, width)
        One of zeros leaves its image as it is.
    probability : float
        How likely an image gets noise.
    sigma : float
    chances : Tensor of float32 in [0, 1), shape (n,), optional
        Images whose number is below `probability` get noise; drawn by torch by default.
    draw : Tensor of float32, shape (n, 3, height, width), optional
        Standard normal numbers; drawn by torch by default.

    Returns
    -------
    Tensor of float32 in [0, 1], shape (n, 3, height, width)
    """
    if chances is None:
        chances = torch.rand(len(images), device=images.device)
    if draw is None:
        draw = torch.randn_like(images)
    region = outside(core_mask) * (chances < probability).view(-1, 1, 1, 1)
    return noise(images, region, draw, sigma)
