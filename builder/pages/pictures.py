"""Small pictures for pages: thumbnails, and layers that show on them where a mask is."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from builder.dataset.upsampling import sample, upsample
from salient_imagenet_1m import Box

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
    return _data_uri(Image.fromarray(_spotlight(_soft_mask(grids), kind)))


def whole_thumbnail(pixels: npt.NDArray[np.uint8]) -> str:
    """Return a thumbnail of an image that need not be square, in a dark frame that is."""
    width, height = _fitting(pixels.shape[1], pixels.shape[0])
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    frame = Image.new("RGB", (SIDE, SIDE), _INK)
    frame.paste(picture, _corner(width, height))
    return _data_uri(frame)


def whole_spotlight(
    grids: npt.NDArray[np.uint8], kind: str, box: Box, width: int, height: int
) -> str:
    """Return the layer of `spotlight` for an image in the frame of `whole_thumbnail`.

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
    across, down = _fitting(width, height)
    mask = sample(grids, box, Box(0, 0, width, height), down, across).max(axis=0) / 255
    frame = Image.new("RGBA", (SIDE, SIDE))
    frame.paste(Image.fromarray(_spotlight(mask, kind)), _corner(across, down))
    return _data_uri(frame)


def _fitting(width: int, height: int) -> tuple[int, int]:
    scale = SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _corner(width: int, height: int) -> tuple[int, int]:
    return (SIDE - width) // 2, (SIDE - height) // 2


def _spotlight(mask: npt.NDArray[np.float64], kind: str) -> Layer:
    layer = np.empty((*mask.shape, 4), np.uint8)
    layer[..., :3] = _INK
    layer[..., 3] = np.rint(255 * _VEIL * (1 - mask))
    _draw_line(layer, mask, kind)
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
