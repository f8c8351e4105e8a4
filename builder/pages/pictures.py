"""Small pictures for pages: thumbnails, and layers that show on them where a mask is."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from builder.dataset.upsampling import sample, upsample
from salient_imagenet_1m import Box, crop_box

SIDE = 144
"""Pixels of a thumbnail's side."""

COLOURS = {"core": (0, 190, 165), "spurious": (255, 120, 30)}
"""Of the line around a mask; told apart with any colour vision."""

WHOLE_SIDES = 240, 200
"""Width and height that a thumbnail of a whole image is fitted into."""

_WHITE = (255, 255, 255)
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
    return _data_uri(Image.fromarray(_spotlight(_soft_mask(grids), kind)))


def fitted(width: int, height: int) -> tuple[int, int]:
    """Return the (width, height) of the thumbnail of a whole image."""
    scale = min(WHOLE_SIDES[0] / width, WHOLE_SIDES[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def whole_thumbnail(pixels: npt.NDArray[np.uint8]) -> str:
    """Return a thumbnail of an image that need not be square."""
    size = fitted(pixels.shape[1], pixels.shape[0])
    return _data_uri(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def crop_outline(width: int, height: int) -> str:
    """Return a layer for `whole_thumbnail` with a line around what the crop of an image covers."""
    across, down = fitted(width, height)
    left, top, right, bottom = crop_box(width, height)
    inside = np.zeros((down, across), np.bool_)
    rows, columns = (
        slice(round(low * shown / size), round(high * shown / size))
        for low, high, shown, size in ((top, bottom, down, height), (left, right, across, width))
    )
    inside[rows, columns] = True
    layer = np.zeros((down, across, 4), np.uint8)
    _draw_line(layer, inside, _WHITE)
    return _data_uri(Image.fromarray(layer))


def whole_spotlight(
    grids: npt.NDArray[np.uint8], kind: str, box: Box, width: int, height: int
) -> str:
    """Return the layer of `spotlight` for an image as `whole_thumbnail` shows it.

    Parameters
    ----------
    grids : ndarray of uint8, shape (features, grid_height, grid_width)
    kind : str
        ``core`` or ``spurious``.
    box : Box
        What the grids cover of the image.
    width, height : int
        Of the image.
    """
    across, down = fitted(width, height)
    mask = sample(grids, box, Box(0, 0, width, height), down, across).max(axis=0) / 255
    return _data_uri(Image.fromarray(_spotlight(mask, kind)))


def _spotlight(mask: npt.NDArray[np.float64], kind: str) -> Layer:
    layer = np.empty((*mask.shape, 4), np.uint8)
    layer[..., :3] = _INK
    layer[..., 3] = np.rint(255 * _VEIL * (1 - mask))
    _draw_line(layer, mask >= _HOT, COLOURS[kind])
    return layer


def outlines(grids: npt.NDArray[np.uint8], kinds: list[str]) -> str:
    """Return a layer with a line around the core mask and around the spurious mask.

    Parameters
    ----------
    grids : ndarray of uint8, shape (features, height, width)
    kinds : list of str
        Of each feature.
    """
    layer = np.zeros((SIDE, SIDE, 4), np.uint8)
    for kind, colour in COLOURS.items():
        chosen = [own == kind for own in kinds]
        if any(chosen):
            _draw_line(layer, _soft_mask(grids[chosen]) >= _HOT, colour)
    return _data_uri(Image.fromarray(layer))


def _soft_mask(grids: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    mask: npt.NDArray[np.float64] = upsample(grids, SIDE, SIDE).max(axis=0) / 255
    return mask


def _draw_line(layer: Layer, hot: npt.NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    edge = hot & ~_shrink(hot, _LINE)
    # A dark rim makes the line stand out from an image of its own colour.
    rim = hot & ~_shrink(hot, _LINE + 1) & ~edge
    layer[rim] = (*_INK, 150)
    layer[edge] = (*colour, 255)


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
