"""Small pictures for pages: thumbnails, and layers that show on them where a mask is."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from builder.dataset.upsampling import upsample

SIDE = 144
"""Pixels of a thumbnail's side."""

COLOURS = {"core": (0, 190, 165), "spurious": (255, 120, 30)}
"""Of the line around a mask; told apart with any colour vision."""

_INK = (14, 17, 26)
_VEIL = 0.80
_HOT = 0.5
_LINE = 2

Layer = npt.NDArray[np.uint8]


def thumbnail(pixels: npt.NDArray[np.uint8], side: int = SIDE) -> str:
    """Return a thumbnail as a data URI.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
    side : int
        Pixels of either side of the thumbnail.
    """
    return _data_uri(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def spotlight(grids: npt.NDArray[np.uint8], kind: str) -> str:
    """Return a layer that darkens what the union of grids leaves out, as a data URI.

    A line in the colour of the kind runs where the mask is half its peak.

    Parameters
    ----------
    grids : ndarray of uint8, shape (features, height, width)
    kind : str
        ``core`` or ``spurious``.
    """
    mask = _soft_mask(grids)
    layer = np.empty((SIDE, SIDE, 4), np.uint8)
    layer[..., :3] = _INK
    layer[..., 3] = np.rint(255 * _VEIL * (1 - mask))
    _draw_line(layer, mask, kind)
    return _data_uri(Image.fromarray(layer))


def outlines(grids: npt.NDArray[np.uint8], kinds: list[str]) -> str:
    """Return a layer with a line around the core mask and around the spurious mask.

    Parameters
    ----------
    grids : ndarray of uint8, shape (features, height, width)
    kinds : list of str
        Of each feature.
    """
    layer = np.zeros((SIDE, SIDE, 4), np.uint8)
    for kind in COLOURS:
        chosen = [own == kind for own in kinds]
        if any(chosen):
            _draw_line(layer, _soft_mask(grids[chosen]), kind)
    return _data_uri(Image.fromarray(layer))


def _soft_mask(grids: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    mask: npt.NDArray[np.float64] = upsample(grids, SIDE, SIDE).max(axis=0) / 255
    return mask


def _draw_line(layer: Layer, mask: npt.NDArray[np.float64], kind: str) -> None:
    hot = mask >= _HOT
    edge = hot & ~_shrink(hot, _LINE)
    # A dark rim makes the line stand out from an image of its own colour.
    rim = hot & ~_shrink(hot, _LINE + 1) & ~edge
    layer[rim] = (*_INK, 150)
    layer[edge] = (*COLOURS[kind], 255)


def _shrink(area: npt.NDArray[np.bool_], steps: int) -> npt.NDArray[np.bool_]:
    """Return an area without its border, `steps` pixels wide; the picture's edge is a border."""
    for _ in range(steps):
        padded = np.pad(area, 1)
        area = area & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return area


def _data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=72, alpha_quality=70, method=3)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
