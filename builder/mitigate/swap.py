"""Swaps: the surroundings of another image, so that what stands beside an object tells nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from builder.mitigate.noise import PROBABILITY, outside


def core_swap(
    images: Tensor,
    core_mask: Tensor,
    probability: float = PROBABILITY,
    *,
    chances: Tensor | None = None,
) -> Tensor:
    """Show the core of an image in the surroundings of its neighbour in the batch.

    It is ``(1 - w) x_i + w x_j`` with ``w = (1 - M_i) (1 - M_j)``: each gives only what is not its
    core, and where the core of the neighbour would be, an image stays as it is. Neighbours are the
    first and the second image, the third and the fourth, and so on; the last of an odd number has
    none, and stays. Noise leaves the colour of surroundings, and so what a cue tells; a swap has
    the cues of one class appear with others.

    Parameters
    ----------
    images : Tensor of float32 in [0, 1], shape (n, 3, height, width)
    core_mask : Tensor of float32 in [0, 1], shape (n, 1, height, width)
        One of zeros leaves its image and the neighbour as they are.
    probability : float
        How likely an image gets other surroundings.
    chances : Tensor of float32 in [0, 1), shape (n,), optional
        Images whose number is below `probability` get them; drawn by torch by default.

    Returns
    -------
    Tensor of float32 in [0, 1], shape (n, 3, height, width)
    """
    if chances is None:
        chances = torch.rand(len(images), device=images.device)
    neighbour = (torch.arange(len(images), device=images.device) ^ 1).clamp(max=len(images) - 1)
    beside = outside(core_mask)
    weight = beside * beside[neighbour] * (chances < probability).view(-1, 1, 1, 1)
    return images.lerp(images[neighbour], weight)
