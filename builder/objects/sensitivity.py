"""Noise on the object and on the rest, for relative foreground sensitivity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from builder.evaluate.corruptions import noise
from salient_imagenet_1m import CROP_SIZE

SIGMAS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
"""Standard deviations of noise, of pixels in [0, 1]; the papers' tables have 0.25."""

NORMS = (30, 60, 90, 120, 150, 180)
"""L2 norms of an image's noise at 224 x 224 pixels."""


class Level(NamedTuple):
    """How strong noise is.

    Attributes
    ----------
    kind : str
        ``sigma``, or ``norm``: then large and small regions get as much.
    value : float
    """

    kind: str
    value: float

    @property
    def name(self) -> str:
        """As conditions are called."""
        return f"{self.kind}_{self.value:g}"

    @property
    def on_object(self) -> str:
        """The condition with noise on the object."""
        return f"object_{self.name}"

    @property
    def on_rest(self) -> str:
        """The condition with noise on all else."""
        return f"rest_{self.name}"


LEVELS = (*(Level("sigma", sigma) for sigma in SIGMAS), *(Level("norm", norm) for norm in NORMS))


def noisy(images: Tensor, is_object: Tensor, drawn: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield each condition of `LEVELS` with how images look under it.

    Parameters
    ----------
    images : Tensor of float32 in [0, 1], shape (n, 3, size, size)
    is_object : Tensor of float32, shape (n, 1, size, size)
        1 on the object, 0 elsewhere.
    drawn : Tensor of float32, shape (n, 3, size, size)
        Of N(0, 1).
    """
    regions = {True: is_object, False: 1 - is_object}
    lengths = {on: (drawn * region).flatten(1).norm(dim=1) for on, region in regions.items()}
    for level in LEVELS:
        for on, region in regions.items():
            name = level.on_object if on else level.on_rest
            if level.kind == "sigma":
                yield name, noise(images, region, drawn, level.value)
            else:
                yield name, noise(images, region * _scale(level, images, lengths[on]), drawn, 1)


def _scale(level: Level, images: Tensor, lengths: Tensor) -> Tensor:
    """Return what makes noise as long as a level says; a region of no pixels has none."""
    # Of more pixels the norm is larger, so that each gets as much.
    wanted = level.value * images.shape[-1] / CROP_SIZE
    return torch.where(lengths > 0, wanted / lengths, 0).view(-1, 1, 1, 1)
