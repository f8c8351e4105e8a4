"""Heat maps: where a neural feature fires in an image, as colours over it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from builder.dataset.upsampling import upsample


def heat_map(pixels: npt.NDArray[np.uint8], grid: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Lay the colours of a map over the image that it is of, as people saw it in the study.

    Colours from blue (the map is 0) over green to dark red (its peak) are added to the image, and
    the sum is divided by its own maximum.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
        What the network sees of the image.
    grid : ndarray of uint8, shape (grid_height, grid_width)
        Its map, with the peak at 255; of zeros where the feature is silent.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    shares = upsample(grid, *pixels.shape[:2]) / 255
    both = jet(shares) + pixels / 255
    made: npt.NDArray[np.uint8] = np.rint(255 * both / both.max()).astype(np.uint8)
    return made


def jet(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the colours of the scale named jet: dark blue at 0, green at 0.5, dark red at 1.

    Parameters
    ----------
    shares : ndarray of float64, shape (...)
        In [0, 1].

    Returns
    -------
    ndarray of float64, shape (..., 3)
        Red, green and blue in [0, 1].
    """
    centres = np.array([0.75, 0.5, 0.25])
    colours: npt.NDArray[np.float64] = np.clip(1.5 - 4 * np.abs(shares[..., None] - centres), 0, 1)
    return colours
