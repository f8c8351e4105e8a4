"""From the file of a mask to an object mask, and what is told of it."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from builder.dataset.object_mask import distance_from_centre, write_object_mask
from builder.errors import UnusableError, first_line
from builder.images.sources import FORMATS

Bools = NDArray[np.bool_]


class UnusableMaskError(UnusableError):
    """A mask that has to be set aside; see `UnusableError`."""


class ObjectMask(NamedTuple):
    """An object mask as it is published.

    Attributes
    ----------
    picture : bytes
        A PNG of 1 bit, of the size of the image: white where the object is.
    area : float
        The object's share of the image's pixels.
    distance : float
        From the object's centre of mass to the image's centre: 0 there, 1 in a corner.
    """

    picture: bytes
    area: float
    distance: float


def make_object_mask(data: bytes, width: int, height: int) -> ObjectMask:
    """Turn the file of a mask into an object mask.

    Parameters
    ----------
    data : bytes
        Of a file in one of `FORMATS`.
    width, height : int
        Of the image.

    Raises
    ------
    UnusableMaskError
        If there is no picture in it, or one of another size, or no object on it.
    """
    is_object = _decode(data, width, height)
    if not is_object.any():
        raise UnusableMaskError("empty", "no pixel of it is on an object")
    return ObjectMask(
        write_object_mask(is_object), float(is_object.mean()), distance_from_centre(is_object)
    )


def _decode(data: bytes, width: int, height: int) -> Bools:
    """Return where a mask is brighter than half of its brightest pixel.

    So that masks may be of 0 and 1 as well as of 0 and 255, and what a JPEG adds along the edges of
    an object is not the object.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            if file.size != (width, height):
                size = f"{file.width} x {file.height}"
                raise UnusableMaskError(
                    "wrong_size", f"it is {size} pixels, its image {width} x {height}"
                )
            values = np.asarray(file.convert("L"))
    except UnidentifiedImageError:
        raise UnusableMaskError("unreadable", "it is no picture") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnusableMaskError("unreadable", first_line(error)) from error
    return np.asarray(values > values.max() / 2)
