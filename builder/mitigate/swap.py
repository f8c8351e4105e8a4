"""Swaps: the surroundings of another image, so that what stands beside an object tells nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from builder.mitigate.noise import outside

PROBABILITY = 1.0
"""How likely an image gets other surroundings: a cue that sometimes stays goes on to tell."""


def core_swap(
    images: Tensor,
    core_mask: Tensor,
    probability: float = PROBABILITY,
    *,
    chances: Tensor | None = None,
) -> Tensor:
    """Show the core of an image in the surroundings of its neighbour in the batch.

    It is ``M_i x_i + (1 - M_i) g_j``, where ``g_j = (1 - M_j) x_j + M_j c_j`` is the neighbour with
    the mean colour ``c_j`` of its surroundings in the place of its core. Neighbours are the first
    and the second image, the third and the fourth, and so on; the last of an odd number has none.
    Noise leaves the colour of surroundings, and so what a cue tells; a swap has the cues of one
    class appear with others.

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
    count, beside = len(images), outside(core_mask)
    colour = (beside * images).sum((2, 3), keepdim=True) / beside.sum((2, 3), keepdim=True)
    given = colour.nan_to_num().lerp(images, beside)
    neighbour = (torch.arange(count, device=images.device) ^ 1).clamp(max=count - 1)
    gets = beside.flatten(1).any(1)[neighbour] & (chances < probability)
    gets[count - count % 2 :] = False
    return images.lerp(given[neighbour], beside * gets.view(-1, 1, 1, 1))
