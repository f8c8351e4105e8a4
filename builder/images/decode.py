"""From the bytes of a file to the pixels that the network sees."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from builder.errors import UnusableError
from builder.images.extent import CENTRAL_CROP, Extent
from builder.images.sources import FORMATS
from salient_imagenet_1m import resized_size

_END_OF_JPEG = b"\xff\xd9"

MAX_PIXELS = 178_956_970
"""More pixels, as stored or as resized, are a decompression bomb: Pillow's own limit."""


class Decoded(NamedTuple):
    """An image as the network sees it, and the size of its original."""

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int


class UnusableImageError(UnusableError):
    """An image that has to be set aside; see `UnusableError`."""


def decode(data: bytes, extent: Extent = CENTRAL_CROP) -> Decoded:
    """Decode an image, by PIL to RGB with no EXIF rotation, and make of it what the network sees.

    Parameters
    ----------
    data : bytes
        Of a file in one of `FORMATS`.
    extent : Extent, optional
        How much of the image the network sees; by default Resize(256) on the short side (bilinear,
        antialias), CenterCrop(224).

    Returns
    -------
    Decoded
        `pixels` has shape (height, width, 3), 224 x 224 of the crop, and dtype uint8.

    Raises
    ------
    UnusableImageError
        If the file is empty, no image, truncated or otherwise broken, or a decompression bomb.
    """
    if not data:
        raise UnusableImageError("empty", "the file has 0 bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            width, height = file.size
            _refuse_bomb(width, height)
            # A file in RGB is used as it is: converting would copy it.
            file.load()
            image: Image.Image = file if file.mode == "RGB" else file.convert("RGB")
            pixels = extent(image)
    except UnusableImageError:
        raise
    except UnidentifiedImageError:
        raise UnusableImageError("not_an_image", "Pillow knows no format like it") from None
    except Image.DecompressionBombError:
        raise UnusableImageError("decompression_bomb", f"more than {MAX_PIXELS} pixels") from None
    except Exception as error:
        reason = "truncated" if "truncated" in str(error).lower() else "broken"
        raise UnusableImageError(reason, str(error) or type(error).__name__) from error
    return Decoded(pixels, width, height)


def size_for_device(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a file that a device may decode; None leaves it to Pillow.

    Pillow alone knows other formats, CMYK, and what to do with files that are cut or huge.
    """
    if not data.rstrip(b"\0").endswith(_END_OF_JPEG):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as file:
            _refuse_bomb(*file.size)
            return file.size if file.mode in ("RGB", "L") else None
    except Exception:  # Pillow raises many; decoding in full tells which it is.
        return None


def _refuse_bomb(width: int, height: int) -> None:
    resized_width, resized_height = resized_size(width, height)
    pixels = max(width * height, resized_width * resized_height)
    if pixels > MAX_PIXELS:
        raise UnusableImageError(
            "decompression_bomb", f"{width} x {height} would need {pixels} pixels"
        )
