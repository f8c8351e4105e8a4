"""Salient ImageNet-1M: soft masks of core and spurious features, joined with your own ImageNet.

This file is the single home of the byte format and of its geometry:

* an **image id** is the canonical stem of an ImageNet file name (`image_id`);
* a **grid** is the uint8 form of a neural activation map (NAM) of an image,
  ``grid = round(255 * NAM / peak)``, so that ``NAM ~ grid * peak / 255`` (`encode_grids`);
* a row stores the grids of its class's features back to back (`pack_grids`, `unpack_grids`);
* a grid covers the **box** of the original image that the network saw (`crop_box`);
* a **soft mask** is a grid upsampled bilinearly to pixels (`upsample`).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import ClassLabel, Features, Image, Sequence, Value

__all__ = [
    "CROP_SIZE",
    "FORMAT_VERSION",
    "RESIZE_SIZE",
    "Box",
    "crop_box",
    "embedding_features",
    "encode_grids",
    "image_id",
    "mask_features",
    "pack_grids",
    "pair_features",
    "parquet_schema",
    "ranking_features",
    "resized_size",
    "union",
    "unpack_grids",
    "upsample",
]

FORMAT_VERSION = 1
"""Version of the published files; a reader refuses a newer one."""

RESIZE_SIZE = 256
"""Pixels of the short side after ``torchvision.transforms.Resize``."""

CROP_SIZE = 224
"""Pixels of the square that ``torchvision.transforms.CenterCrop`` then cuts out."""

_STRIP_PIXELS = 32_768

_IMAGENET_NAME = re.compile(r"(n\d{8}_\d+|ILSVRC2012_(?:val|test)_\d{8})(?:_n\d{8})?")


class Box(NamedTuple):
    """A rectangle in the pixel coordinates of the original image; edges may be fractional."""

    left: float
    top: float
    right: float
    bottom: float


def image_id(name: str) -> str:
    """Return the canonical image id of a file name.

    Parameters
    ----------
    name : str
        A path or file name in any of the usual layouts of ImageNet. The wnid that the Hub's
        ImageNet appends to each name is dropped; a name that is not ImageNet's is its own stem.

    Returns
    -------
    str

    Examples
    --------
    >>> image_id("train/n01440764/n01440764_10026.JPEG")
    'n01440764_10026'
    >>> image_id("n01440764_10026_n01440764.JPEG")
    'n01440764_10026'
    >>> image_id("ILSVRC2012_val_00000293_n01440764.JPEG")
    'ILSVRC2012_val_00000293'
    """
    stem = PurePosixPath(name.replace("\\", "/")).stem
    match = _IMAGENET_NAME.fullmatch(stem)
    return match[1] if match else stem


def mask_features(names: list[str], features_per_class: int) -> Features:
    """Return the columns of the config ``masks``, a row per image.

    Parameters
    ----------
    names : list of str
        The name of each class, by label.
    features_per_class : int

    Returns
    -------
    datasets.Features
    """

    def per_feature(dtype: str) -> Sequence:
        return Sequence(Value(dtype), length=features_per_class)

    return Features(
        {
            "image_id": Value("string"),
            "label": ClassLabel(names=names),
            "width": Value("int32"),
            "height": Value("int32"),
            "features": per_feature("int32"),
            "kinds": per_feature("string"),
            "activations": per_feature("float32"),
            "peaks": per_feature("float32"),
            "activation_ranks": per_feature("int32"),
            "grids": Value("binary"),
            "grid_height": Value("int32"),
            "grid_width": Value("int32"),
            "core_mask": Image(),
            "spurious_mask": Image(),
            "spuriosity": Value("float64"),
            "spuriosity_rank": Value("int32"),
            "predicted": ClassLabel(names=names),
        }
    )


def ranking_features(names: list[str]) -> Features:
    """Return the columns of the config ``rankings``, sorted by label and spuriosity rank."""
    return Features(
        {
            "label": ClassLabel(names=names),
            "spuriosity_rank": Value("int32"),
            "image_id": Value("string"),
            "spuriosity": Value("float64"),
        }
    )


def pair_features(names: list[str]) -> Features:
    """Return the columns of the config ``features``, a row per class-feature pair."""
    return Features(
        {
            "label": ClassLabel(names=names),
            "wnid": Value("string"),
            "name": Value("string"),
            "feature": Value("int32"),
            "rank": Value("int32"),
            "kind": Value("string"),
            "sub_kind": Value("string"),
            "main_object": Value("int32"),
            "separate_object": Value("int32"),
            "background": Value("int32"),
            "confidence": Value("float64"),
            "weight": Value("float32"),
            "activation_mean": Value("float64"),
            "activation_std": Value("float64"),
        }
    )


def embedding_features(channels: int) -> Features:
    """Return the columns of the config ``embeddings``: the activations of all neural features."""
    return Features(
        {"image_id": Value("string"), "embedding": Sequence(Value("float16"), length=channels)}
    )


def parquet_schema(features: Features) -> pa.Schema:
    """Return the Arrow schema of published files, readable by `datasets` before release 4 too.

    Release 4 renamed the type ``Sequence`` to ``List`` and still reads the old name.
    """
    schema = features.arrow_schema
    metadata = schema.metadata[b"huggingface"].replace(b'"_type": "List"', b'"_type": "Sequence"')
    return schema.with_metadata({b"huggingface": metadata})


def resized_size(width: int, height: int) -> tuple[int, int]:
    """Return the (width, height) that ``torchvision.transforms.Resize(256)`` gives an image.

    Parameters
    ----------
    width, height : int
        Size of the original image in pixels.

    Returns
    -------
    tuple of int
        The short side is 256; the long side is rounded down, as torchvision does.
    """
    if width <= height:
        return RESIZE_SIZE, int(RESIZE_SIZE * height / width)
    return int(RESIZE_SIZE * width / height), RESIZE_SIZE


def crop_box(width: int, height: int) -> Box:
    """Return the part of an original image that its grids cover.

    The network saw ``CenterCrop(224)(Resize(256)(image))``; this is that square, mapped back
    through both steps with the same rounding as torchvision's.

    Parameters
    ----------
    width, height : int
        Size of the original image in pixels.

    Returns
    -------
    Box
        In pixels of the original image.
    """
    resized_width, resized_height = resized_size(width, height)
    left = round((resized_width - CROP_SIZE) / 2.0)
    top = round((resized_height - CROP_SIZE) / 2.0)
    scale_x, scale_y = width / resized_width, height / resized_height
    return Box(
        left * scale_x, top * scale_y, (left + CROP_SIZE) * scale_x, (top + CROP_SIZE) * scale_y
    )


def encode_grids(
    maps: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Quantise neural activation maps to grids: ``grid = round(255 * NAM / peak)``.

    No minimum is subtracted. A map without a positive value has peak 0 and an all-zero grid;
    in other maps negative values, which a network without a final ReLU can give, become 0.

    Parameters
    ----------
    maps : ndarray of float32, shape (..., height, width)
        Neural activation maps.

    Returns
    -------
    grids : ndarray of uint8, shape (..., height, width)
    peaks : ndarray of float32, shape (...)
        The maximum of each map.
    """
    peaks = np.maximum(maps.max(axis=(-2, -1)), np.float32(0))
    divisors = np.where(peaks > 0, peaks, 1).astype(np.float64)[..., None, None]
    grids = np.rint(255 * np.maximum(maps, 0).astype(np.float64) / divisors)
    return grids.astype(np.uint8), peaks


