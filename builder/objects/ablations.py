"""Ablations: an image without its object (Hard ImageNet, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from builder.evaluate.corruptions import GRAY
from builder.objects.components import Component

SMALLEST_BOX = 100
"""Pixels of a component's box below which the public code leaves it out of `mean_fill`."""


class Object(NamedTuple):
    """Where the object of an image is.

    Attributes
    ----------
    parts : Tensor of int32, shape (height, width)
        The number of the component that a pixel is of, from 1; 0 is no object.
    components : sequence of Component
    as_published : bool
        Whether the public code is followed where it differs from what it is to do.
    """

    parts: Tensor
    components: Sequence[Component]
    as_published: bool = False


def gray_mask(image: Tensor, of: Object) -> Tensor:
    """Return ``x (1 - m) + 0.5 m``: the object is gray."""
    return torch.where(of.parts > 0, GRAY, image)


def gray_box(image: Tensor, of: Object) -> Tensor:
    """Return the image with one gray box around all of the object.

    The public code leaves out the box's last row and column.
    """
    removed = image.clone()
    boxes = [component.box for component in of.components]
    less = 1 if of.as_published else 0
    bottom, right = max(box.bottom for box in boxes), max(box.right for box in boxes)
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    removed[:, top : bottom - less, left : right - less] = GRAY
    return removed


def tile(image: Tensor, of: Object) -> Tensor:
    """Return the image with the box of each component tiled by what is beside it.

    Of the four boxes beside a component's, cut where the image ends or other object pixels begin,
    the largest is repeated; gray where there is none. The public code takes it from the place with
    rows and columns exchanged.
    """
    removed = image.clone()
    for box, beside in of.components:
        if beside is None:
            removed[:, *box.slices] = GRAY
            continue
        patch = image[:, *(beside.transposed if of.as_published else beside).slices]
        height, width = box.bottom - box.top, box.right - box.left
        down, across = -(-height // patch.shape[1]), -(-width // patch.shape[2])
        removed[:, *box.slices] = patch.repeat(1, down, across)[:, :height, :width]
    return removed


def mean_fill(image: Tensor, of: Object) -> Tensor:
    """Return the image with each component in the mean colour of what else is in its box.

    Of the whole image where its box is full, and gray where the image is. The public code leaves
    out components whose boxes have less than 100 pixels.
    """
    removed = image.clone()
    for number, (box, _) in enumerate(of.components, 1):
        if of.as_published and box.area < SMALLEST_BOX:
            continue
        own, parts = removed[:, *box.slices], of.parts[box.slices]
        colour = _mean_colour(image[:, *box.slices], parts == 0)
        if colour is None:
            colour = _mean_colour(image, of.parts == 0)
        filled = GRAY if colour is None else colour[:, None, None]
        own[:] = torch.where(parts == number, filled, own)
    return removed


def _mean_colour(image: Tensor, where: Tensor) -> Tensor | None:
    """Return the mean of some pixels, None of none."""
    pixels = image[:, where]
    return pixels.mean(1) if pixels.shape[1] else None


ABLATIONS: dict[str, Callable[[Tensor, Object], Tensor]] = {
    "gray_mask": gray_mask,
    "gray_box": gray_box,
    "tile": tile,
    "mean_fill": mean_fill,
}
"""Each takes an image, float32 in [0, 1] of shape (3, height, width), and where its object is, and
returns an image of that shape."""
