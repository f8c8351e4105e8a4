"""Regions: where in an image a corruption acts, from soft masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt8s = npt.NDArray[np.uint8]

DILATIONS = 15
"""Iterations of the maximum by which core masks grow; at 224 pixels a point reaches 30."""


def dilate(mask: UInt8s, iterations: int = DILATIONS) -> UInt8s:
    """Grow a soft mask: repeatedly the maximum over a plus of five pixels by five.

    A single pixel becomes the set of offsets with ceil(|dx| / 2) + ceil(|dy| / 2) <= iterations,
    1,801 pixels after 15. What lies outside of the image counts 0.

    Parameters
    ----------
    mask : ndarray of uint8, shape (height, width)
    iterations : int

    Returns
    -------
    ndarray of uint8, shape (height, width)
    """
    height, width = mask.shape
    padded = np.zeros((height + 4, width + 4), np.uint8)
    inside = padded[2:-2, 2:-2]
    inside[:] = mask
    grown = mask.copy()
    for _ in range(iterations):
        for shift in (0, 1, 3, 4):
            np.maximum(grown, padded[shift : shift + height, 2:-2], out=grown)
            np.maximum(grown, padded[2:-2, shift : shift + width], out=grown)
        inside[:] = grown
    return grown
