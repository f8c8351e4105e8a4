"""Saliency alignment: whether what speaks for a class lies on the object."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_TINY = 1e-10

_HALF = 0.5


class Alignment(NamedTuple):
    """How a map lies on an object.

    Attributes
    ----------
    iou, dice : float
        Of the pixels where the map is 0.5 or more with those of the object.
    density : float
        The map's mean on the object minus that on the rest; NaN where there is no rest.
    """

    iou: float
    dice: float
    density: float


def alignment(cam: NDArray[np.float32], is_object: NDArray[np.bool_]) -> Alignment:
    """Return how a map lies on an object (Hard ImageNet, section 4.3).

    Parameters
    ----------
    cam : ndarray of float32 in [0, 1], shape (height, width)
    is_object : ndarray of bool, shape (height, width)
        True somewhere.
    """
    is_hot = cam >= _HALF
    both = np.count_nonzero(is_hot & is_object)
    hot, drawn = np.count_nonzero(is_hot), np.count_nonzero(is_object)
    rest = cam[~is_object]
    return Alignment(
        iou=both / (hot + drawn - both + _TINY),
        dice=2 * both / (hot + drawn + _TINY),
        density=float(cam[is_object].mean() - rest.mean()) if rest.size else float("nan"),
    )
