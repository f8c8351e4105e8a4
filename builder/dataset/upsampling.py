"""Grids as soft masks over the whole box that they cover, in full precision: for pages and demo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STRIP = 7 * 32_768
"""Multiplications of one matrix product: with more, OpenBLAS starts threads."""


def upsample(grids: NDArray[np.generic], height: int, width: int) -> NDArray[np.float64]:
    """Upsample grids bilinearly over the box that they cover, as two small matrix products.

    Parameters
    ----------
    grids : ndarray, shape (..., grid_height, grid_width)
    height, width : int
        Pixels to render the whole box at.

    Returns
    -------
    ndarray of float64, shape (..., height, width)
        In the units of `grids`; divide those of uint8 grids by 255 to get soft masks in [0, 1].
    """
    rows = _interpolation(height, grids.shape[-2])
    columns = _interpolation(width, grids.shape[-1])
    wide = grids.astype(np.float64) @ columns.T
    upsampled = np.empty((*grids.shape[:-2], height, width))
    step = max(1, _STRIP // (rows.shape[1] * width))
    for start in range(0, height, step):
        strip = slice(start, start + step)
        np.matmul(rows[strip], wide, out=upsampled[..., strip, :])
    return upsampled


def _interpolation(size: int, cells: int) -> NDArray[np.float64]:
    """Return the (size, cells) matrix of bilinear upsampling, half-pixel centres, edges clamped."""
    centres = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    weights: NDArray[np.float64] = 1 - np.abs(centres[:, None] - np.arange(cells))
    return np.maximum(weights, 0)
