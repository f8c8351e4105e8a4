"""Noise that is a function of image id and draw alone."""

from __future__ import annotations

import hashlib
import math
from functools import cache

import torch
from torch import Tensor

_BITS = 24


@cache
def _table(device: torch.device) -> Tensor:
    """Return 2**24 values of N(0, 1), the same on every machine: 64 MiB."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1 << _BITS, generator=generator).to(device)


def standard_noise(
    image_ids: list[str], draw: int, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Return standard normal noise for images.

    An image's noise is a stretch of one table of normal numbers, from a place that a hash of its id
    and the draw tells. So it is the same whatever batch, order, worker, model or device it comes
    in, and costs no more than reading it: to draw it anew would take as long as a small network.

    Parameters
    ----------
    image_ids : list of str
    draw : int
    shape : tuple of int
        Of an image.
    device : torch.device

    Returns
    -------
    Tensor of float32, shape (images, *shape)
    """
    table = _table(device)
    count = math.prod(shape)
    places = (_place(name, draw) % (len(table) - count + 1) for name in image_ids)
    return torch.stack([table[place : place + count].view(shape) for place in places])


def _place(image_id: str, draw: int) -> int:
    digest = hashlib.blake2b(f"{draw} {image_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
