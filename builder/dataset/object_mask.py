"""Object masks as they are published: pictures of 1 bit, and what is told of each."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bools = NDArray[np.bool_]


def write_object_mask(is_object: Bools) -> bytes:
    """Return a PNG of 1 bit, white where the object is: bool of shape (height, width)."""
    file = io.BytesIO()
    Image.fromarray(is_object).save(file, "PNG", optimize=True)
    return file.getvalue()


def read_object_mask(picture: bytes) -> Bools:
    """Return what `write_object_mask` was given.

    Raises
    ------
    OSError, ValueError, SyntaxError
        As Pillow does, if it is no such picture.
    """
    with Image.open(io.BytesIO(picture), formats=("PNG",)) as file:
        if file.mode != "1":
            raise ValueError(f"it is a picture of mode {file.mode}, not of 1 bit")
        return np.asarray(file)


def distance_from_centre(is_object: Bools) -> float:
    """Return how far an object's centre of mass is from the image's: 0 there, 1 in a corner.

    Parameters
    ----------
    is_object : ndarray of bool, shape (height, width)
        True somewhere.
    """
    height, width = is_object.shape
    rows, columns = is_object.sum(axis=1), is_object.sum(axis=0)
    pixels = rows.sum()
    y = (np.arange(height) + 0.5) @ rows / pixels - height / 2
    x = (np.arange(width) + 0.5) @ columns / pixels - width / 2
    return float(np.hypot(x, y) / np.hypot(width / 2, height / 2))