def pack_grids(grids: npt.NDArray[np.uint8]) -> bytes:
    """Return the bytes of an image's grids, back to back, each row by row.

    Parameters
    ----------
    grids : ndarray of uint8, shape (features, height, width)

    Returns
    -------
    bytes
        ``features * height * width`` of them.
    """
    return grids.tobytes()


def unpack_grids(data: bytes, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return the grids that `pack_grids` made into bytes.

    Parameters
    ----------
    data : bytes
        The column ``grids`` of a row.
    height, width : int
        The columns ``grid_height`` and ``grid_width`` of the row.

    Returns
    -------
    ndarray of uint8, shape (features, height, width)
        A read-only view of `data`.

    Raises
    ------
    ValueError
        If `data` does not hold a whole number of grids.
    """
    if not data or len(data) % (height * width):
        raise ValueError(
            f"grids of {len(data)} bytes are no whole number of {height} x {width} grids: "
            "the row is corrupt or its grid_height and grid_width are another row's"
        )
    return np.frombuffer(data, np.uint8).reshape(-1, height, width)


def union(grids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the pixelwise maximum of grids (or of masks rendered from them).

    Parameters
    ----------
    grids : ndarray of uint8, shape (features, height, width)

    Returns
    -------
    ndarray of uint8, shape (height, width)
    """
    maximum: npt.NDArray[np.uint8] = grids.max(axis=0)
    return maximum


def _interpolation(size: int, cells: int) -> npt.NDArray[np.float64]:
    """Return the (size, cells) matrix of bilinear upsampling, half-pixel centres, edges clamped."""
    centres = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    weights: npt.NDArray[np.float64] = 1 - np.abs(centres[:, None] - np.arange(cells))
    return np.maximum(weights, 0)


def upsample(grids: npt.NDArray[np.generic], height: int, width: int) -> npt.NDArray[np.float64]:
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
    # In strips that BLAS leaves to one thread: spread over all cores, a product this small spends
    # its time waiting for them, and ten times as much where another process uses them too.
    step = max(1, _STRIP_PIXELS // width)
    for start in range(0, height, step):
        strip = slice(start, start + step)
        np.matmul(rows[strip], wide, out=upsampled[..., strip, :])
    return upsampled
