"""Grids as soft masks over the whole box that they cover, in full precision: for pages and demo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_1m import CROP_SIZE, KINDS, Box, union

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


def kind_masks(
    grids: NDArray[np.uint8], kinds: Sequence[str]
) -> dict[str, NDArray[np.uint8] | None]:
    """Render the core and the spurious mask of an image over the square that the network saw.

    Parameters
    ----------
    grids : ndarray of uint8, shape (features, grid_height, grid_width)
    kinds : sequence of str
        Of each feature.

    Returns
    -------
    dict of str to (ndarray of uint8, shape (224, 224), or None)
        By kind; None where the class has no feature of the kind.
    """
    return unions(upsample(grids, CROP_SIZE, CROP_SIZE), kinds)


def unions(masks: NDArray[np.float64], kinds: Sequence[str]) -> dict[str, NDArray[np.uint8] | None]:
    """Return the core and the spurious mask of an image from the soft masks of its features.

    Parameters
    ----------
    masks : ndarray of float64, shape (features, height, width)
        From 0 to 255.
    kinds : sequence of str
        Of each feature.

    Returns
    -------
    dict of str to (ndarray of uint8, shape (height, width), or None)
        By kind; None where the class has no feature of the kind.
    """
    rounded = np.rint(masks).astype(np.uint8)
    chosen = {kind: rounded[[own == kind for own in kinds]] for kind in KINDS}
    return {kind: union(own) if len(own) else None for kind, own in chosen.items()}


def sample(
    grids: NDArray[np.generic], box: Box, window: Box, height: int, width: int
) -> NDArray[np.float64]:
    """Upsample grids bilinearly over a window of the image, which their box need not end with.

    Parameters
    ----------
    grids : ndarray, shape (..., grid_height, grid_width)
    box, window : Box
        What the grids cover, and what is wanted, in pixels of the image.
    height, width : int
        Pixels to render the window at.

    Returns
    -------
    ndarray of float64, shape (..., height, width)
        In the units of `grids`.
    """
    rows = _weights(
        _places(height, window.top, window.bottom), box.top, box.bottom, grids.shape[-2]
    )
    columns = _weights(
        _places(width, window.left, window.right), box.left, box.right, grids.shape[-1]
    )
    return np.asarray(rows @ (grids.astype(np.float64) @ columns.T))


def _places(size: int, start: float, stop: float) -> NDArray[np.float64]:
    return start + (np.arange(size) + 0.5) * (stop - start) / size


def _interpolation(size: int, cells: int) -> NDArray[np.float64]:
    """Return the (size, cells) matrix of bilinear upsampling, half-pixel centres, edges clamped."""
    return _weights(np.arange(size) + 0.5, 0, size, cells)


def _weights(
    places: NDArray[np.floating], start: float, stop: float, cells: int
) -> NDArray[np.float64]:
    """Return the weights (places, cells) of cells that lie side by side from start to stop."""
    centres = np.clip((places - start) * cells / (stop - start) - 0.5, 0, cells - 1)
    weights: NDArray[np.float64] = 1 - np.abs(centres[:, None] - np.arange(cells))
    return np.maximum(weights, 0)
