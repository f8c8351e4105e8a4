"""Pictures: whether PNGs hold exactly the pixels of masks."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Bytes = npt.NDArray[np.uint8]


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    """Return a chunk of a PNG; it is made of nothing else behind its signature."""
    content = kind + data
    return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))


_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = _chunk(b"IEND")


def shows(picture: bytes | None, mask: Bytes | None) -> bool:
    """Return whether a PNG holds exactly the pixels of a mask; None is no mask."""
    if picture is None or mask is None:
        return picture is None and mask is None
    try:
        with Image.open(io.BytesIO(picture), formats=("PNG",)) as image:
            return image.mode == "L" and np.array_equal(np.asarray(image), mask)
    except (OSError, ValueError, SyntaxError):  # All that Pillow raises on broken PNGs.
        return False


def all_show(pictures: Sequence[bytes], masks: Bytes) -> npt.NDArray[np.bool_]:
    """Return `shows` of each picture and its mask, all of one size, much sooner.

    Pillow takes long to open a tiny picture. The pictures of a build are one header and one stream
    of lines each, and lines are held against masks all at once. Where a picture is made otherwise,
    or shows something else, Pillow has the last word.

    Parameters
    ----------
    pictures : sequence of bytes
    masks : ndarray of uint8, shape (pictures, height, width)

    Returns
    -------
    ndarray of bool, shape (pictures,)
    """
    height, width = masks.shape[1:]
    start, size = _start(height, width), height * (width + 1)
    streams = [_inflated(picture, start, size) for picture in pictures]
    same = np.array([stream is not None for stream in streams], np.bool_)
    lines = np.frombuffer(b"".join(filter(None, streams)), np.uint8)
    same[same] = _are_of(lines.reshape(-1, height, width + 1), masks[same])
    for place in np.flatnonzero(~same).tolist():
        same[place] = shows(pictures[place], masks[place])
    return same


def _start(height: int, width: int) -> bytes:
    """Return what a PNG of 8-bit grey begins with."""
    return _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def _inflated(picture: bytes, start: bytes, size: int) -> bytes | None:
    """Return the lines of a PNG, None where it is not plainly made or not of this size."""
    stream = picture[len(start) + 8 : -4 - len(_END)]  # Behind size and name, before a checksum.
    # One that is short enough cannot swell to fill the memory.
    if len(stream) > 2 * size + 64 or picture != start + _chunk(b"IDAT", stream) + _END:
        return None
    try:
        lines = zlib.decompress(stream, bufsize=size)
    except zlib.error:
        return None
    return lines if len(lines) == size else None


def _are_of(lines: Bytes, masks: Bytes) -> npt.NDArray[np.bool_]:
    """Return whether lines as a PNG stores them are those of masks.

    A line is the difference of its pixels from a prediction, by the filter that its first byte
    names: section 9 of the PNG specification.
    """
    filters, stored = lines[..., 0], lines[..., 1:]
    framed = np.pad(masks, ((0, 0), (1, 0), (1, 0)))
    left, above, corner = framed[:, 1:, :-1], framed[:, :-1, 1:], framed[:, :-1, :-1]
    same = np.zeros(filters.shape, np.bool_)
    for number, predict in enumerate(_PREDICTIONS):
        of = filters == number
        predicted = predict(left[of], above[of], corner[of])
        same[of] = (stored[of] + predicted == masks[of]).all(axis=1)
    return np.asarray(same.all(axis=1))


def _mean(left: Bytes, above: Bytes, corner: Bytes) -> Bytes:
    return ((left.astype(np.int16) + above) // 2).astype(np.uint8)


def _paeth(left: Bytes, above: Bytes, corner: Bytes) -> Bytes:
    """Return the neighbour that is nearest to left + above - corner; the first of equally near."""
    to_left, to_above = above.astype(np.int16) - corner, left.astype(np.int16) - corner
    to_corner = np.abs(to_left + to_above)
    to_left, to_above = np.abs(to_left), np.abs(to_above)
    second = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, second)


_PREDICTIONS: tuple[Callable[[Bytes, Bytes, Bytes], Bytes], ...] = (
    lambda left, above, corner: np.zeros_like(left),
    lambda left, above, corner: left,
    lambda left, above, corner: above,
    _mean,
    _paeth,
)
