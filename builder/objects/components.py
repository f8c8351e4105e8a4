"""Components: the connected parts of an object, their boxes, and what lies beside these."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Bools = NDArray[np.bool_]
Parts = NDArray[np.int32]


class Box(NamedTuple):
    """A rectangle of pixels: rows from `top` to `bottom`, columns from `left` to `right`, excluded.

    All four are whole numbers of pixels.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """Its pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def transposed(self) -> Box:
        """The rectangle at the place with rows and columns exchanged."""
        return Box(self.left, self.top, self.right, self.bottom)


class Component(NamedTuple):
    """A connected part of an object.

    Attributes
    ----------
    box : Box
        The smallest that holds it.
    beside : Box, optional
        The largest rectangle without an object on one side of it; None where there is none.
    """

    box: Box
    beside: Box | None


def find_components(is_object: Bools) -> tuple[Parts, list[Component]]:
    """Find the parts of an object that are connected along rows and columns.

    Parameters
    ----------
    is_object : ndarray of bool, shape (height, width)

    Returns
    -------
    parts : ndarray of int32, shape (height, width)
        The number of the component that a pixel is of, from 1; 0 is no object.
    components : list of Component
        By number.
    """
    parts, _ = ndimage.label(is_object)
    boxes = [
        Box(rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in ndimage.find_objects(parts)
    ]
    return parts, [Component(box, _beside(is_object, box)) for box in boxes]


def _beside(is_object: Bools, box: Box) -> Box | None:
    """Return the largest rectangle beside a box, at most as large, that has no object in it."""
    rows, columns = box.slices
    height, width = box.bottom - box.top, box.right - box.left
    right = _free(is_object[rows, box.right :].T, width)
    left = _free(is_object[rows, : box.left].T[::-1], width)
    below = _free(is_object[box.bottom :, columns], height)
    above = _free(is_object[: box.top, columns][::-1], height)
    found = (
        box._replace(left=box.right, right=box.right + right),
        box._replace(left=box.left - left, right=box.left),
        box._replace(top=box.bottom, bottom=box.bottom + below),
        box._replace(top=box.top - above, bottom=box.top),
    )
    largest = max(found, key=lambda each: each.area)
    return largest if largest.area else None


def _free(lines: Bools, most: int) -> int:
    """Return how many lines there are before the first with an object, at most so many."""
    taken = np.flatnonzero(np.any(lines[:most], axis=1))
    return int(taken[0]) if len(taken) else min(most, len(lines))
