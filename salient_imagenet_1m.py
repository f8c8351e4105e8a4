"""Salient ImageNet-1M: soft masks of core and spurious features, joined with your own ImageNet.

    import salient_imagenet_1m as si

    dataset = si.load(BUILD, images=IMAGES, split="train", streaming=True)

Import this file: `datasets` runs no loading scripts since release 4 (under release 3 it is one). It
needs datasets, numpy, pillow and pyarrow; torch and torchvision where you ask for tensors.

From top to bottom: the byte format and its geometry, of which this file is the single home;
rendering (`render`, `SoftMask`); columns that decode themselves; what options take; builds and
selections of their rows; images in folders and tars; look-up by image id; the dataset
(`SalientImageNet1M`, `load`); joins with any other dataset (`join`); transforms of image and masks
together, and pipelines of others.

* An **image id** is the canonical stem of an ImageNet file name, or class folder and stem of
  another (`image_id`).
* A **grid** is the uint8 form of a neural activation map (NAM) of an image,
  ``grid = round(255 * NAM / peak)``, so that ``NAM ~ grid * peak / 255`` (`encode_grids`).
* A row stores the grids of its class's features back to back (`pack_grids`, `unpack_grids`).
* A grid covers the **box** of the original image that the network saw: its central crop
  (`crop_box`), or all of it (`whole_box`).
* A **soft mask** is a grid upsampled bilinearly to pixels (`render`).
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import importlib.util
import io
import json
import logging
import math
import operator
import os
import re
import reprlib
import shutil
import sys
import tarfile
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Sequence as Sequence_
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from itertools import compress, islice
from numbers import Integral, Real
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, NamedTuple, cast, get_args

import datasets
import fsspec  # type: ignore[import-untyped]  # of datasets' own needs
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.PngImagePlugin
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Features, Image, Value
from datasets.features.features import decode_nested_example, register_feature, require_decoding

__all__ = [
    "CONFIGS",
    "CROP_SIZE",
    "FORMAT_VERSION",
    "KINDS",
    "RESIZE_SIZE",
    "V2",
    "VALIDATED_FRACTION",
    "Box",
    "Build",
    "CenterCrop",
    "ImageFolder",
    "ImageTar",
    "RandomResizedCrop",
    "SalientImageNet1M",
    "SalientImageNet1MConfig",
    "SalientImageNetError",
    "Selection",
    "SoftMask",
    "SoftMaskFeature",
    "StoredImage",
    "TarMember",
    "ToTensors",
    "check_places",
    "collate",
    "crop_box",
    "encode_grids",
    "grid_box",
    "image_bases",
    "image_features",
    "image_id",
    "in_class_folder",
    "is_dataset",
    "join",
    "load",
    "open_dataset",
    "pack_grids",
    "place_of",
    "render",
    "resized_size",
    "skipped",
    "subgroup_ids",
    "union",
    "unpack_grids",
    "whole_box",
    "whole_size",
]

FORMAT_VERSION = 1
"""Version of the published files; a reader refuses a newer one."""

RESIZE_SIZE = 256
"""Pixels of the short side after ``torchvision.transforms.Resize``."""

CROP_SIZE = 224
"""Pixels of the square that ``torchvision.transforms.CenterCrop`` then cuts out."""

KINDS = ("core", "spurious")
"""What a neural feature can be, by vote."""

UInt8s = npt.NDArray[np.uint8]
_ImageSize = tuple[int, int]

_SIZE = ("width", "height")
_CELLS = ("grid_height", "grid_width")
_SHOWN = ("shown_width", "shown_height")

_IMAGENET_NAME = re.compile(r"(n\d{8}_\d+|ILSVRC2012_(?:val|test)_\d{8})(?:_n\d{8})?")


class SalientImageNetError(ValueError):
    """One sentence that says what is wrong with the input, and what to do about it."""


class Box(NamedTuple):
    """A rectangle in the pixel coordinates of the original image; edges may be fractional."""

    left: float
    top: float
    right: float
    bottom: float


def image_id(name: str) -> str:
    """Return the canonical image id of a path or file name, in any usual layout of ImageNet.

    The wnid that the Hub's ImageNet appends is dropped. Of a name that is not ImageNet's the folder
    belongs to the id, as those of other classes may hold the same name.

    Examples
    --------
    >>> image_id("train/n01440764/n01440764_10026.JPEG")
    'n01440764_10026'
    >>> image_id("ILSVRC2012_val_00000293_n01440764.JPEG")
    'ILSVRC2012_val_00000293'
    >>> image_id("birds/train/robin/photo 1.jpg")
    'robin/photo 1'
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if match := _IMAGENET_NAME.fullmatch(path.stem):
        return match[1]
    folder = path.parent.name
    return f"{folder}/{path.stem}" if folder else path.stem


def in_class_folder(name: str, label: int | None, classes: Sequence_[str]) -> str:
    """Return a file name in the folder of its class, if only a dataset's column tells the class.

    `datasets` keeps no folders in the Parquet files that it writes. ImageNet's names need none.
    """
    if label is None or not 0 <= label < len(classes):
        return name
    has_folder = "/" in name or _IMAGENET_NAME.fullmatch(PurePosixPath(name).stem)
    return name if has_folder else f"{classes[label]}/{name}"


def _without_folder(name: str) -> str:
    """Return the stem of an id: builds made before ids had folders have that alone."""
    return name.rpartition("/")[2]


def resized_size(width: int, height: int, short: int = RESIZE_SIZE) -> tuple[int, int]:
    """Return the (width, height) that ``torchvision.transforms.Resize(short)`` gives an image.

    The long side is rounded down, as torchvision does.
    """
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def crop_box(width: int, height: int) -> Box:
    """Return the part of an original image of so many pixels that its grids cover.

    The network saw ``CenterCrop(224)(Resize(256)(image))``; this is that square, mapped back
    through both steps with the same rounding as torchvision's.
    """
    resized_width, resized_height = resized_size(width, height)
    left = round((resized_width - CROP_SIZE) / 2.0)
    top = round((resized_height - CROP_SIZE) / 2.0)
    right, bottom = left + CROP_SIZE, top + CROP_SIZE
    scale_x, scale_y = width / resized_width, height / resized_height
    return Box(left * scale_x, top * scale_y, right * scale_x, bottom * scale_y)


def whole_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Return the (width, height) at which a network is run on a whole image.

    The short side becomes 256 pixels; where the long side would then have more than `longest`, that
    becomes `longest`. Rounded down, as ``torchvision.transforms.Resize(256, max_size=longest)``
    does, but to a pixel at least.
    """
    width, height = resized_size(width, height)
    long = max(width, height)
    if long <= longest:
        return width, height
    short = max(1, int(longest * RESIZE_SIZE / long))
    return (longest, short) if width == long else (short, longest)


def whole_box(width: int, height: int, stride: int, longest: int) -> Box:
    """Return what the grids of a whole image cover, in its pixels: all of it, and a margin.

    The network saw the image of `whole_size`, padded to multiples of its `stride`: half of what is
    missing before, the rest, which may be a pixel more, behind. A cell stands for `stride` x
    `stride` of these pixels, so that there are as many cells as strides; this is that rectangle,
    mapped back to the original.
    """
    edges = []
    for size, shown in zip((width, height), whole_size(width, height, longest), strict=True):
        missing = -shown % stride
        before, scale = missing // 2, size / shown
        edges.append((-before * scale, (shown + missing - before) * scale))
    (left, right), (top, bottom) = edges
    return Box(left, top, right, bottom)


def encode_grids(maps: npt.NDArray[np.float32]) -> tuple[UInt8s, npt.NDArray[np.float32]]:
    """Quantise neural activation maps to grids: ``grid = round(255 * NAM / peak)``.

    No minimum is subtracted. A map without a positive value has peak 0 and an all-zero grid;
    in other maps negative values, which a network without a final ReLU can give, become 0.

    Parameters
    ----------
    maps : ndarray of float32, shape (..., height, width)

    Returns
    -------
    grids : ndarray of uint8, shape (..., height, width)
    peaks : ndarray of float32, shape (...)
    """
    peaks = np.maximum(maps.max(axis=(-2, -1)), np.float32(0))
    divisors = np.where(peaks > 0, peaks, 1).astype(np.float64)[..., None, None]
    grids = np.rint(255 * np.maximum(maps, 0).astype(np.float64) / divisors)
    return grids.astype(np.uint8), peaks


def pack_grids(grids: UInt8s) -> bytes:
    """Return the bytes of an image's grids (features, height, width), back to back, row by row."""
    return grids.tobytes()


def unpack_grids(data: bytes, height: int, width: int) -> UInt8s:
    """Return a row's ``grids``, by its ``grid_height`` and ``grid_width``.

    Returns
    -------
    ndarray of uint8, shape (features, height, width)
        A read-only view of `data`; a ValueError if that is no whole number of grids.
    """
    if not data or len(data) % (height * width):
        raise ValueError(
            f"grids of {len(data)} bytes are no whole number of {height} x {width} grids: "
            "the row is corrupt or its grid_height and grid_width are another row's"
        )
    return np.frombuffer(data, np.uint8).reshape(-1, height, width)


def union(grids: UInt8s) -> UInt8s:
    """Return the pixelwise maximum of grids (features, height, width), or of masks of them."""
    return np.asarray(grids.max(axis=0))


_STRIP = 7 * 32_768
"""Multiplications of one matrix product: OpenBLAS starts threads at 262,144 (newer: twice that),
which in data loading workers fight for the same cores and cost three quarters of the speed."""


def _strips(rows: int, multiplications: int) -> Iterator[slice]:
    """Return strips of rows of so many multiplications each that BLAS starts no threads."""
    step = max(1, _STRIP // multiplications)
    return (slice(start, start + step) for start in range(0, rows, step))


# Rendering: from grids to pixels ------------------------------------------------------------------

Geometry = Literal["aligned", "upstream"]
Extent = Literal["crop", "image"]


def grid_box(width: int, height: int, geometry: Geometry = "aligned") -> Box:
    """Return the part of an original image of so many pixels that its grids are drawn over.

    The geometry ``aligned`` is `crop_box`: a mask lies on what its network saw. ``upstream``
    reproduces the public evaluation code of the first release, which applies Resize(256) and
    CenterCrop(224) to 224-pixel masks a second time and so enlarges them by 256/224 about their
    centre.
    """
    box = crop_box(width, height)
    if geometry == "aligned":
        return box
    _check_options({"geometry": geometry})
    zoom = RESIZE_SIZE / CROP_SIZE
    x, y = (box.right - box.left) * (zoom - 1) / 2, (box.bottom - box.top) * (zoom - 1) / 2
    return Box(box.left - x, box.top - y, box.right + x, box.bottom + y)


@dataclass(frozen=True)
class _Target:
    """A window of an image of width x height, or all of it, shown at `size` or at its own."""

    width: int
    height: int
    window: Window | None = None
    size: tuple[int, int] | None = None
    flip: bool = False
    geometry: Geometry = "aligned"
    covered: Box | None = None
    """What the grids of a whole image cover; those of a crop, what their geometry says."""

    def __post_init__(self) -> None:
        left, top, right, bottom = self.edges
        across = -math.inf < left < right < math.inf
        down = -math.inf < top < bottom < math.inf
        if not (across and down and min(self.shape) > 0):
            raise SalientImageNetError(
                f"The window {self.edges}, shown at {self.size or 'its own size'}, has no pixels: "
                "give left, top, right, bottom in pixels of the original image, and a size of at "
                "least 1 x 1."
            )

    @property
    def edges(self) -> Window:
        return self.window or (0, 0, self.width, self.height)

    @property
    def shape(self) -> tuple[int, int]:
        left, top, right, bottom = self.edges
        return self.size or (round(bottom - top), round(right - left))

    @property
    def box(self) -> Box:
        return self.covered or grid_box(self.width, self.height, self.geometry)


class _Axis(NamedTuple):
    """An axis of a target: its first pixel in the box, and the cells' weights (pixels, cells)."""

    first: int
    weights: npt.NDArray[np.float32]


def _axes(wanted: Iterable[tuple[_Target, tuple[int, ...]]]) -> list[tuple[_Axis, _Axis]]:
    """Return the vertical and the horizontal axis of targets, for grids of these shapes.

    Weights are bilinear, half-pixel centres, edges clamped. All axes lie behind each other in a few
    long arrays: where a target is small, numpy's calls would cost more than what they do.
    """
    numbers: list[tuple[Any, ...]] = []
    for target, (rows, columns) in wanted:
        left, top, right, bottom = target.edges
        height, width = target.shape
        box = target.box
        numbers.append((height, top, bottom, box.top, box.bottom, rows, False))
        numbers.append((width, left, right, box.left, box.right, columns, target.flip))
    if not numbers:
        return []
    pixels, start, stop, low, high, cells, _ = np.array(numbers, np.float64).T
    scale = (stop - start) / pixels
    edges = (np.ceil((edge - start) / scale - 0.5) for edge in (low, high))
    first, last = (np.clip(edge, 0, pixels).astype(np.int64) for edge in edges)
    inside = last - first
    ends = np.cumsum(inside)
    # Where the pixels' centres lie among the cells'.
    step = scale * cells / (high - low)
    zeroth = (start - low) * cells / (high - low) + (step - 1) / 2
    pixel = np.arange(ends[-1]) - np.repeat(ends - inside - first, inside)
    places = pixel * np.repeat(step, inside) + np.repeat(zeroth, inside)
    places = np.clip(places, 0, np.repeat(cells - 1, inside))
    # Cell by cell, which numpy does in longer loops than pixel by pixel.
    distances = places - np.arange(cells.max())[:, None]
    np.abs(distances, out=distances)
    weights = np.maximum(np.subtract(1.0, distances, out=distances), 0.0, out=distances)
    weights = weights.astype(np.float32)
    axes = []
    parts = zip(first.tolist(), inside.tolist(), ends.tolist(), numbers, strict=True)
    for begin, length, end, (size, *_, count, flip) in parts:
        part = weights[:count, end - length : end]
        # In order, or each product of matrices would make a copy.
        part = np.ascontiguousarray(part[:, ::-1] if flip else part)
        axes.append(_Axis(size - begin - length if flip else begin, part.T))
    return list(zip(axes[::2], axes[1::2], strict=True))


def _render(grids: Sequence_[UInt8s], targets: Sequence_[_Target], out: Sequence_[UInt8s]) -> None:
    """Render masks: of each, the pixelwise maximum of the soft masks of its grids on its target."""
    wanted = [(target, part.shape[1:]) for part, target in zip(grids, targets, strict=True)]
    unique = list(dict.fromkeys(wanted))  # the masks of an image have the same
    axes = dict(zip(unique, _axes(unique), strict=True))
    for part, key, mask in zip(grids, wanted, out, strict=True):
        _draw(part, *axes[key], mask)


def _draw(grids: UInt8s, down: _Axis, across: _Axis, mask: UInt8s) -> None:
    """Draw a mask: the pixelwise maximum of ``rows @ grid @ columns.T``, zero outside the box.

    Strip by strip, from those lines of the grids alone that it lies between, while in the cache.
    """
    (top, rows), (left, columns) = down, across
    features, height, width = grids.shape
    inside = mask[top : top + len(rows), left : left + len(columns)]
    if inside.shape != mask.shape or not features:
        mask[:] = 0
    if not inside.size or not features:
        return
    lines = grids.reshape(-1, width).astype(np.float32)
    stretched = np.empty((len(lines), len(columns)), np.float32)
    for strip in _strips(len(lines), columns.size):
        np.matmul(lines[strip], columns.T, out=stretched[strip])
    stretched += 0.5  # makes the cast below, which truncates, round
    wide = stretched.reshape(features, height, -1)
    for strip in _strips(len(rows), height * len(columns)):
        weights = rows[strip]
        between = slice(max(0, int(weights[0].argmax()) - 1), int(weights[-1].argmax()) + 2)
        masks = np.matmul(weights[:, between], wide[:, between])
        inside[strip] = np.maximum.reduce(masks, axis=0)


def _render_torch(
    grids: Any, chosen: Any, targets: Sequence_[_Target], cells: Sequence_[tuple[int, int]]
) -> Any:
    """Return what `_render` does for a batch of grids, a tensor of shape (n, features, h, w).

    What lies behind the `cells` of each image is padding, to which no pixel gives weight.
    """
    import torch  # noqa: PLC0415

    grids = grids * torch.as_tensor(chosen, device=grids.device)[..., None, None]
    count, features, grid_height, grid_width = grids.shape
    height, width = targets[0].shape
    rows = np.zeros((count, height, grid_height), np.float32)
    columns = np.zeros((count, width, grid_width), np.float32)
    axes = _axes(zip(targets, cells, strict=True))
    for index, ((down, across), (high, wide)) in enumerate(zip(axes, cells, strict=True)):
        rows[index, down.first : down.first + len(down.weights), :high] = down.weights
        columns[index, across.first : across.first + len(across.weights), :wide] = across.weights
    rows_on_device = torch.from_numpy(rows).to(grids.device)
    columns_on_device = torch.from_numpy(columns).to(grids.device).mT
    masks = torch.zeros((count, height, width), dtype=torch.uint8, device=grids.device)
    for feature in range(features):
        # One feature at a time: five float maps of a batch are a gigabyte.
        part = grids[:, feature].float() @ columns_on_device
        upsampled = (rows_on_device @ part).add_(0.5)
        torch.maximum(masks, upsampled.to(torch.uint8), out=masks)
    return masks


def render(
    example: Mapping[str, Any],
    kind: str | int = "core",
    *,
    size: int | tuple[int, int] | None = None,
    window: Any = None,
    flip: Any = None,
    geometry: Geometry = "aligned",
) -> Any:
    """Render the mask of an example, or those of a batch, at the pixels that are wanted.

    Parameters
    ----------
    example : mapping
        A row with the columns ``grids``, ``kinds``, ``width``, ``height`` (and, where ``grids`` is
        bytes, ``grid_height`` and ``grid_width``), or a batch: lists of them, or tensors as a
        ``DataLoader`` collates them, where ``grids`` is uint8 of shape (..., features, grid_height,
        grid_width), and bool ``core`` and ``spurious`` (..., features) stand for ``kinds``. Where
        there is a column ``box``, grids cover that of the image, and not what the geometry says.
    kind : {"core", "spurious"} or int
        The union of the class's core or spurious features, or one feature by position.
    size : int or (height, width), optional
        Pixels of the result, by default the window's. A batch of windows of unlike sizes needs it.
    window : (left, top, right, bottom) or one for each row, optional
        The part of the original image to show, in its pixels; fractions and parts outside of the
        image are allowed. By default the example's column ``window`` where it has one, else all.
    flip : bool or one for each row, optional
        Whether the window is mirrored left to right; by default the column ``flip``, else false.
    geometry : {"aligned", "upstream"}
        See `grid_box`.

    Returns
    -------
    ndarray or Tensor of uint8, shape (height, width) or (rows, height, width)
        255 is the peak of a map; 0 is also what lies outside the box that the grids cover, and the
        mask of a class without a feature of the kind. A tensor on its device where ``grids`` is.

    Raises
    ------
    SalientImageNetError
        If a column, kind or geometry does not exist, a window has no pixels, or sizes differ.
    """
    _check_columns(example, kind)
    _check_options({"geometry": geometry})
    shape: Any = size if size is None or isinstance(size, tuple | list) else (size, size)
    if shape is not None and not (len(shape) == 2 and all(map(_is_count, shape))):
        raise SalientImageNetError(f"size cannot be {size!r}: give pixels, or (height, width).")
    batched = np.ndim(example["width"]) > 0
    grids, cells = _grids_of(example, batched)
    rows, features = grids.shape[:2]
    chosen = _chosen(example, kind, rows, features)
    window = example.get("window") if window is None else window
    flip = example.get("flip", False) if flip is None else flip
    windows: list[Any] = [None] * rows
    try:
        if window is not None and len(window):
            windows = np.broadcast_to(np.asarray(window, np.float64), (rows, 4)).tolist()
        flips = np.full(rows, flip, np.bool_).tolist()
    except (TypeError, ValueError, OverflowError) as error:
        raise SalientImageNetError(
            f"The window or flip cannot be used ({_first_line(error)}): give left, top, right, "
            "bottom, and True or False, or one of these for each row."
        ) from error
    sizes = (_numbers(example[side]) for side in _SIZE)
    boxes: list[Any] = [None] * rows
    if "box" in example:
        boxes = [Box(*box) for box in np.asarray(example["box"]).reshape(rows, 4).tolist()]
    targets = [
        _Target(width, height, cut and tuple(cut), shape and tuple(shape), mirrored, geometry, box)
        for width, height, cut, mirrored, box in zip(*sizes, windows, flips, boxes, strict=True)
    ]
    if len({target.shape for target in targets}) > 1:
        raise SalientImageNetError(
            "The rows of the batch differ in size: say size=, or render them one by one."
        )
    masks: Any
    if not isinstance(grids, np.ndarray):
        masks = _render_torch(grids, chosen, targets, cells)
    else:
        masks = np.empty((rows, *targets[0].shape), np.uint8)
        kept = np.asarray(chosen, np.bool_).reshape(grids.shape[:2])
        parts = zip(grids, kept, cells, strict=True)
        _render([part[own, :high, :wide] for part, own, (high, wide) in parts], targets, masks)
    return masks if batched else masks[0]


def _check_columns(example: Mapping[str, Any], kind: str | int) -> None:
    if not isinstance(example, Mapping):
        raise SalientImageNetError(
            f"render takes an example, a dict of columns, not {type(example).__name__}."
        )
    needed = ["grids", "width", "height"]
    if kind in KINDS and kind not in example:
        needed.append("kinds")
    if isinstance(example.get("grids"), bytes):
        needed += _CELLS
    if absent := [name for name in needed if name not in example]:
        raise SalientImageNetError(
            f"render needs the columns {', '.join(absent)} too: have them among columns=."
        )


def _grids_of(example: Mapping[str, Any], batched: bool) -> tuple[Any, list[tuple[int, int]]]:
    """Return grids of shape (rows, features, height, width), an array or a tensor.

    Those of a batch may be of unlike sizes, and are padded to the largest: each row's own height
    and width come with them.
    """
    grids, kinds = example["grids"], example.get("kinds", ())
    told = [_numbers(example[name]) for name in _CELLS if name in example]
    cells = list(zip(*told, strict=True))
    if not isinstance(grids[0] if batched else grids, bytes):
        grids = np.asarray(grids, np.uint8) if isinstance(grids, list) else grids
        grids = grids if batched else grids[None]
        return grids, cells if len(told) == 2 else [tuple(grids.shape[-2:])] * len(grids)
    features = len(kinds[0] if batched and len(kinds) else kinds)
    parts = []
    for data, (height, width) in zip(grids if batched else [grids], cells, strict=True):
        # Bytes that `datasets` passed through numpy have lost their last zeros.
        whole = data if data.endswith(b"\0") else data.ljust(features * height * width, b"\0")
        parts.append(unpack_grids(whole, height, width))
    largest = np.max([part.shape for part in parts], axis=0)
    padded = np.zeros((len(parts), *largest), np.uint8)
    for part, room in zip(parts, padded, strict=True):
        room[tuple(map(slice, part.shape))] = part
    return padded, cells


def _numbers(column: Any) -> list[Any]:
    """Return the numbers of a column of a row, or of a batch of rows."""
    return np.asarray(column).reshape(-1).tolist()


def _chosen(example: Mapping[str, Any], kind: str | int, rows: int, features: int) -> Any:
    """Return which features to render, bool of shape (rows, features), or (features,) of a row."""
    if isinstance(kind, int):
        if not -features <= kind < features:
            raise SalientImageNetError(f"There is no feature {kind}: a class has {features}.")
        return np.arange(features) == np.full((rows, 1), kind % features)
    if kind not in KINDS:
        raise SalientImageNetError(f"There is no kind {kind!r}: use core, spurious or a position.")
    return example[kind] if kind in example else np.asarray(example["kinds"]) == kind


_NO_GRIDS = np.empty((0, 1, 1), np.uint8)
_PNG_GRIDS = "salient_imagenet_1m"


class SoftMask(PIL.Image.Image):
    """A mask as a PIL image of mode L whose pixels are rendered when they are first asked for.

    Whoever wants only a crop asks `cropped` for it and never pays for the full size. In a pickle,
    on its way between processes, it is its `grids`, uint8 of shape (features, grid_height,
    grid_width): a few hundred bytes.
    """

    def __init__(self, grids: UInt8s, target: _Target) -> None:
        super().__init__()
        self.grids = grids
        self.target = target
        # Pillow has no public way to say what an image will be before it is loaded; its own lazy
        # images (`PIL.ImageFile`) set these two as well, and leave `_im` None until `load`.
        self._mode, self._size = "L", target.shape[::-1]

    @property
    def box(self) -> Box:
        """The part of the original image that the grids cover; the mask is 0 outside of it."""
        return self.target.box

    @property
    def rendered(self) -> bool:
        """Whether somebody has looked at the pixels, and may have changed them."""
        return self._im is not None

    def load(self) -> Any:
        """Render the pixels unless that is done; PIL calls this before it touches them."""
        if not self.rendered:
            self.im = PIL.Image.fromarray(self.numpy()).im
        return super().load()

    def numpy(self, out: UInt8s | None = None) -> UInt8s:
        """Render the mask as uint8 of shape (height, width), without PIL, into `out` if given."""
        if out is not None and (out.shape != self.target.shape or out.dtype != np.uint8):
            raise SalientImageNetError(
                f"out is {out.dtype} of shape {out.shape}: give uint8 of {self.target.shape}."
            )
        pixels = np.empty(self.target.shape, np.uint8) if out is None else out
        if self.rendered:
            np.copyto(pixels, np.asarray(self))
        else:
            _render([self.grids], [self.target], [pixels])
        return pixels

    def cropped(self, window: Window, size: tuple[int, int], flip: bool = False) -> SoftMask:
        """Return the mask of a part of the original image, at (height, width), unrendered."""
        return SoftMask(self.grids, replace(self.target, window=window, size=size, flip=flip))

    def stored(self) -> dict[str, Any] | None:
        """Return what a row stores of the mask, None where it was cropped or changed."""
        target = self.target
        if target.window or target.flip:
            return None
        if self.rendered and self.tobytes() != SoftMask(self.grids, target).tobytes():
            return None
        values = self.grids.tobytes(), *self.grids.shape[1:], target.width, target.height
        shown = target.size[::-1] if target.size else ()
        names = (*SoftMaskFeature.pa_type.names, *(_SHOWN if shown else ()))
        box = {"box": list(target.covered)} if target.covered else {}
        return {**dict(zip(names, (*values, *shown), strict=True)), **box}

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:  # noqa: A002 (PIL's)
        """Save as PIL does; PNGs of whole masks, as `datasets` makes in ``map``, tell the grids."""
        if stored := self.stored():
            text = PIL.PngImagePlugin.PngInfo()
            text.add_text(_PNG_GRIDS, json.dumps({**stored, "grids": stored["grids"].hex()}))
            params = {"pnginfo": text, **params}
        super().save(fp, format, **params)

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.rendered:
            return SoftMask, (self.grids, self.target)
        return PIL.Image.frombytes, ("L", self.size, self.tobytes())


# Columns that decode themselves ------------------------------------------------------------------

skipped: Counter[str] = Counter()
"""How many images this process has left out so far, by reason: ``missing`` or ``mismatch``."""

_UNDECODABLE = (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError)
"""What Pillow raises where there is no image that it can decode."""

_RESIZED_ALLOWED = "salient_imagenet_1m: resized copies allowed"
_logger = logging.getLogger(__name__)
_warn_once = lru_cache(maxsize=64)(_logger.warning)


@dataclass
class StoredImage(Image):  # type: ignore[misc]
    """An image column that decodes to RGB exactly as stored.

    Unlike `datasets.Image` it does not rotate by EXIF: masks were made on unrotated pixels. The
    size of the image that masks were made from travels along and is compared on decoding.

    With ``decode=False`` it gives a dict of ``bytes`` (None for an image that is a file of its
    own), ``path``, ``width`` and ``height``. An image of another size than that from which its
    masks were made is an error, or with ``on_mismatch="warn"`` a warning.
    """

    mode: str | None = "RGB"
    on_mismatch: str = "error"
    pa_type: ClassVar[Any] = pa.struct(
        {"bytes": pa.binary(), "path": pa.string(), "width": pa.int32(), "height": pa.int32()}
    )
    _type: str = field(default="StoredImage", init=False, repr=False)

    def encode_example(self, value: Any) -> dict[str, Any]:
        """Return the stored form of a PIL image, array, path, or dict of bytes and path."""
        size = value.get if isinstance(value, dict) else partial(getattr, value)
        return {**super().encode_example(value), **{name: size(name, None) for name in _SIZE}}

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> PIL.Image.Image:
        """Return the image as RGB, in the orientation of its stored pixels."""
        if isinstance(value, PIL.Image.Image):
            return value
        content = value["bytes"]
        try:
            file = _local(value["path"]) if content is None else io.BytesIO(content)
            image = PIL.Image.open(file)
            image.load()
            decoded = image if image.mode == "RGB" else image.convert("RGB")
        except FileNotFoundError as error:
            raise SalientImageNetError(
                f"The image {value['path']} is missing, though it was there when the dataset was "
                "loaded: put it back, or load the dataset again."
            ) from error
        except _UNDECODABLE as error:
            raise SalientImageNetError(
                f"The image {value['path']} cannot be decoded ({error}): replace the file by a "
                "whole copy."
            ) from error
        expected = value["width"], value["height"]
        if self.on_mismatch == "warn":
            decoded.info[_RESIZED_ALLOWED] = True
        if None not in expected and decoded.size != expected:
            message = _mismatch(value["path"], decoded.size, expected)
            if self.on_mismatch == "error":
                raise SalientImageNetError(message)
            _logger.warning(message)
        return decoded

    def cast_storage(self, storage: pa.Array) -> pa.StructArray:
        """Return Arrow's form of the column from what `datasets.Image` takes."""
        return self._with_sizes(Image().cast_storage(storage), storage)

    def embed_storage(self, storage: pa.StructArray, *args: Any, **kwargs: Any) -> pa.StructArray:
        """Return the column with the bytes of its files in it."""
        image = Image().embed_storage(Image().cast_storage(storage), *args, **kwargs)
        return self._with_sizes(image, storage)

    def _with_sizes(self, image: pa.StructArray, storage: pa.Array) -> pa.StructArray:
        """Return images in the form of this column, with the sizes that `storage` has, if any."""
        told = storage.type.names if pa.types.is_struct(storage.type) else ()
        unknown = pa.nulls(len(storage), pa.int32())
        sizes = [storage.field(n).cast(pa.int32()) if n in told else unknown for n in _SIZE]
        parts, fields = [image.field(0), image.field(1), *sizes], list(self.pa_type)
        return pa.StructArray.from_arrays(parts, fields=fields, mask=storage.is_null())


@dataclass
class SoftMaskFeature:
    """A column of masks, stored as grids and decoded to `SoftMask`, which renders on demand.

    With ``decode=False`` it gives a dict of ``grids``, ``grid_height``, ``grid_width``, ``width``
    and ``height``. For `geometry` see `grid_box`. With `copies`, masks have the size of an image
    that may be a resized copy: ``shown_width`` and ``shown_height``. With the `extent` ``image``,
    grids cover the ``box`` that is stored with them.
    """

    decode: bool = True
    geometry: str = "aligned"
    copies: bool = False
    extent: str = "crop"
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "PIL.Image.Image"
    pa_type: ClassVar[Any] = pa.struct(
        {"grids": pa.binary(), **dict.fromkeys(("grid_height", "grid_width", *_SIZE), pa.int32())}
    )
    _type: str = field(default="SoftMaskFeature", init=False, repr=False)

    def __call__(self) -> Any:
        """Return the Arrow type, as `datasets` asks for it."""
        shown = _SHOWN_FIELDS if self.copies else []
        box = [_BOX_FIELD] if self.extent == "image" else []
        return pa.struct([*self.pa_type, *shown, *box])

    def encode_example(self, value: Any) -> Any:
        """Return the stored form of a mask, or of the PNG that `datasets` made of one."""
        if value is None or (isinstance(value, dict) and "grids" in value):
            return value
        stored = None
        if isinstance(value, SoftMask):
            stored = value.stored()
        elif isinstance(value, dict) and value.get("bytes"):
            with PIL.Image.open(io.BytesIO(value["bytes"])) as picture:
                text = getattr(picture, "text", {}).get(_PNG_GRIDS, "null")
            stored = json.loads(text)
            stored = stored and {**stored, "grids": bytes.fromhex(stored["grids"])}
        names = {field.name for field in self()}
        if stored is None or not stored.keys() <= names:
            raise SalientImageNetError(
                "A mask that was cropped or changed is not stored as grids: return it under "
                "another name, or do this in transform= when loading."
            )
        return stored

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> Any:
        """Return the mask, unrendered."""
        if value is None or isinstance(value, PIL.Image.Image):
            return value
        grids = unpack_grids(value["grids"], value["grid_height"], value["grid_width"])
        size = (value["shown_height"], value["shown_width"]) if self.copies else None
        geometry = cast(Geometry, self.geometry)
        box = Box(*value["box"]) if self.extent == "image" else None
        target = _Target(value["width"], value["height"], None, size, False, geometry, box)
        return SoftMask(grids, target)

    def cast_storage(self, storage: pa.Array) -> pa.StructArray:
        """Return Arrow's form of the column."""
        if pa.types.is_null(storage.type):
            return pa.nulls(len(storage), self())
        if pa.types.is_struct(storage.type) and "grids" not in storage.type.names:
            return pa.array(map(self.encode_example, storage.to_pylist()), self())
        return storage.cast(self())

    def flatten(self) -> Any:
        """Return the column itself, or the columns of its stored form."""
        return self if self.decode else {f.name: Value(str(f.type)) for f in self()}


_SHOWN_FIELDS = [pa.field(name, pa.int32()) for name in _SHOWN]
_BOX_FIELD = pa.field("box", pa.list_(pa.float64(), 4))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that registering is experimental
    register_feature(StoredImage, "StoredImage")
    register_feature(SoftMaskFeature, "SoftMaskFeature")


def image_features(
    masks: Features,
    on_mismatch: str = "error",
    geometry: str = "aligned",
    decode: bool = True,
    extent: str = "crop",
    objects: bool = False,
) -> Features:
    """Return the columns of the config ``images``, from those of ``masks``."""
    mask = partial(SoftMaskFeature, geometry=geometry, copies=on_mismatch == "warn", extent=extent)
    first = {
        "image": StoredImage(decode=decode, on_mismatch=on_mismatch),
        **{name: mask() for name in _PICTURES},
    }
    rest = {name: masks[name] for name in masks if name not in first}
    drawn = {_OBJECT: Image(decode=decode)} if objects else {}
    box = {"box": datasets.Sequence(Value("float64"), length=4)} if extent == "image" else {}
    return Features({**first, **drawn, **rest, **box})


def _local(path: str) -> Any:
    """Return a path that PIL can open: itself, or a file of another file system."""
    if "://" not in path:
        return path
    with fsspec.open(path) as file:
        return io.BytesIO(file.read())


def _mismatch(name: str, seen: _ImageSize, expected: _ImageSize) -> str:
    return (
        f"The image {name} is {seen[0]} x {seen[1]} pixels, but masks were made from "
        f"{expected[0]} x {expected[1]}: use the original images and not resized or rotated "
        "copies, or on_mismatch='warn' or 'skip'."
    )


def _masks_to_images(
    table: pa.Table, images: pa.StructArray, seen: Sequence_[_ImageSize | None] | None = None
) -> pa.Table:
    """Return rows of the config ``images`` from rows of ``masks`` (without their pictures).

    `seen` are the sizes of images that may be resized copies, where masks are to follow these.
    """
    kinds, packed = _matrix(table["kinds"]), table["grids"].to_pylist()
    bytes_each = _bytes_of_a_grid(table, packed, kinds.shape[1])
    every = np.frombuffer(b"".join(packed), np.uint8)
    sizes = [table[name].combine_chunks() for name in SoftMaskFeature.pa_type.names[1:]]
    image = [images.field(0), images.field(1), *sizes[2:]]
    fields = list(SoftMaskFeature.pa_type)
    if seen is not None:
        shown = [size or own for size, own in zip(seen, _sizes(table), strict=True)]
        sizes += map(pa.array, np.array(shown, np.int32).reshape(-1, 2).T)
        fields += _SHOWN_FIELDS
    if "box" in table.column_names:
        sizes.append(table["box"].combine_chunks())
        fields.append(_BOX_FIELD)
    columns = {"image": pa.StructArray.from_arrays(image, fields=list(StoredImage.pa_type))}
    for kind in KINDS:
        chosen = kinds == kind
        counts = chosen.sum(axis=1)
        ends = np.concatenate([[0], np.cumsum(counts * bytes_each)]).astype(np.int32)
        own = every[np.repeat(chosen.ravel(), np.repeat(bytes_each, chosen.shape[1]))]
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(own)]
        grids = pa.Array.from_buffers(pa.binary(), len(table), buffers)
        columns[f"{kind}_mask"] = pa.StructArray.from_arrays(
            [grids, *sizes], fields=fields, mask=pa.array(counts == 0)
        )
    rest = {name: table[name] for name in table.column_names if name not in columns}
    return pa.table({**columns, **rest})


def _bytes_of_a_grid(
    table: pa.Table, packed: Sequence_[bytes], features: int
) -> npt.NDArray[np.int64]:
    """Return the bytes of a grid of each row, of which all its features have one."""
    heights, widths = (table[name].to_numpy().astype(np.int64) for name in _CELLS)
    found = np.fromiter(map(len, packed), np.int64, len(packed))
    if not np.array_equal(found, features * heights * widths):
        raise SalientImageNetError(
            "Rows of masks have grids of other sizes than they say: the build is corrupt, make it "
            "again."
        )
    cells: npt.NDArray[np.int64] = heights * widths
    return cells


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column of lists of fixed size as an array with a row for each."""
    values: npt.NDArray[Any] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), column.type.list_size)


# What options take --------------------------------------------------------------------------------

OnMissing = Literal["error", "skip"]
OnMismatch = Literal["error", "warn", "skip"]
Zone = Literal["validated", "first_release"]


def _is_count(value: Any, least: int = 1, most: int = 1 << 31) -> bool:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and least <= int(value) <= most


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0 < float(value) < 1


def _is_part(value: Any) -> bool:
    return isinstance(value, Real) and 0 <= float(value) <= 1


def _is_range(value: Any) -> bool:
    two = isinstance(value, list | tuple) and len(value) == 2
    return two and all(isinstance(v, Real) for v in value) and 0 < value[0] <= value[1] < math.inf


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, Collection) and all(isinstance(name, str) for name in value)


def _is_path(value: Any) -> bool:
    try:
        encoded = os.fsencode(value)
    except (TypeError, UnicodeEncodeError):
        return False
    fits = len(encoded) < 4096 and max(map(len, encoded.split(b"/"))) < 256
    return fits and b"\0" not in encoded and not isinstance(value, bytes)


_PIXELS = (_is_count, "a number of pixels, 1 or more")
_YES_OR_NO = (lambda value: isinstance(value, bool), "True or False")
_PATH = (_is_path, "a path, as a str or Path")
_NAME = (lambda value: isinstance(value, str), "a name")
_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "directory": _PATH,
    "images": (lambda value: not isinstance(value, str | os.PathLike) or _is_path(value), _PATH[1]),
    "cache_dir": _PATH,
    "split": (
        lambda value: isinstance(value, str | datasets.NamedSplit),
        "the name of a split, such as 'train'",
    ),
    "columns": (_is_list_of_names, "a list of names, such as ['image', 'label']"),
    "ids": (
        lambda value: not isinstance(value, str) and _is_list_of_names(value),
        "a list of image ids, such as ['n01440764_10026']",
    ),
    "image_column": _NAME,
    "id_column": _NAME,
    "transform": (callable, "a function of an example, such as si.CenterCrop(224)"),
    "transforms": (callable, "a pipeline, such as v2.Compose([...])"),
    "threads": (partial(_is_count, least=0), "a number of threads, 0 or more"),
    "num_proc": (_is_count, "a number of processes, 1 or more"),
    "streaming": _YES_OR_NO,
    "render": _YES_OR_NO,
    "decode": _YES_OR_NO,
    "ranked": _YES_OR_NO,
    "objects": _YES_OR_NO,
    "segmented": _YES_OR_NO,
    "validated": _YES_OR_NO,
    "same": (_is_part, "a share of people, from 0 to 1"),
    "subgroup": (
        lambda value: all(_is_count(one, least=0) for one in np.ravel(value).tolist()),
        "the number of a subgroup, 0 or more, or a list of some",
    ),
    "size": _PIXELS,
    "mask_size": _PIXELS,
    "resize": _PIXELS,
    "scale": (_is_range, "the least and the greatest part of the area, such as (0.08, 1)"),
    "ratio": (_is_range, "the least and the greatest width over height, such as (3/4, 4/3)"),
    "flip": (_is_part, "a probability, from 0 to 1"),
    "seed": (partial(_is_count, least=0, most=1 << 128), "a number, 0 or more"),
}
"""What the options of functions and transforms take, other than None where that is a default."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "on_missing": get_args(OnMissing),
    "on_mismatch": get_args(OnMismatch),
    "geometry": get_args(Geometry),
    "extent": get_args(Extent),
    "zone": get_args(Zone),
    "format": ("torch",),
}
"""What the options are that have a few values."""

_NEEDED = {"directory", "streaming", "render", "decode", "ranked", "size", "resize", "scale"}
_NEEDED |= {"ratio", "flip", "transforms", "on_missing", "on_mismatch", "geometry", "extent"}
_NEEDED |= {"objects", "segmented", "subgroup"}


def _check_options(given: Mapping[str, Any]) -> None:
    """Refuse what an option cannot be; what the tables do not tell of is looked at elsewhere."""
    for name, value in given.items():
        if value is None and name not in _NEEDED:
            continue
        known = _CHOICES.get(name)
        if known and not (isinstance(value, str) and value in known):
            raise SalientImageNetError(f"There is no {name} {value!r}: use {' or '.join(known)}.")
        fits, wanted = _OPTIONS.get(name, (None, ""))
        if fits and not fits(value):
            cannot = f"{name} cannot be {reprlib.repr(value)}"
            raise SalientImageNetError(f"{cannot}: give {wanted}.")


def _check_select(select: Any) -> None:
    if not isinstance(select, Selection | None):
        raise SalientImageNetError("select= takes a Selection, such as si.Selection(labels=[0]).")


# A build ------------------------------------------------------------------------------------------

CONFIGS = ("images", "masks", "rankings", "features", "whole", "segmentations")

_ALIASES = {"val": "validation"}
_PICTURES = ("core_mask", "spurious_mask")
_OBJECT = "object_mask"
_BATCH_ROWS = 1024
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_CONFIG = "masks|rankings|features|embeddings|whole|segmentations"
_SHARD_NAME = re.compile(rf"({_CONFIG})/\w+-\d{{5,}}-of-\d{{5,}}\.parquet")
_MALFORMED = ValueError | KeyError | TypeError | AttributeError | ArithmeticError | RecursionError
"""What json, or a look into what it read, raises."""


@dataclass(frozen=True)
class Build:
    """A directory that the builder wrote, here or on the Hub.

    `location` is a local path or a URL that fsspec opens, without a trailing slash; `manifest` the
    contents of its manifest.json.
    """

    location: str
    manifest: dict[str, Any]

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Build:
        """Open a local directory, the id of a dataset on the Hub, or a URL that fsspec opens.

        Raises
        ------
        FileNotFoundError, SalientImageNetError
            If there is no such directory, or it is no build, or of a newer format.
        """
        _check_options({"directory": directory})
        location = os.fspath(directory).rstrip("/")
        if _HUB_ID.fullmatch(location) and not Path(location).exists():
            location = f"hf://datasets/{location}"
        if "://" not in location and not Path(location).is_dir():
            raise FileNotFoundError(
                f"There is no directory {location}: give the path of a build of Salient "
                "ImageNet-1M, or its id on the Hub."
            )
        try:
            with _opened(f"{location}/manifest.json") as file:
                manifest = json.load(file)
            version = int(manifest["format_version"])
            build = cls(location, manifest)
            manifest["files"].keys(), *map(build.told_images_by_label, manifest["splits"].keys())
        except Exception as error:
            if location.startswith("hf://") and isinstance(error, FileNotFoundError):
                sentence = (
                    f"There is no build of Salient ImageNet-1M at {location}, or none that you may "
                    "see: check its id, and run `hf auth login` if it is private."
                )
            elif isinstance(error, FileNotFoundError | _MALFORMED):
                sentence = (
                    f"{location} is no build of Salient ImageNet-1M, it has no valid "
                    "manifest.json: give the directory that was the builder's --out."
                )
            else:
                sentence = _unreadable(location, error)
            raise SalientImageNetError(sentence) from error
        if version > FORMAT_VERSION:
            raise SalientImageNetError(
                f"{location} has format version {version}, newer than this loader's "
                f"{FORMAT_VERSION}: upgrade salient-imagenet-1m."
            )
        return build

    @property
    def splits(self) -> list[str]:
        """The splits that the build holds."""
        return list(self.manifest["splits"])

    @property
    def digest(self) -> str:
        """A name for the build's contents: it changes when any of its files does."""
        content = json.dumps([self.location, self.manifest["files"]], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def split(self, name: str) -> str:
        """Return the name of a split as published; a SalientImageNetError says if there is none."""
        split = _ALIASES.get(name, name)
        if split not in self.splits:
            raise SalientImageNetError(
                f"{self.location} has no split {name}: use {' or '.join(self.splits)}."
            )
        return split

    def has(self, config: str, split: str) -> bool:
        """Return whether a split has a config that not every build has."""
        return any(name.startswith(f"{config}/{split}-") for name in self.manifest["files"])

    def files(self, config: str, split: str) -> list[str]:
        """Return where the Parquet files of a config and split lie, in order."""
        prefix = f"{config}/{split}-"
        names = sorted(name for name in self.manifest["files"] if name.startswith(prefix))
        if not names:
            raise SalientImageNetError(f"{self.location} lists no files {prefix}*: build it again.")
        for name in names:
            if not _SHARD_NAME.fullmatch(name):
                raise SalientImageNetError(
                    f"The manifest.json of {self.location} lists {name!r}, which is not the name "
                    "of a file of a build: download or copy the build again."
                )
        return [f"{self.location}/{name}" for name in names]

    def features(self, config: str, split: str) -> Features:
        """Return the columns of a config, read from the first file's metadata."""
        with _parquet(self.files(config, split)[0]) as opened:
            return Features.from_arrow_schema(opened.schema_arrow)

    def tables(self, config: str, split: str, columns: list[str]) -> Iterator[pa.Table]:
        """Yield columns of a config and split in order, some rows at a time."""
        for file in self.files(config, split):
            yield from _scan(file, columns)

    def scan(self, config: str, split: str, columns: list[str]) -> pa.Table:
        """Read columns of all files of a config and split at once."""
        return pa.concat_tables(self.tables(config, split, columns))

    def images_by_label(self, split: str) -> dict[int, int]:
        """Return how many images of each label a split has."""
        # Of builds by other means all files are read; on the Hub this asks for every one.
        return self.told_images_by_label(split) or Counter(
            self.scan("masks", split, ["label"])["label"].to_pylist()
        )

    def told_images_by_label(self, split: str) -> dict[int, int]:
        """Return the same as far as the manifest tells it, without a look at the files."""
        counts = self.manifest["splits"][split].get("counts", {}).get("images_by_label", {})
        return {int(label): int(images) for label, images in counts.items()}

    def ranked(self, split: str) -> list[int]:
        """Return the labels of the classes that have a spurious feature."""
        table = self.scan("features", split, ["label", "kind"])
        return list(table.filter(pc.equal(table["kind"], "spurious"))["label"].to_pylist())

    def study(self, split: str) -> pa.Table:
        """Return what a study found of the maps of each class-feature pair, by label and rank."""
        found = ["validated", "same"]
        if not self.features("features", split).keys() >= set(found):
            raise SalientImageNetError(
                f"{self.location} was built from votes without a study of maps: leave validated= "
                "and same= out of the Selection, or build from votes that have the columns "
                "Validation.validated and Validation.same."
            )
        return self.scan("features", split, ["label", "rank", *found])

    def wnids(self, split: str) -> dict[int, str]:
        """Return the wnid of each label that the build has features of."""
        table = self.scan("features", split, ["label", "wnid"])
        return dict(zip(table["label"].to_pylist(), table["wnid"].to_pylist(), strict=True))

    def names(self, split: str) -> list[str]:
        """Return the name of each class, by label; none where a build does not tell."""
        return list(getattr(self.features("features", split)["label"], "names", None) or ())


def _unreadable(url: str, error: Exception) -> str:
    """Say that a file cannot be read; each protocol's library has exceptions of its own for it."""
    return (
        f"{url} cannot be read ({_first_line(error)}): check your connection, and that you may "
        "read it, or download the build and give its directory."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _opened(file: str) -> Any:
    """Open a file of a build, and nothing else: to open a pipe would wait for ever."""
    if "://" not in file and Path(file).exists() and not Path(file).is_file():
        raise IsADirectoryError("it is a directory, a pipe or a device, and no file")
    return fsspec.open(file)


@contextmanager
def _parquet(file: str) -> Iterator[Any]:
    """Open a Parquet file; what is wrong with it becomes a sentence."""
    try:
        with _opened(file) as opened, pq.ParquetFile(opened) as parquet:
            yield parquet
    except Exception as error:
        if isinstance(error, FileNotFoundError):
            sentence = (
                f"{file} is missing, though the build's manifest.json lists it: download or copy "
                "the build again."
            )
        # Arrow's own errors are no OSErrors of a more special kind, as a connection's are.
        elif isinstance(error, ValueError | pa.ArrowException) or type(error) is OSError:
            sentence = (
                f"{file} is corrupt ({_first_line(error)}): download or copy it again, its "
                "SHA-256 is in the build's manifest.json."
            )
        else:
            sentence = _unreadable(file, error)
        raise SalientImageNetError(sentence) from error


def _scan(file: str, columns: Iterable[str]) -> Iterator[pa.Table]:
    """Yield those columns that a Parquet file has, in order, a row group at a time.

    This thread reads: a scanner's threads, left in the middle of a file, crash the interpreter.
    """
    with _parquet(file) as parquet:
        stored = [name for name in parquet.schema_arrow.names if name in columns]
        if absent := set(columns).difference(stored, _FOR_SELECTION):
            raise pa.ArrowInvalid(f"it has no column {min(absent)}")
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group, stored, use_threads=False)
            table.validate(full=True)  # that text is text, for one, Parquet does not look at
            yield table


_OF_EXTENT = {"peaks", "grids", *_CELLS, "box"}
"""Columns that ``whole`` has in place of those of ``masks``."""


def _rows(
    file: str, columns: Iterable[str], extent: Extent, objects: bool = False
) -> Iterator[pa.Table]:
    """Yield rows of a file of ``masks`` with what is wanted from the files beside it."""
    stored = set(columns) - ({_OBJECT} if objects else set())
    tables = _scan(file, stored) if extent == "crop" else _of_whole_images(file, stored)
    yield from _with_objects(file, tables) if objects else tables


def _beside(file: str, config: str) -> str:
    """Return the file of another config that has images of those of a file of ``masks``."""
    folder, _, name = file.rpartition("/")
    return f"{folder.rpartition('/')[0]}/{config}/{name}"


def _of_whole_images(file: str, columns: Collection[str]) -> Iterator[pa.Table]:
    """Yield rows of a file of ``masks``, with the grids of whole images."""
    beside = _beside(file, "whole")
    own = {"image_id", *columns} - _OF_EXTENT
    parts = zip(_scan(file, own), _scan(beside, {"image_id", *_OF_EXTENT}), strict=True)
    for table, whole in parts:
        if table["image_id"] != whole["image_id"]:
            raise SalientImageNetError(
                f"{beside} has other rows than {file}: download or copy the build again."
            )
        for column in _OF_EXTENT.intersection(columns):
            table = table.append_column(whole.schema.field(column), whole[column])  # noqa: PLW2901
        yield table


def _with_objects(file: str, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield rows of a file of ``masks`` with their object masks, null where nobody drew one."""
    objects = pa.concat_tables(_scan(_beside(file, "segmentations"), ["image_id", _OBJECT]))
    for table in tables:
        places = pc.index_in(table["image_id"], objects["image_id"])
        yield table.append_column(_OBJECT, objects[_OBJECT].take(places))


def _require(build: Build, config: str, split: str | None, what: str, remedy: str) -> None:
    """See that a build has a config that not every build has, of a split or of all."""
    for name in build.splits if split is None else [split]:
        if not build.has(config, name):
            raise SalientImageNetError(
                f"{build.location} has no {what} of the split {name}: {remedy}."
            )


def _check_objects(build: Build, split: str | None, select: Selection | None, wanted: bool) -> None:
    if wanted:
        remedy = "add some with salient-imagenet segmentations, or leave out objects=True"
        _require(build, "segmentations", split, "object masks", remedy)
    elif select and select.segmented:
        raise SalientImageNetError("segmented=True selects by object masks: say objects=True.")


def _check_extent(build: Build, split: str | None, extent: Extent, geometry: Geometry) -> None:
    if extent == "crop":
        return
    if geometry != "aligned":
        raise SalientImageNetError(
            f"The geometry {geometry} is that of crops: use extent='crop', or leave it out."
        )
    remedy = "build it with --whole-image, or use extent='crop'"
    _require(build, "whole", split, "masks of whole images", remedy)


# Selections ---------------------------------------------------------------------------------------

FIRST_RELEASE_RANKS = 65
"""The first release shipped the masks of a feature's 65 strongest images in its class."""

VALIDATED_FRACTION = 0.2
"""The part of a class, by activation of a feature, in which people validated the masks."""


@dataclass(frozen=True)
class Selection:
    """Which images to read; conditions are combined by *and*.

    Parameters
    ----------
    labels : sequence of int or str, optional
        Labels, wnids or names of classes, whole or one of those with commas between them.
    ranked : bool
        Only classes that have a spurious feature.
    most_spurious, least_spurious : int or float, optional
        That many images of each class from either end of its ranking, or that share of them, if
        between 0 and 1: rounded down, but one at least. Both together give both ends, which may not
        overlap. Of a class that has fewer images all are taken, and the log says of how many.
    zone : {"validated", "first_release"}, optional
        Only masks where people validated them (the image is in the top 20 % of its class by the
        activation of the feature), or where the first release had them (the top 65 images). An
        image stays when one of its masks does; the ``kinds`` of features outside the zone become
        null, and `core_mask` and `spurious_mask` leave them out.
    ids : sequence of str, optional
        Image ids: of the images, or of the rows of ``rankings``. Those that there are none of are
        left out.
    validated : bool, optional
        Only masks of class-feature pairs whose maps people compared and found to show the same
        thing; or, if False, found not to. What is left out is left out as by `zone`.
    same : float, optional
        Only masks of pairs of which at least that share of the people asked, from 0 to 1, said that
        all maps show the same thing.
    segmented : bool
        Only images that have an object mask; with ``objects=True``.
    """

    labels: Sequence_[int | str] | None = None
    ranked: bool = False
    most_spurious: float | None = None
    least_spurious: float | None = None
    zone: Zone | None = None
    ids: Sequence_[str] | None = None
    validated: bool | None = None
    same: float | None = None
    segmented: bool = False
    # Of classes, once resolved: how many images there are, and which ranks and pairs are taken.
    _sizes: Any = field(default=None, repr=False, compare=False)
    _ends: Any = field(default=None, repr=False, compare=False)
    _pairs: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.labels, Iterable | None) or isinstance(self.labels, str):
            raise SalientImageNetError(f"labels is a list: use labels=[{self.labels!r}].")
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))
        if wrong := [label for label in self.labels or () if not isinstance(label, str | Integral)]:
            raise SalientImageNetError(f"{wrong[0]!r} is no class: use labels or wnids.")
        _check_options(vars(self))
        if self.ids is not None:
            object.__setattr__(self, "ids", tuple(self.ids))
        for name in ("most_spurious", "least_spurious"):
            part = getattr(self, name)
            if part is not None and not (_is_count(part) or _is_share(part)):
                raise SalientImageNetError(
                    f"{name}={part!r}: use 1 or more images of each class, or a share of them "
                    "between 0 and 1."
                )

    def resolve(self, build: Build, split: str) -> Selection:
        """Return the selection with the labels and sizes of the classes in a build's split."""
        labels, sizes, ends, pairs = self.labels, None, None, None
        if labels is not None:
            wnids, names = build.wnids(split), build.names(split)
            labels = tuple(_label(name, wnids, names) for name in labels)
        if self.most_spurious or self.least_spurious or self.zone == "validated":
            images = build.images_by_label(split)
            sizes = np.array([images.get(label, 0) for label in range(max(images, default=-1) + 1)])
        if sizes is not None and (self.most_spurious or self.least_spurious):
            ranked = set(build.ranked(split)) & set(sizes.nonzero()[0].tolist())
            ends = self._ends_of(sizes, sorted(ranked if labels is None else ranked & set(labels)))
        if self.validated is not None or self.same is not None:
            pairs = self._pairs_of(build.study(split))
        return replace(self, labels=labels, _sizes=sizes, _ends=ends, _pairs=pairs)

    def _ends_of(self, sizes: npt.NDArray[np.int64], ranked: list[int]) -> tuple[Any, Any]:
        """Return up to which rank, and from which on, images of each class are taken."""
        parts = self.most_spurious, self.least_spurious
        most, least = (
            np.full_like(sizes, part or 0)
            if part is None or _is_count(part)
            else np.maximum(1, np.floor(part * sizes + 1e-9)).astype(np.int64)
            for part in parts
        )
        if fewer := np.count_nonzero((most + least > sizes)[ranked]):
            if all(parts):
                raise SalientImageNetError(
                    f"most_spurious={parts[0]} and least_spurious={parts[1]} overlap in {fewer} of "
                    f"{len(ranked)} classes: use fewer, or shares of each class, such as 0.25."
                )
            _warn_once(
                f"{fewer} of {len(ranked)} classes have fewer images than "
                f"{max(filter(None, parts))}: all of theirs are selected."
            )
        return most, sizes - least

    def _pairs_of(self, study: pa.Table) -> npt.NDArray[np.bool_]:
        """Return which pairs are taken, by label and place; none that the study did not ask of."""
        taken = study["validated"].is_valid()
        if self.validated is not None:
            taken = pc.and_(taken, pc.equal(study["validated"], self.validated))
        if self.same is not None:
            taken = pc.and_(taken, pc.greater_equal(study["same"], self.same))
        labels, places = study["label"].to_numpy(), study["rank"].to_numpy() - 1
        pairs = np.zeros((labels.max() + 1, places.max() + 1), np.bool_)
        pairs[labels, places] = taken.fill_null(False).to_numpy()
        return pairs

    def apply(self, table: pa.Table) -> pa.Table:
        """Return the rows that it selects, once resolved, by what the table has columns for."""
        labels = table["label"].to_numpy()
        kept = np.ones(len(table), np.bool_)
        if self.labels is not None:
            kept &= np.isin(labels, self.labels)
        if self.ids is not None and "image_id" in table.column_names:
            kept &= pc.is_in(table["image_id"], pa.array(self.ids, pa.string())).to_numpy()
        if "spuriosity_rank" in table.column_names:
            ranks = table["spuriosity_rank"].fill_null(-1).to_numpy()
            if self.ranked or self.most_spurious or self.least_spurious:
                kept &= ranks >= 0
            if self._ends is not None:
                most, least = self._ends
                kept &= (ranks < most[labels]) | (ranks >= least[labels])
        if self.segmented:
            kept &= table[_OBJECT].is_valid().to_numpy()
        if self._pairs is not None:
            kept &= self._pairs.any(axis=1)[labels]
            if "rank" in table.column_names:  # a row per pair
                kept &= self._pairs[labels, table["rank"].to_numpy() - 1]
        table = table.filter(pa.array(kept))
        has_masks = "kinds" in table.column_names
        return self._masks(table) if has_masks and (self.zone or self._pairs is not None) else table

    def _masks(self, table: pa.Table) -> pa.Table:
        """Leave out masks outside the zone or of other pairs, and images of which none is left."""
        labels = table["label"].to_numpy()
        limits: Any = math.inf
        if self.zone == "first_release":
            limits = FIRST_RELEASE_RANKS
        elif self.zone == "validated":
            limits = VALIDATED_FRACTION * self._sizes[labels][:, None]
        inside = _matrix(table["activation_ranks"]) < limits
        if self._pairs is not None:
            inside &= self._pairs[labels]
        kinds = table["kinds"].combine_chunks().flatten()
        kept = pc.if_else(pa.array(inside.ravel()), kinds, pa.scalar(None, kinds.type))
        column = table.schema.get_field_index("kinds")
        lists = pa.FixedSizeListArray.from_arrays(kept, inside.shape[1])
        table = table.set_column(column, table.schema.field(column), lists)
        return table.filter(pa.array(inside.any(axis=1)))


def subgroup_ids(
    directory: str | os.PathLike[str], subgroup: int | Sequence_[int] = 0
) -> list[str]:
    """Return the ids of images in some subgroups of their classes, for ``Selection(ids=...)``.

    Parameters
    ----------
    directory : str or path
        What ``salient-imagenet subgroups`` wrote.
    subgroup : int or sequence of int
        Which of each class; 0 is the one on which the model is least often right.

    Raises
    ------
    FileNotFoundError, SalientImageNetError
        If there are no memberships, or they cannot be read.
    """
    _check_options({"directory": directory, "subgroup": subgroup})
    files = sorted(Path(directory).glob("memberships/*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{directory} holds no memberships/*.parquet: give the --out of salient-imagenet "
            "subgroups."
        )
    chosen = pa.array(np.ravel(subgroup), pa.int32())
    tables = (table for file in files for table in _scan(str(file), ["image_id", "subgroup"]))
    kept = (table.filter(pc.is_in(table["subgroup"], chosen)) for table in tables)
    return [name for table in kept for name in table["image_id"].to_pylist()]


def _label(name: int | str, wnids: dict[int, str], names: Sequence_[str]) -> int:
    """Return the label of a class that somebody calls by its label, wnid, name or part of a name.

    Only classes that have a wnid, as those with features do, have images.
    """
    called = {label: names[label] if label < len(names) else wnid for label, wnid in wnids.items()}
    parts = {label: re.split(r",\s*", whole) for label, whole in called.items()}
    for matches in (
        [label for label, wnid in wnids.items() if name in (label, wnid)],
        [label for label, whole in called.items() if name == whole],
        [label for label, some in parts.items() if name in some],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise SalientImageNetError(
                f"{len(matches)} classes are called {name!r}: use one of their wnids, "
                f"{', '.join(wnids[label] for label in matches)}."
            )
    known = {*wnids.values(), *called.values(), *(part for some in parts.values() for part in some)}
    close = difflib.get_close_matches(str(name), sorted(known))
    raise SalientImageNetError(
        f"The build has no class {name!r}: use labels, wnids or names of its features"
        f"{', such as ' if close else ''}{', '.join(map(repr, close))}."
    )


# Your images --------------------------------------------------------------------------------------

_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
_KAGGLE = ("", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC")
_OFFICIAL = "ILSVRC2012_img_"
_SHARDS = {"parquet": "parquet", "arrow": "arrow", "tar": "webdataset"}


def image_bases(root: Path, split: str) -> list[Path]:
    """Return the folders (see `ImageFolder`) and tars (see `ImageTar`) that may hold a split.

    Only other splits are a SalientImageNetError; who catches it says what to do.
    """
    if root.is_file():
        return [root]
    there = {}
    for name, aliases in {split: (split,), **_FOLDERS}.items():
        folders = (root / top / alias for top in _KAGGLE for alias in aliases)
        tars = (root / f"{_OFFICIAL}{alias}.tar" for alias in aliases)
        there[name] = [*filter(Path.is_dir, folders), *filter(Path.is_file, tars)]
    others = [str(base.relative_to(root)) for bases in there.values() for base in bases]
    if others and not there[split]:
        raise _NoSuchSplitError(
            f"{root} has no folder for the split {split}, only {', '.join(others)}"
        )
    return there[split] or [root]


class ImageFolder:
    """Images as files of their own: ``<wnid>/<name>``, or flat, or where an index says."""

    def __init__(
        self, base: str, wnids: dict[int, str] | None = None, index: dict[str, str] | None = None
    ) -> None:
        self.base = base
        self._wnids = wnids or {}
        self._index = index
        self._listings: dict[str, dict[str, str]] = {}

    def listing(self, others: list[str] | None = None) -> Iterator[list[str]]:
        """Yield the paths in each class's folder; of flat images, those that ImageNet names so.

        What lies there or beside and is no file, or no folder, is added to `others`.
        """
        flat = True
        others = [] if others is None else others
        for wnid in _entries(self.base, os.DirEntry.is_dir, others):
            rest: list[str] = []
            names = _entries(f"{self.base}/{wnid}", os.DirEntry.is_file, rest)
            others += [f"{wnid}/{name}" for name in rest]
            flat = flat and not names
            yield [f"{wnid}/{name}" for name in names]
        if flat:
            names = _entries(self.base, os.DirEntry.is_file)
            yield [name for name in names if _IMAGENET_NAME.fullmatch(PurePosixPath(name).stem)]

    def find(self, rows: pa.Table) -> list[str | None]:
        """Return the path of each row's image, None without; folders are listed only if need be."""
        ids, labels = rows["image_id"].to_pylist(), rows["label"].to_pylist()
        if self._index is not None:
            return [self._index.get(name) for name in ids]
        return list(map(self._find, ids, labels))

    def _find(self, name: str, label: int) -> str | None:
        own, _, name = name.rpartition("/")
        for folder in (own,) if own else (self._wnids.get(label, ""), ""):
            if ".." in folder.split("/"):
                raise SalientImageNetError(
                    f"The build has an image {name} in the folder {folder}, which may lie outside "
                    f"of {self.base}: download or copy the build again."
                )
            folder = f"{self.base}/{folder}" if folder else self.base  # noqa: PLW2901
            path = f"{folder}/{name}.JPEG"
            known = self._listings.get(folder)
            if known != {} and os.path.isfile(path):  # noqa: PTH113 (ten times as fast as Path)
                return path
            if known is None:
                names = os.listdir(folder) if os.path.isdir(folder) else []  # noqa: PTH112, PTH208
                known = self._listings[folder] = {image_id(n): f"{folder}/{n}" for n in names}
            if name in known:
                return known[name]
        return None

    def read(self, path: str) -> bytes:
        """Return the bytes of an image that was listed or found."""
        return Path(self.base, path).read_bytes()

    def image(self, name: str, path: str) -> dict[str, Any]:
        """Return an image that was found as `datasets` has it."""
        return {"bytes": None, "path": path}


def _entries(
    folder: str | Path,
    wanted: Callable[[os.DirEntry[str]], bool],
    others: list[str] | None = None,
) -> list[str]:
    """Return the names of the entries that are wanted, and add the rest to `others`."""
    names: list[str] = []
    rest: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                is_wanted = wanted(entry)
            except OSError:  # Of a link that leads in a circle.
                is_wanted = False
            (names if is_wanted else rest).append(entry.name)
    if others is not None:
        others += sorted(rest)
    return sorted(names)


def _anywhere(bases: Sequence_[Path]) -> dict[str, str]:
    """Return the path of each file under some folders, by its image id, or that without folder."""
    found: dict[str, str] = {}
    for base in bases:
        for folder, _, names in os.walk(base):
            inside = os.path.relpath(folder, base)
            found |= {image_id(f"{inside}/{name}"): f"{folder}/{name}" for name in names}
    return {_without_folder(name): path for name, path in found.items()} | found


class TarMember(NamedTuple):
    """A file in a tar, ``<inner tar's stem>/<name>`` in an inner one, and where its bytes are."""

    path: str
    offset: int
    size: int


_TAR_INDEX = 2
"""Version of the ids in the index of a tar: one in the cache may be of an earlier release."""


class ImageTar:
    """Images in an uncompressed tar, or in the tars that it holds, read where they lie."""

    def __init__(self, path: str, cache: Path | None = None) -> None:
        self.base = path
        self._cache = cache or _cache(None)
        self._file: int | None = None

    def listing(self, others: list[str] | None = None) -> Iterator[TarMember]:
        """Yield the members; raises tarfile.TarError if it is no tar, compressed, or ends early.

        Those that are neither files nor folders, such as links, are added to `others`.
        """
        with tarfile.open(self.base, "r:") as tar:
            yield from _members(tar, None, 0, [] if others is None else others)

    def find(self, rows: pa.Table) -> list[str | None]:
        """Return ``offset:size`` of each row's image, None where it is missing."""
        index, spans = self._indexed
        places = index.find(rows["image_id"].to_pylist()).tolist()
        return [":".join(map(str, spans[place])) if place >= 0 else None for place in places]

    @cached_property
    def _indexed(self) -> tuple[_Index, npt.NDArray[np.int64]]:
        """An index of the members and where they lie, made once in the cache and memory-mapped."""
        status = Path(self.base).stat()
        name = f"{Path(self.base).resolve()} {status.st_size} {status.st_mtime_ns} {_TAR_INDEX}"
        directory = self._cache / hashlib.sha256(name.encode()).hexdigest()[:16]
        _make(directory, self._write_index)
        return _Index(directory), _mapped(directory / "spans.npy")

    def _write_index(self, directory: Path) -> None:
        try:
            members = list(self.listing())
        except tarfile.TarError as error:
            raise SalientImageNetError(
                f"{self.base} is no whole tar, or compressed ({error}): give a whole, uncompressed "
                "copy, or a directory."
            ) from error
        ids = [image_id(member.path) for member in members]
        spans = [(member.offset, member.size) for member in members]
        own = [place for place, name in enumerate(ids) if "/" in name]
        _Index.write(directory, ids + [_without_folder(ids[place]) for place in own])
        spans += [spans[place] for place in own]
        np.save(directory / "spans.npy", np.array(spans, np.int64).reshape(-1, 2))

    def read(self, span: str) -> bytes:
        """Return the bytes of an image; processes each open the tar for themselves."""
        if self._file is None:
            self._file = os.open(self.base, os.O_RDONLY)
        offset, size = map(int, span.split(":"))
        return os.pread(self._file, size, offset)

    def image(self, name: str, span: str) -> dict[str, Any]:
        """Return an image that was found as `datasets` has it."""
        return {"bytes": self.read(span), "path": f"{name}.JPEG"}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.base, self._cache)


def _members(
    tar: tarfile.TarFile, folder: str | None, start: int, others: list[str]
) -> Iterator[TarMember]:
    for info in tar:
        path = PurePosixPath(os.fsencode(info.name).decode(errors="replace"))
        if info.isfile() and path.suffix == ".tar":
            with tarfile.open(fileobj=tar.extractfile(info), mode="r:") as inner:
                yield from _members(inner, path.stem, start + info.offset_data, others)
        elif not info.isdir():
            name = f"{folder}/{path.name}" if folder else str(path)
            if info.isfile():
                yield TarMember(name, start + info.offset_data, info.size)
            else:
                others.append(name)
        tar.members = []  # type: ignore[attr-defined]  # or a million of them stay in memory
    # Python takes a tar that ends, or turns to garbage, where a member's header should be for
    # a whole one; a whole one ends in zeros.
    file: Any = tar.fileobj
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("unexpected end of data")


class _NoSuchSplitError(SalientImageNetError):
    """The images are there, but not those of the split."""


def is_dataset(name: str, split: str | None = None) -> bool:
    """Tell a directory of shards (of a split, if one is said) or an id on the Hub from others."""
    root = Path(name)
    if not root.is_dir():
        return bool(_HUB_ID.fullmatch(name)) and not root.exists() and not root.parent.is_dir()
    folders = [root, *(root / folder for folder in _entries(root, os.DirEntry.is_dir)[:16])]
    endings = {name.rpartition(".")[2] for folder in folders for name in os.listdir(folder)}  # noqa: PTH208
    wanted = _FOLDERS.get(_ALIASES.get(str(split), str(split)))
    splits = [wanted] if wanted else _FOLDERS.values()
    tars = "tar" in endings and any(_shards(root, aliases) for aliases in splits)
    return tars or not endings.isdisjoint(("parquet", "arrow"))


def _shards(root: Path, aliases: Sequence_[str]) -> tuple[str, list[str]] | None:
    """Return the format of the shards of a split of these names, and where they lie."""
    for alias in aliases:
        for folder in filter(Path.is_dir, (root / alias, root / "data", root)):
            name, beside = rf"({alias}|.*-{alias}-).*", "|".join((*aliases, r"n\d{8}"))
            if folder == root / alias:
                name, beside = rf"(?!{_OFFICIAL}).*", r"[^.].*"
            # Tars beside folders are what these were unpacked from.
            unpacked = any(re.fullmatch(beside, n) for n in _entries(folder, os.DirEntry.is_dir))
            names = _entries(folder, os.DirEntry.is_file)
            for ending, form in _SHARDS.items():
                found = [n for n in names if re.fullmatch(rf"{name}\.{ending}", n)]
                if found and not (ending == "tar" and unpacked):
                    return form, [f"{folder}/{n}" for n in found]
    return None


def open_dataset(name: str, split: str, streaming: bool = False) -> Any:
    """Open images that `is_dataset` knows; who catches a SalientImageNetError says what to do."""
    aliases = _FOLDERS.get(split, (split,))
    opened = partial(datasets.load_dataset, streaming=streaming)
    try:
        if shards := _shards(Path(name), aliases):
            form, files = shards
            return opened(form, data_files={split: files}, split=split)
        known = datasets.get_dataset_split_names(name)
        if there := [alias for alias in aliases if alias in known]:
            return opened(name, split=there[0])
        reason = f"it has {', '.join(known)}"
    except Exception as error:
        reason = _first_line(error)
    raise SalientImageNetError(
        f"The split {split} of the dataset {name} cannot be opened ({reason})"
    )


def place_of(source: Any, opened: Any) -> str | None:
    """Return below which place lie the files that rows of a source may name; None for any.

    Any may be named where the user has opened the rows, or `datasets` has made them of files.
    """
    if not isinstance(source, str | os.PathLike) or opened.info.builder_name == "imagefolder":
        return None
    name = os.fspath(source)
    return os.path.abspath(name) if Path(name).is_dir() else f"hf://datasets/{name}"  # noqa: PTH100


def check_places(paths: Iterable[str | None], place: str) -> None:
    """Refuse files outside of a place: who wrote a source's rows could name any that lies here."""
    for path in filter(None, paths):
        whole = path if "://" in path else os.path.abspath(path)  # noqa: PTH100 (it takes out ..)
        if not whole.startswith(f"{place}/") or ".." in PurePosixPath(path).parts:
            raise SalientImageNetError(
                f"A row of the images names the file {path}, which is not below {place}: use a "
                "copy that holds its images."
            )


# Look-up by image id ------------------------------------------------------------------------------

_TRAIN_ID = re.compile(r"n(\d{8})_(0|[1-9]\d{0,8})")
_OTHER_ID = re.compile(r"ILSVRC2012_(val|test)_(\d{8})")
_mapped = partial(np.load, mmap_mode="r", allow_pickle=False)


def _key(name: str) -> int:
    """Return an image id as 64 bits: wnid and number, or a hash of any other name."""
    if match := _TRAIN_ID.fullmatch(name):
        return int(match[1]) << 32 | int(match[2])
    if match := _OTHER_ID.fullmatch(name):
        return (1 << 60 if match[1] == "val" else 1 << 61) | int(match[2])
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") | 1 << 63


def _keys(names: Sequence_[str]) -> npt.NDArray[np.uint64]:
    return np.fromiter(map(_key, names), np.uint64, len(names))


class _Index:
    """From image ids to rows, as two sorted, memory-mapped arrays that all workers share."""

    def __init__(self, directory: Path) -> None:
        self._sorted: npt.NDArray[np.uint64] = _mapped(directory / "keys.npy")
        self._rows: npt.NDArray[np.int32] = _mapped(directory / "rows.npy")

    @staticmethod
    def write(directory: Path, names: Sequence_[str]) -> None:
        """Make the index of the rows with these image ids."""
        keys = _keys(names)
        order = np.argsort(keys, kind="stable").astype(np.int32)
        np.save(directory / "keys.npy", keys[order])
        np.save(directory / "rows.npy", order)

    def find(self, names: Sequence_[str]) -> npt.NDArray[np.int64]:
        """Return the row of each image id, -1 where there is none."""
        keys = _keys(names)
        if not len(self._sorted):
            return np.full(len(keys), -1)
        places = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[places] == keys, self._rows[places], -1)


_NONE = -1
"""In place of a row or a label that there is none of."""


class _Records(_Index):
    """The rows of ``masks`` of a split without the pictures, by image id, memory-mapped."""

    def __init__(
        self,
        build: Build,
        split: str,
        cache: Path,
        extent: Extent = "crop",
        objects: bool = False,
    ) -> None:
        name = f"{'rows' if extent == 'crop' else 'whole'}{'-and-objects' if objects else ''}"
        directory = cache / f"{build.digest}-{split}-{name}"
        _make(directory, partial(self._write, build, split, extent, objects))
        self.__setstate__(directory)

    def __getstate__(self) -> Path:
        return self._directory

    def __setstate__(self, directory: Path) -> None:
        super().__init__(directory)
        self._directory = directory
        self.labels: npt.NDArray[np.int64] = _mapped(directory / "labels.npy")
        # `datasets` copies the rows that are asked for; Arrow's take would copy whole chunks.
        rows = datasets.Dataset.from_file(str(directory / "rows.arrow"))
        self._table = rows.with_format("arrow")
        self._wnids: dict[str, int] = json.loads((directory / "wnids.json").read_text())

    @staticmethod
    def _write(build: Build, split: str, extent: Extent, objects: bool, directory: Path) -> None:
        features = build.features("masks", split)
        if extent == "image":
            features |= build.features("whole", split)
        if objects:
            features[_OBJECT] = Image()
        schema = Features({n: features[n] for n in features if n not in _PICTURES}).arrow_schema
        names, labels = [], []
        with pa.ipc.new_stream(str(directory / "rows.arrow"), schema) as rows:
            for file in build.files("masks", split):
                for table in _rows(file, schema.names, extent, objects):
                    rows.write_table(table.select(schema.names).cast(schema))
                    names += table["image_id"].to_pylist()
                    labels.append(table["label"].to_numpy())
        _Index.write(directory, names)
        np.save(directory / "labels.npy", np.concatenate(labels))
        wnids = {wnid: label for label, wnid in build.wnids(split).items()}
        (directory / "wnids.json").write_text(json.dumps(wnids))

    def find(self, names: Sequence_[str]) -> npt.NDArray[np.int64]:
        """Return the row of each image id, or of its stem, -1 where there is none."""
        rows = super().find(names)
        lost = np.flatnonzero(rows < 0).tolist()
        rows[lost] = super().find([_without_folder(names[place]) for place in lost])
        return rows

    @property
    def ids(self) -> list[str]:
        """Some image ids, as examples for a message."""
        return list(self._table[:3]["image_id"].to_pylist())

    def translation(self, kind: Any) -> npt.NDArray[np.int64] | None:
        """Return our label for each of a dataset's, maybe only some wnids; None if they differ."""
        names = getattr(kind, "names", None) or ()
        if set(names) & self._wnids.keys():
            return np.array([self._wnids.get(name, _NONE) for name in names])
        classes = self._table.features["label"].num_classes
        return np.arange(len(names)) if len(names) == classes else None

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """Return rows as a table like those of ``masks``, without the pictures."""
        return self._table[rows.tolist()]


def _cache(cache_dir: str | os.PathLike[str] | None) -> Path:
    return Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "salient_imagenet_1m_index"


_COMPLETE = "complete.txt"
_LEFTOVER_SECONDS = 24 * 3600


def _make(directory: Path, write: Callable[[Path], None]) -> None:
    """Make a directory of the cache unless it is there and whole; it appears all at once.

    What was cut, written to or lost since it was made is found by the files' sizes and times, and
    all is made anew. Bits that a disk turns by itself are not found: to read the files each time
    would cost more than to map them into memory, for which they are made.
    """
    if _is_whole(directory):
        return
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(directory.parent)
        with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
            work = Path(temporary, "work")
            work.mkdir()
            write(work)
            (work / _COMPLETE).write_bytes(_sizes_and_times(work))
            if _is_whole(directory):  # another process was faster
                return
            with suppress(FileNotFoundError):
                directory.rename(Path(temporary, "damaged"))
            work.rename(directory)
    except OSError as error:
        if _is_whole(directory):
            return
        raise SalientImageNetError(
            f"An index cannot be made in {directory.parent} ({_first_line(error)}): see that there "
            "is room and that you may write there, or give another cache_dir=."
        ) from error


def _is_whole(directory: Path) -> bool:
    try:
        return (directory / _COMPLETE).read_bytes() == _sizes_and_times(directory)
    except OSError:
        return False


def _sizes_and_times(directory: Path) -> bytes:
    paths = sorted(path for path in directory.iterdir() if path.name != _COMPLETE)
    states = ((path.name, path.stat()) for path in paths)
    return "\n".join(f"{n} {state.st_size} {state.st_mtime_ns}" for n, state in states).encode()


def _remove_leftovers(parent: Path) -> None:
    """Remove what writers that were killed have left."""
    for path in parent.glob(f"{tempfile.gettempprefix()}*"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - _LEFTOVER_SECONDS:
                shutil.rmtree(path)


# The dataset --------------------------------------------------------------------------------------

_FOR_IMAGES = {"image_id", "label", *_SIZE, "kinds", "grids", *_CELLS}
_FOR_SELECTION = {"image_id", "label", "spuriosity_rank", "kinds", "activation_ranks", "rank"}
"""Columns that are read, where they are stored, though the user may not want them."""

_TAR_ROWS = 32
"""Images whose bytes are held at once: as many rows as annotations come in would be 100 MB."""

_NOTHING_LEFT = "No image is left: widen select=, or look in the log why all were skipped."
_Source = ImageFolder | ImageTar


@dataclass
class SalientImageNet1MConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """What to read, as for `load`.

    ``cache`` is a directory for lists of tars' members; ``streaming`` says that nothing will be
    prepared, so that `images` need not be looked through.
    """

    images: str | None = None
    split: str | None = None
    columns: tuple[str, ...] | None = None
    select: Selection | None = None
    on_missing: str = "error"
    on_mismatch: str = "error"
    geometry: str = "aligned"
    extent: str = "crop"
    objects: bool = False
    decode: bool = True
    cache: str | None = None
    streaming: bool = False

    def create_config_id(
        self, config_kwargs: dict[str, Any], custom_features: Features | None = None
    ) -> str:
        """Return the name of the prepared dataset in the cache: other contents get another."""
        build = Build.open(self.data_dir).digest if self.data_dir else None
        known = {**config_kwargs, "build": build}
        if self.name == "images" and self.images and not self.streaming:
            each_file = self.on_mismatch != "error"  # whose sizes are then kept
            known["contents"] = _contents(Path(self.images), self.split, each_file)
        return str(super().create_config_id(known, custom_features))


def _contents(images: Path, split: str | None, each_file: bool) -> str:
    """Return a digest of what lies in folders and tars: it changes when files come or go.

    The times of directories tell that, so that none of a million images is looked at, but where
    `each_file` is wanted. To walk them takes seconds, and is done where a dataset is prepared.
    """
    try:
        bases = image_bases(images, split) if split else [images]
    except SalientImageNetError:
        bases = [images]
    digest = hashlib.sha256()
    for base in bases:
        for path, changed, size in _states(str(base), each_file):
            digest.update(os.fsencode(f"{path.removeprefix(str(base))} {changed} {size}\n"))
    return digest.hexdigest()[:16]


def _states(base: str, each_file: bool) -> Iterator[tuple[str, int, int]]:
    """Yield path, time and size of a tar; of a folder those of its folders and tars, or of all."""
    if os.path.isfile(base):  # noqa: PTH113 (os.walk tells strings)
        yield _state(base)
    seen = set()
    for folder, folders, names in os.walk(base, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:  # by a link, maybe to where it lies
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        yield folder, status.st_mtime_ns, 0
        for name in sorted(names):
            if each_file or name.endswith(".tar"):
                yield _state(f"{folder}/{name}")


def _state(path: str) -> tuple[str, int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:  # a link to nowhere
        return path, 0, 0
    return path, status.st_mtime_ns, status.st_size


class SalientImageNet1M(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Salient ImageNet-1M as a `datasets` builder, with a Parquet file as the unit of sharding."""

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = SalientImageNet1MConfig
    BUILDER_CONFIGS: ClassVar[list[SalientImageNet1MConfig]] = [
        SalientImageNet1MConfig(name=name, version=datasets.Version("1.0.0")) for name in CONFIGS
    ]
    DEFAULT_CONFIG_NAME = "masks"

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Soft masks of core and spurious features for ImageNet.",
            homepage="https://arxiv.org/abs/2203.15566",
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        del dl_manager  # nothing is downloaded whole
        config = self.config
        if not config.data_dir:
            raise SalientImageNetError(
                "Say data_dir=, the directory of the build, or its id on the Hub."
            )
        build = Build.open(config.data_dir)
        stored = "masks" if config.name == "images" else config.name
        generators, absent = [], None
        for split in [build.split(config.split)] if config.split else build.splits:
            self.info.features = self._columns(build.features(stored, split))
            try:
                source = self._source(build, split) if config.name == "images" else None
            except _NoSuchSplitError as error:
                absent = error
                continue
            options = {
                # A list means shards, to `datasets`; everything else goes to each of them.
                "files": build.files(stored, split),
                "select": config.select.resolve(build, split) if config.select else None,
                "source": source,
            }
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs=options))
        if absent and (config.split or not generators):
            raise SalientImageNetError(f"{absent}: check images= and split=.") from absent
        return generators

    def _columns(self, stored: Features) -> Features:
        config = self.config
        if config.name == "images":
            told = config.on_mismatch, config.geometry, config.decode, config.extent, config.objects
            stored = image_features(stored, *told)
        unknown = [name for name in config.columns or () if name not in stored]
        if unknown:
            raise SalientImageNetError(
                f"The config {config.name} has no column {unknown[0]}: use {', '.join(stored)}."
            )
        return Features({name: stored[name] for name in config.columns or stored})

    def _source(self, build: Build, split: str) -> _Source:
        """Open the user's images, in which the build's first ones tell the layout."""
        if not self.config.images:
            raise SalientImageNetError("Say images=, your ImageNet directory or its official tar.")
        path = Path(self.config.images)
        if not path.exists():
            raise FileNotFoundError(f"There is no file or directory {path}: check images=.")
        first = next(_scan(build.files("masks", split)[0], ["image_id", "label"])).slice(0, 64)
        ids = first["image_id"].to_pylist()
        bases, wnids = image_bases(path, split), build.wnids(split)
        tars = [ImageTar(str(b), _cache(self.config.cache)) for b in bases if b.is_file()]
        sources: list[_Source] = [ImageFolder(str(b), wnids) for b in bases if b.is_dir()]
        for source in sources + tars:
            if any(source.find(first)):
                return source
        index = _anywhere(bases)
        if not index.keys().isdisjoint(ids):
            return ImageFolder(str(bases[0]), index=index)
        seen = sorted({path: name for name, path in index.items()}.values())  # ids, which come last
        seen = seen or [member.path for tar in tars for member in islice(tar.listing(), 3)]
        raise _NoSuchSplitError(
            f"None of the build's images is in {bases[0]}: found "
            f"{', '.join(seen[:3]) or 'no files'}; expected names such as {', '.join(ids[:3])}"
        )

    def _generate_tables(
        self, files: list[str], select: Selection | None, source: _Source | None
    ) -> Iterator[tuple[Any, pa.Table]]:
        """Yield the selected rows of each file, with their images' paths or bytes."""
        schema = self.info.features.arrow_schema
        key = getattr(datasets.builder, "Key", "{}_{}".format)  # as the release of `datasets` wants
        columns = set(schema.names) | (_FOR_SELECTION if select else set())
        if source:
            columns = columns.difference(("image", *_PICTURES)) | _FOR_IMAGES
        if self.config.extent == "image":
            columns.add("box")
        for number, file in enumerate(files):
            tables = _rows(file, columns, cast(Extent, self.config.extent), self.config.objects)
            selected = map(select.apply, tables) if select else tables
            rows = self._with_images(selected, source) if source else selected
            with _skips_reported(file):
                for part, table in enumerate(filter(len, rows)):
                    yield key(number, part), table.select(schema.names).cast(schema)

    def _with_images(self, tables: Iterable[pa.Table], source: _Source) -> Iterator[pa.Table]:
        for table in tables:
            places = pa.array(source.find(table), pa.string())
            missing = table["image_id"].filter(places.is_null()).to_pylist()
            if missing and self.config.on_missing == "error":
                raise SalientImageNetError(
                    f"{len(missing)} of the images that masks were made from are not in "
                    f"{source.base}, such as {', '.join(missing[:3])}: complete the images, or use "
                    "on_missing='skip'."
                )
            skipped["missing"] += len(missing)
            present = table.filter(places.is_valid()) if missing else table
            found = places.drop_null()
            step = _TAR_ROWS if isinstance(source, ImageTar) else max(1, len(found))
            for start in range(0, len(found), step):
                rows = present.slice(start, step)
                ids, spans = rows["image_id"].to_pylist(), found.slice(start, step).to_pylist()
                images = map(source.image, ids, spans)
                yield _joined(rows, list(images), self.config.on_mismatch)


@contextmanager
def _skips_reported(source: str) -> Iterator[None]:
    """Log how many images of a source are left out meanwhile, by reason."""
    before = skipped.copy()
    yield
    if left_out := skipped - before:
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
        _logger.warning("Images of %s were skipped: %s.", source, reasons)


def _joined(rows: pa.Table, images: list[dict[str, Any]], on_mismatch: str) -> pa.Table:
    """Return rows with their images, without those of another size where that is wanted."""
    seen = None if on_mismatch == "error" else list(map(_size, images))
    if seen is not None and on_mismatch == "skip":
        same = list(map(operator.eq, seen, _sizes(rows)))
        skipped["mismatch"] += same.count(False)
        rows, seen = rows.filter(pa.array(same, pa.bool_())), None
        images = list(compress(images, same))
    return _masks_to_images(rows, pa.array(images, Image.pa_type), seen)


def _size(image: dict[str, Any]) -> _ImageSize | None:
    """Return the size that the header of an image tells, None where there is none."""
    try:
        file = io.BytesIO(image["bytes"]) if image["bytes"] else _local(image["path"])
        with PIL.Image.open(file) as opened:
            return opened.size
    except _UNDECODABLE:
        return None


def load(
    directory: str | os.PathLike[str],
    config: str | None = None,
    *,
    images: Any = None,
    split: str | None = None,
    streaming: bool = False,
    select: Selection | None = None,
    columns: Sequence_[str] | None = None,
    transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    mask_size: int | None = None,
    format: Literal["torch"] | None = None,  # noqa: A002 (as in datasets)
    render: bool = True,
    threads: int | None = None,
    on_missing: OnMissing = "error",
    on_mismatch: OnMismatch = "error",
    geometry: Geometry = "aligned",
    extent: Extent = "crop",
    objects: bool = False,
    decode: bool = True,
    num_proc: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Any:
    """Load Salient ImageNet-1M, joined with your ImageNet where you say `images`.

    Parameters
    ----------
    directory : str or path
        A build: a directory, or the id of a dataset on the Hub.
    config : {"images", "masks", "rankings", "features", "whole", "segmentations"}, optional
        ``images`` where `images` is given, else ``masks``.
    images : str, path or dataset, optional
        Your ImageNet: a directory (``train/<wnid>/*``, Kaggle's, a flat ``val``), an official tar
        or the directory that holds it, a directory with Parquet files or WebDataset shards, the id
        of a dataset on the Hub, or a dataset that you have opened. With the last three kinds the
        rows come in the images' order (see `join`), else in the build's, which is shuffled.
    split : str, optional
        ``train`` or ``validation``; without it, a dict of all splits of the build.
    streaming : bool
        Give a `datasets.IterableDataset`, which starts at once, in place of a `datasets.Dataset`.
        That is prepared in the cache, and anew when folders or tars of `images` have changed, for
        which they are looked through: some seconds where there are a million files.
    select, columns : Selection, sequence of str, optional
        Only some images, only some columns.
    transform : callable, optional
        From an example to an example: `RandomResizedCrop`, `CenterCrop`, `V2`, or your own.
    mask_size : int, optional
        Of the two crops: pixels of either side of their masks, which are then those of
        ``render(size=mask_size, window=crop)``. 56 is enough for losses on feature maps; upsampled
        from there to 224 masks are off by up to all 255 levels at the box's edge.
    format : {"torch"}, optional
        Give tensors that a ``DataLoader`` can collate, see `ToTensors` and `collate`.
    render : bool
        With ``format="torch"``: whether to hand out masks, or grids for `render` on the device, to
        which you then say the `geometry`.
    threads : int, optional
        With ``streaming``: threads of each worker that decode and transform images. By default one
        makes tensors while the main thread decodes, where a core is left for it; 0 starts none.
    on_missing : {"error", "skip"}
        What to do where masks or images have no counterpart; `skipped` counts them.
    on_mismatch : {"error", "warn", "skip"}
        What to do with images of another size than that from which masks were made. ``warn`` takes
        them for resized copies of the whole image, and gives masks of the copies' sizes. It and
        ``skip`` look into the file of each image as rows are made, for its size.
    geometry : {"aligned", "upstream"}
        How masks lie on images, see `grid_box`.
    extent : {"crop", "image"}
        Masks of the central crop, outside of which they are 0, or of the whole image, of a build
        with ``--whole-image``. Columns of numbers are those of the crop, but ``peaks``.
    objects : bool
        Give ``object_mask`` too, of a build with the config ``segmentations``: where people say
        that the object is, None where nobody said it (see `Selection`), which is 0 in tensors.
    decode : bool
        False gives a dict with bytes or path in place of decoded images.
    num_proc, cache_dir : optional
        Processes to prepare a `datasets.Dataset` with, and a directory for it, as in `datasets`.

    Returns
    -------
    datasets.Dataset or datasets.IterableDataset, or a dict of them
        ``image`` is RGB as stored, with no EXIF rotation. ``core_mask`` and ``spurious_mask`` are
        `SoftMask`, or None where the class has no feature of the kind.

    Raises
    ------
    FileNotFoundError, SalientImageNetError
        If a directory does not exist, is no build, or does not fit it: the sentence says which.
    """
    _check_options(locals())
    _check_select(select)
    config = config or ("masks" if images is None else "images")
    if not isinstance(config, str) or config not in CONFIGS:
        raise SalientImageNetError(f"There is no config {config}: use {', '.join(CONFIGS)}.")
    if isinstance(columns, str):
        raise SalientImageNetError(f"columns is a list: use columns=[{columns!r}].")
    if mask_size is not None:
        if not isinstance(transform, RandomResizedCrop | CenterCrop):
            raise SalientImageNetError(
                "mask_size= is of a crop: use it with RandomResizedCrop or CenterCrop, or in the "
                "one that your transform calls."
            )
        transform = replace(transform, mask_size=mask_size)
    if extent == "image" and config != "images":
        raise SalientImageNetError(
            f"extent='image' is of masks on images: say images=, or load the config whole in place "
            f"of {config}."
        )
    if objects and config != "images":
        raise SalientImageNetError(
            "objects=True is of masks on images: say images=, or load the config segmentations in "
            f"place of {config}."
        )
    build = Build.open(directory)
    options: dict[str, Any] = {
        "select": select,
        "on_missing": on_missing,
        "on_mismatch": on_mismatch,
        "geometry": geometry,
        "decode": decode,
        # Where it is the default, datasets that were prepared without it are found again.
        **({"extent": extent} if extent != "crop" else {}),
        **({"objects": True} if objects else {}),
    }
    opened = _open_images(images, build, split, streaming) if config == "images" else None
    if opened is not None:
        below = place_of(images, opened)
        dataset = join(opened, directory, split=split, cache_dir=cache_dir, _below=below, **options)
        dataset = dataset.select_columns(list(columns)) if columns else dataset
    else:
        split, base = _published(build, split, streaming)
        _check_extent(build, base, extent, geometry)
        _check_objects(build, base, select, objects)
        cache = None if cache_dir is None else os.fspath(cache_dir)
        builder = SalientImageNet1M(
            cache_dir=cache,
            config_name=config,
            data_dir=build.location,
            images=None if images is None else os.fspath(images),
            split=base,
            columns=tuple(columns) if columns else None,
            cache=cache,
            **({"streaming": True} if streaming else {}),
            **options,
        )
        if streaming:
            dataset = builder.as_streaming_dataset(split)
        else:
            _prepare(builder, build, num_proc)
            dataset = _part(builder, split)
    return _finish(dataset, transform, format, render, threads)


def _prepare(builder: SalientImageNet1M, build: Build, num_proc: int | None) -> None:
    try:
        builder.download_and_prepare(num_proc=num_proc)
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, SalientImageNetError):
            raise error.__cause__ from None
        raise
    left = [name for name, info in builder.info.splits.items() if info.num_examples]
    if not left or builder.config.split not in (None, *left):
        raise SalientImageNetError(_NOTHING_LEFT)
    _report_left_out(builder, build)


def _report_left_out(builder: SalientImageNet1M, build: Build) -> None:
    """Log what a prepared dataset lacks, also where one in the cache is used again."""
    config = builder.config
    for split, info in builder.info.splits.items():
        if config.select:
            config.select.resolve(build, split)
        if config.select or config.name != "images":
            continue
        images = build.told_images_by_label(split)
        if images and (left_out := sum(images.values()) - info.num_examples):
            _logger.warning("%d images of the split %s are left out.", left_out, split)


def _part(builder: SalientImageNet1M, split: str | None) -> Any:
    try:
        return builder.as_dataset(split)
    except (AssertionError, ValueError) as error:
        if "[" not in str(split):
            raise
        raise SalientImageNetError(
            f"There is no split {split} ({_first_line(error)}): use one such as train[:10%]."
        ) from error


def _published(build: Build, split: str | None, streaming: bool) -> tuple[str | None, str | None]:
    """Return a split like ``train[:10%]+val`` by the build's names, and its only one if it is."""
    if split is None:
        return None, None
    parts = [part.strip().partition("[") for part in str(split).split("+")]
    names = [build.split(base) for base, _, _ in parts]
    split = "+".join("".join([name, *part[1:]]) for name, part in zip(names, parts, strict=True))
    if streaming and "[" in split:
        raise SalientImageNetError(
            f"A stream has no split {split}: use {'+'.join(names)}, and take() or skip() for a "
            "part of it."
        )
    return split, names[0] if len(names) == 1 else None


def _open_images(images: Any, build: Build, split: str | None, streaming: bool) -> Any:
    """Return the dataset that images are, or that `datasets` opens; None for folders and tars."""
    if images is None:
        raise SalientImageNetError(
            "Say images=, your ImageNet directory, its official tar, a dataset or its id."
        )
    if not isinstance(images, str | os.PathLike):
        return images
    if not is_dataset(os.fspath(images), split):
        return None
    if split is None:
        raise SalientImageNetError(f"Say split=, {' or '.join(build.splits)}.")
    try:
        return open_dataset(os.fspath(images), build.split(split), streaming)
    except SalientImageNetError as error:
        raise SalientImageNetError(f"{error}: check images= and split=.") from error


def _finish(
    dataset: Any,
    transform: Callable[[dict[str, Any]], dict[str, Any]] | None,
    form: str | None,
    rendered: bool,
    threads: int | None,
) -> Any:
    """Apply the user's transform, and turn the result into tensors where that is wanted."""
    if isinstance(dataset, dict):
        parts = {n: _finish(d, transform, form, rendered, threads) for n, d in dataset.items()}
        return type(dataset)(parts)
    if form:
        _check_installed("torch", "format='torch'")
    if isinstance(transform, V2) and not rendered:
        raise SalientImageNetError(
            "What V2 does to an image is not known when its masks are rendered later: leave out "
            "render=False, or use RandomResizedCrop or CenterCrop."
        )
    tensors = ToTensors(rendered) if form else None
    if not (transform or tensors or threads):
        return dataset
    if isinstance(dataset, datasets.Dataset):
        return dataset.with_transform(_Steps(transform, tensors).on_batch)
    # Images are decoded by the steps, as their threads are to do it, and images of a batch at full
    # size would be a lot. The columns go, or those that the transform dropped would come back.
    kinds = {name: kind for name, kind in dataset.features.items() if require_decoding(kind)}
    steps = _Steps(transform, tensors, threads, kinds)
    stream, columns = dataset.decode(False), list(dataset.features)
    if not (tensors or threads):
        return stream.map(steps.on_example, remove_columns=columns)
    size = 4 * (threads or 4)
    return stream.map(steps.on_batch, batched=True, batch_size=size, remove_columns=columns)


def _check_installed(package: str, what: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise SalientImageNetError(f"{what} needs the package {package}: pip install {package}.")


_BESIDE = 4
"""Rows of a batch whose tensors are made while the next are decoded."""


@dataclass(frozen=True)
class _Steps:
    """Decodes columns of `kinds` (`Features` would look at all, each time) and transforms."""

    transform: Callable[[dict[str, Any]], dict[str, Any]] | None
    tensors: ToTensors | None
    threads: int | None = None
    kinds: Mapping[str, Any] = field(default_factory=dict)

    def on_example(self, example: dict[str, Any]) -> dict[str, Any]:
        decoded = {n: decode_nested_example(kind, example[n]) for n, kind in self.kinds.items()}
        example = {**example, **decoded}
        return self.transform(example) if self.transform else example

    def on_batch(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the batch in tensors if wanted, which are made of all examples together."""
        rows = [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]
        if self.threads:
            results = list(_pool(os.getpid(), self.threads).map(self.on_example, rows))
        elif self.tensors and self.threads is None and _has_spare_core():
            return _by_name(batch, self._tensors_beside(rows))
        else:
            results = [self.on_example(row) for row in rows]
        return _by_name(batch, self.tensors.batch(results) if self.tensors else results)

    def _tensors_beside(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Make tensors of a few rows in a thread, while this one decodes the next few."""
        make, pool = cast(ToTensors, self.tensors).batch, _pool(os.getpid(), 1)
        parts = [rows[start : start + _BESIDE] for start in range(0, len(rows), _BESIDE)]
        pending = [pool.submit(make, [self.on_example(row) for row in part]) for part in parts]
        return [result for part in pending for result in part.result()]


def _by_name(batch: Iterable[str], results: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = results[0] if results else batch
    return {name: [result[name] for result in results] for name in names}


def _has_spare_core() -> bool:
    """Tell whether a thread can run beside this one, and beside that of each other worker."""
    torch = sys.modules.get("torch")
    worker = torch.utils.data.get_worker_info() if torch is not None else None
    # As torchrun tells each process of a machine how many they are.
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) * (worker.num_workers if worker else 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) >= 2 * processes


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the threads of a process; those of the one that it was forked from are not there."""
    return ThreadPoolExecutor(threads)


# Joining any dataset ------------------------------------------------------------------------------

_patched_for_streaming = True
"""Keeps `datasets` from replacing open, os and Path in this module by ones that read URLs."""

_NAME_COLUMNS = ("image_id", "file_name", "filename", "__key__")
_JOIN_ROWS = 16
_CHECKED_ROWS = 32
_Rows = npt.NDArray[np.int64]


def join(
    dataset: Any,
    directory: str | os.PathLike[str],
    *,
    split: str | None = None,
    select: Selection | None = None,
    image_column: str | None = None,
    id_column: str | None = None,
    on_missing: OnMissing = "error",
    on_mismatch: OnMismatch = "error",
    geometry: Geometry = "aligned",
    extent: Extent = "crop",
    objects: bool = False,
    decode: bool = True,
    cache_dir: str | os.PathLike[str] | None = None,
    _below: str | None = None,  # see `place_of`
) -> Any:
    """Join a dataset of ImageNet images with a build, by image id.

    Parameters
    ----------
    dataset : datasets.Dataset or datasets.IterableDataset
        It has a column of images, and tells their file names: in the images' paths, or in a column
        ``image_id``, ``file_name``, ``filename`` or ``__key__`` (WebDataset).
    split : str, optional
        The build's split; by default the dataset's.
    image_column, id_column : str, optional
        The columns of images and of file names, where they cannot be told.
    on_mismatch : {"error", "warn", "skip"}
        What to do with images of another size, or another label, than masks were made from. Of a
        `datasets.Dataset` the labels and the sizes of some images are compared beforehand, and
        that of each image by the transforms; with ``warn`` and ``skip`` all sizes are.
    directory, select, on_missing, geometry, extent, objects, decode, cache_dir
        As for `load`.

    Returns
    -------
    datasets.Dataset or datasets.IterableDataset
        The columns of the config ``images``, and those of `dataset` that have other names.

    Raises
    ------
    SalientImageNetError
        If the dataset does not fit the build; the sentence says what to do.
    """
    if isinstance(dataset, dict):
        splits = ", ".join(map(repr, dataset))
        raise SalientImageNetError(
            f"A dict of datasets is joined one by one: give one of {splits}."
        )
    if not isinstance(dataset, datasets.Dataset | datasets.IterableDataset):
        raise SalientImageNetError(
            f"Images are a path or a dataset of `datasets`, not {type(dataset).__name__}: "
            "open them with datasets.load_dataset('imagefolder', data_dir=...)."
        )
    _check_options(locals())
    _check_select(select)
    build = Build.open(directory)
    split = build.split(str(split or _split_of(dataset, build)))
    if dataset.features is None:
        dataset = dataset._resolve_features()
    column = image_column or _image_column(dataset)
    for name in (column, id_column):
        if name and name not in dataset.features:
            raise SalientImageNetError(
                f"The dataset has no column {name}: use {', '.join(dataset.features)}."
            )
    _check_extent(build, split, extent, geometry)
    _check_objects(build, split, select, objects)
    told = on_mismatch, geometry, decode, extent, objects
    features = image_features(build.features("masks", split), *told)
    records = _Records(build, split, _cache(cache_dir), extent, objects)
    joiner = _Join(
        records=records,
        filter=select.resolve(build, split) if select else None,
        column=column,
        name_column=id_column or next((n for n in _NAME_COLUMNS if n in dataset.features), None),
        classes=getattr(dataset.features.get("label"), "names", None) or (),
        translation=records.translation(dataset.features.get("label")),
        features=features,
        on_missing=on_missing,
        on_mismatch=on_mismatch,
        below=_below,
    )
    raw = dataset.cast_column(column, Image(decode=False))
    if isinstance(dataset, datasets.Dataset):
        return joiner.map_style(raw)
    others = {n: f for n, f in raw.features.items() if n not in features and n != column}
    joined = raw.map(joiner, batched=True, batch_size=_JOIN_ROWS, remove_columns=list(raw.features))
    return joined.cast(Features({**features, **others}))


def _split_of(dataset: Any, build: Build) -> str:
    name = str(dataset.split or "").split("[")[0]
    if _ALIASES.get(name, name) in build.splits:
        return name
    if len(build.splits) == 1:
        return build.splits[0]
    raise SalientImageNetError(
        f"The dataset does not tell its split: say split=, {' or '.join(build.splits)}."
    )


def _image_column(dataset: Any) -> str:
    columns = [name for name, kind in dataset.features.items() if isinstance(kind, Image)]
    if len(columns) != 1:
        raise SalientImageNetError(
            f"The dataset has {len(columns)} columns of images among {', '.join(dataset.features)}:"
            " say image_column=."
        )
    return str(columns[0])


@dataclass(frozen=True)
class _Join:
    """Finds the rows of a build for a batch of images."""

    records: _Records
    filter: Selection | None
    column: str
    name_column: str | None
    classes: Sequence_[str]
    translation: npt.NDArray[np.int64] | None
    features: Features
    on_missing: str
    on_mismatch: str
    below: str | None

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the batch with the columns of ``images``, without the rows to skip."""
        images = batch[self.column]
        if self.below:
            check_places((i["path"] for i in images if i["bytes"] is None), self.below)
        names = batch[self.name_column] if self.name_column else [i["path"] for i in images]
        found, kept = self.look_up(names, batch.get("label"))
        table = self.records.take(found).append_column("_row", pa.array(kept))
        joined = _joined(table, [images[row] for row in kept.tolist()], self.on_mismatch)
        rows = joined.select(list(self.features)).to_pydict()
        kept = joined["_row"].to_pylist()
        others = (name for name in batch if name not in rows and name != self.column)
        return {**rows, **{name: [batch[name][row] for row in kept] for name in others}}

    def look_up(self, names: list[str | None], labels: list[int] | None) -> tuple[_Rows, _Rows]:
        """Return rows of the build, and the rows of the dataset that they belong to."""
        if not all(isinstance(name, str) for name in names):
            raise SalientImageNetError(
                "The dataset does not tell the file names of its images, by which masks are "
                "joined: use a copy that keeps them, or say id_column=."
            )
        told = labels if labels is not None else [None] * len(names)
        places = zip(cast(list[str], names), told, strict=True)
        ids = [image_id(in_class_folder(*place, self.classes)) for place in places]
        found = self.records.find(ids)
        if self.name_column == "image_id":  # Where an id may stand as it is, dots and all.
            exact = self.records.find(cast(list[str], names))
            found = np.where(exact < 0, found, exact)
        if missing := [ids[row] for row in np.flatnonzero(found < 0).tolist()]:
            self._allow_missing(missing, len(ids))
        kept = np.flatnonzero(found >= 0)
        if self.filter is not None and len(kept):
            selected = []
            for block in np.array_split(kept, math.ceil(len(kept) / _BATCH_ROWS)):
                table = self.records.take(found[block]).append_column("_row", pa.array(block))
                selected.append(self.filter.apply(table)["_row"].to_numpy())
            kept = np.concatenate(selected)
        if labels is not None and self.translation is not None and len(kept):
            theirs = np.asarray(labels)[kept]
            theirs = np.where(theirs >= 0, self.translation[theirs], _NONE)
            kept = kept[self._same_labels(self.records.labels[found[kept]], theirs)]
        return found[kept], kept

    def _allow_missing(self, missing: list[str], of: int) -> None:
        some = ", ".join(missing[:3])
        if self.on_missing == "error" and len(missing) == of:
            raise SalientImageNetError(
                f"None of these images is in the build: {some}; it has names such as "
                f"{', '.join(self.records.ids)}: check the dataset and split=."
            )
        if self.on_missing == "error":
            raise SalientImageNetError(
                f"The build has no masks of {len(missing)} images, such as {some}: leave them out, "
                "or use on_missing='skip'."
            )
        skipped["missing"] += len(missing)

    def _same_labels(self, ours: _Rows, theirs: _Rows) -> npt.NDArray[np.bool_]:
        """Return which rows to keep; a label of -1 is unknown."""
        same: npt.NDArray[np.bool_] = (ours == theirs) | (theirs == _NONE)
        if same.all():
            return same
        first = int(np.argmin(same))
        message = (
            f"The dataset labels an image {theirs[first]} that is {ours[first]} here: labels are "
            "indices of sorted wnids, not the devkit's; drop the dataset's column label, or use "
            "on_mismatch='warn'."
        )
        if self.on_mismatch == "error":
            raise SalientImageNetError(message)
        _logger.warning(message)
        if self.on_mismatch == "warn":
            return np.ones_like(same)
        skipped["mismatch"] += int((~same).sum())
        return same

    def map_style(self, raw: datasets.Dataset) -> datasets.Dataset:
        """Return the same images, unread, beside a memory-mapped table of the build's columns."""
        if self.below:
            images = raw.data.table[self.column]
            files = images.filter(pc.is_null(pc.struct_field(images, "bytes")))
            check_places(pc.struct_field(files, "path").to_pylist(), self.below)
        with _skips_reported("the dataset"):
            names = _values(raw, self.name_column or self.column)
            labels = _values(raw, "label") if "label" in raw.column_names else None
            found, kept = self.look_up(names, labels)
            raw = raw.select(kept) if len(kept) < len(raw) else raw
            seen, unlike = self._other_sizes(raw, found)
            if unlike:
                skipped["mismatch"] += len(unlike)
                raw = raw.select(np.delete(np.arange(len(raw)), unlike))
                found = np.delete(found, unlike)
        if not len(found):
            raise SalientImageNetError(_NOTHING_LEFT)
        images = raw.cast_column(self.column, self.features["image"])
        if self.column != "image":
            images = images.rename_column(self.column, "image")
        columns = Features({n: kind for n, kind in self.features.items() if n != "image"})
        which = {"row": found, **({"seen": seen} if self.on_mismatch == "warn" else {})}
        rows = datasets.Dataset.from_dict(which).with_format("arrow")
        annotate = partial(_annotate, self.records, columns)
        annotated = rows.map(annotate, batched=True, batch_size=_BATCH_ROWS, features=columns)
        others = images.remove_columns([n for n in columns if n in images.column_names])
        joined = datasets.concatenate_datasets([annotated.with_format(None), others], axis=1)
        return joined.select_columns(list(dict.fromkeys([*self.features, *joined.column_names])))

    def _other_sizes(
        self, raw: datasets.Dataset, found: _Rows
    ) -> tuple[list[_ImageSize | None], list[int]]:
        """Return images' sizes, of some where another is an error, and which are to be skipped."""
        step = max(1, len(raw) // _CHECKED_ROWS) if self.on_mismatch == "error" else 1
        images = raw.select_columns([self.column])  # others may hold images, which would decode
        seen = [_size(images[row][self.column]) for row in range(0, len(raw), step)]
        if self.on_mismatch == "warn":
            return seen, []
        table = self.records.take(found[::step])
        others = [
            row
            for row, sizes in enumerate(zip(seen, _sizes(table), strict=True))
            if sizes[0] not in (None, sizes[1])  # an unreadable one is an error when it is wanted
        ]
        if others and self.on_mismatch == "error":
            row = others[0]
            name = table["image_id"][row].as_py()
            raise SalientImageNetError(_mismatch(name, cast(Any, seen[row]), _sizes(table)[row]))
        return seen, others


def _sizes(table: pa.Table) -> list[_ImageSize]:
    return list(zip(table["width"].to_pylist(), table["height"].to_pylist(), strict=True))


def _annotate(records: _Records, columns: Features, batch: pa.Table) -> pa.Table:
    table = records.take(batch["row"].to_numpy())
    seen = batch["seen"].to_pylist() if "seen" in batch.column_names else None
    rows = _masks_to_images(table, pa.nulls(len(table), Image.pa_type), seen)
    return rows.select(list(columns)).cast(columns.arrow_schema)


def _values(dataset: datasets.Dataset, column: str) -> list[Any]:
    """Return a column, of images their paths, from Arrow: rows would read the images' bytes."""
    values = dataset.data.table[column]
    if isinstance(dataset.features[column], Image):
        values = pc.struct_field(values, "path")
    if dataset._indices is not None:
        values = values.take(dataset._indices.column(0))
    return list(values.to_pylist())


# Transforms of image and masks together -----------------------------------------------------------


Window = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of an image."""


def _cut(
    example: dict[str, Any], image: PIL.Image.Image, window: Window, mask_size: int, flip: bool
) -> dict[str, Any]:
    """Return the example with `image`, and masks of a window of the decoded image.

    That of a resized copy, which `on_mismatch="warn"` lets through, is scaled to the original.
    """
    if "window" in example:
        raise SalientImageNetError(
            "An example is cut once: use one of RandomResizedCrop and CenterCrop, as the only one."
        )
    seen = example["image"].size
    original = example.get("width", seen[0]), example.get("height", seen[1])
    if seen != original and not example["image"].info.get(_RESIZED_ALLOWED):
        raise SalientImageNetError(_mismatch(example.get("image_id", ""), seen, original))
    x, y = original[0] / seen[0], original[1] / seen[1]
    scaled = (window[0] * x, window[1] * y, window[2] * x, window[3] * y)
    size = (mask_size, mask_size)
    cut = {"image": image, "window": scaled, "flip": flip, "mask_size": size}
    for name in (*_PICTURES, _OBJECT):
        if example.get(name) is not None:
            mask = example[name]
            # A picture that the user has made of a mask is of the copy's size.
            is_of_copy = not isinstance(mask, SoftMask) and mask.size == seen
            part = window if is_of_copy else scaled
            cut[name] = _cut_mask(mask, part, size, flip)
    return {**example, **cut}


def _cut_mask(
    mask: PIL.Image.Image, window: Window, size: tuple[int, int], flip: bool = False
) -> PIL.Image.Image:
    """Return a window of a mask, unrendered unless the user has made a picture of it."""
    if isinstance(mask, SoftMask):
        return mask.cropped(window, size, flip)
    mask = _gray(mask)
    box = (*window[:2], min(window[2], mask.width), min(window[3], mask.height))
    cut = mask.resize(size[::-1], PIL.Image.Resampling.BILINEAR, box)
    return cut.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if flip else cut


def _gray(mask: Any) -> PIL.Image.Image:
    """Return a picture that a user has made of a mask, as values from 0 to 255."""
    if not isinstance(mask, PIL.Image.Image) or mask.mode not in ("L", "1"):
        kind = f"of mode {mask.mode}" if isinstance(mask, PIL.Image.Image) else type(mask).__name__
        raise SalientImageNetError(
            f"A mask is a PIL image of mode L, from 0 to 255, not {kind}: return "
            "PIL.Image.fromarray of a uint8 array."
        )
    return mask if mask.mode == "L" else mask.convert("L")


def _decoded(example: Mapping[str, Any], transform: object) -> PIL.Image.Image:
    """Return the image that a transform is to cut."""
    image = example.get("image")
    if not isinstance(image, PIL.Image.Image):
        raise SalientImageNetError(
            f"{type(transform).__name__} needs the decoded image: have image among columns=, leave "
            "out decode=False, and apply it before tensors are made."
        )
    return image


@dataclass
class RandomResizedCrop:
    """A random part of the image, resized and perhaps mirrored, and its masks.

    As torchvision's ``RandomResizedCrop`` and ``RandomHorizontalFlip``. Masks are rendered at the
    crop alone.

    Parameters
    ----------
    size, mask_size : int
        Pixels of either side of the image and of the masks, by default the same (see `load`).
    scale, ratio : (float, float)
        Least and greatest part of the image's area, and width over height.
    flip : float
        Probability to mirror.
    seed : int, optional
        By default the seed is drawn by torch where that is in use (so ``torch.manual_seed`` makes
        runs repeat), else by the system. Workers and epochs of a ``DataLoader`` differ either way.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    seed: int | None = None
    mask_size: int | None = None
    _generator: np.random.Generator | None = field(default=None, init=False, repr=False)
    _owner: tuple[int, int | None] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        _check_options(vars(self))

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        """Return the example with image and masks cut alike; ``window`` and ``flip`` tell how."""
        generator = self._random()
        image = _decoded(example, self)
        window = self.window(image.width, image.height, generator)
        flip = bool(generator.random() < self.flip)
        cut = image.crop(window).resize((self.size, self.size), PIL.Image.Resampling.BILINEAR)
        if flip:
            cut = cut.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
        return _cut(example, cut, window, self.mask_size or self.size, flip)

    def window(self, width: int, height: int, generator: np.random.Generator) -> Window:
        """Draw a part of an image: left, top, right, bottom."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = width * height * generator.uniform(*self.scale)
            aspect = math.exp(generator.uniform(low, high))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left = int(generator.integers(0, width - w + 1))
                top = int(generator.integers(0, height - h + 1))
                return left, top, left + w, top + h
        # Like torchvision: the largest centred part of a permitted shape.
        w = min(width, round(height * self.ratio[1]))
        h = min(height, round(width / self.ratio[0]))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h

    def _random(self) -> np.random.Generator:
        torch = sys.modules.get("torch")
        worker = torch.utils.data.get_worker_info() if torch else None
        owner = os.getpid(), worker.seed if worker else None
        if self._generator is None or self._owner != owner:
            seeds = [seed for seed in (self.seed, owner[1]) if seed is not None]
            if torch and not seeds:
                seeds = [int(torch.empty((), dtype=torch.int64).random_())]
            self._generator, self._owner = np.random.default_rng(seeds or None), owner
        return self._generator

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_generator": None, "_owner": None}


@dataclass(frozen=True)
class CenterCrop:
    """The image resized and its centre cut out, with its masks, for evaluation.

    As torchvision's ``Resize`` and ``CenterCrop``. The defaults show what the masks' network saw.

    Parameters
    ----------
    size, mask_size : int
        Pixels of either side of the image and of the masks, by default the same (see `load`).
    resize : int
        Pixels of the short side before the cut.
    """

    size: int = CROP_SIZE
    resize: int = RESIZE_SIZE
    mask_size: int | None = None

    def __post_init__(self) -> None:
        _check_options(vars(self))
        if self.size > self.resize:
            raise SalientImageNetError(
                f"A crop of {self.size} pixels is larger than the image resized to {self.resize}: "
                "use a smaller size or a larger resize."
            )

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        """Return the example with image and masks cut alike; see `RandomResizedCrop`."""
        image = _decoded(example, self)
        width, height = resized_size(image.width, image.height, self.resize)
        left, top = round((width - self.size) / 2.0), round((height - self.size) / 2.0)
        cut = image.resize((width, height), PIL.Image.Resampling.BILINEAR)
        cut = cut.crop((left, top, left + self.size, top + self.size))
        x, y = image.width / width, image.height / height
        window = (left * x, top * y, (left + self.size) * x, (top + self.size) * y)
        return _cut(example, cut, window, self.mask_size or self.size, False)


@dataclass(frozen=True)
class ToTensors:
    """Turns an example into tensors that ``torch.utils.data.default_collate`` can stack.

    Parameters
    ----------
    render : bool
        Whether to hand out masks, or what `render` needs to make them on the device, for a batch.

    Notes
    -----
    ``image`` is uint8 of shape (3, height, width); ``core_mask`` and ``spurious_mask`` are uint8 of
    shape (1, height, width), zero where the class has no such feature; so is ``object_mask``, zero
    where nobody drew the object. Without `render` there are
    ``grids`` (uint8, (features, grid_height, grid_width)), ``window`` (float64, (4,)) and ``flip``
    (bool) instead; of whole images, whose grids differ in size, ``box`` (float64, (4,)),
    ``grid_height`` and ``grid_width`` as well, and `collate` stacks them. ``core`` and ``spurious``
    (bool, (features,)) stand for ``kinds``. Nulls become
    NaN in ``spuriosity`` and -1 in ``spuriosity_rank``.
    """

    render: bool = True

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        """Return the example in tensors."""
        return self.batch([example])[0]

    def batch(self, examples: Sequence_[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return examples of the same columns in tensors; to render all at once saves calls."""
        results = _tensors([self._pictures(example) for example in examples])
        for name, values in self._columns(examples).items():
            for result, value in zip(results, values, strict=True):
                result.setdefault(name, value)
        return results

    def _pictures(self, example: dict[str, Any]) -> dict[str, Any]:
        """Return the image and the masks that the example's tensors show."""
        import torch  # noqa: PLC0415

        pictures: dict[str, Any] = {}
        image = example.get("image")
        size: Any = example.get("height", 1), example.get("width", 1)
        if isinstance(image, PIL.Image.Image):
            pictures["image"] = image if image.mode == "RGB" else image.convert("RGB")
            size = image.height, image.width
        elif isinstance(image, torch.Tensor):
            size = image.shape[-2:]
        height, width = example.get("mask_size", size)
        for name in _PICTURES:
            mask = example.get(name)
            if isinstance(mask, torch.Tensor):
                pictures[name] = mask
            elif self.render and mask is not None:
                pictures[name] = _gray(mask)
            elif self.render and name in example:
                pictures[name] = SoftMask(_NO_GRIDS, _Target(width, height))
        drawn = example.get(_OBJECT)
        if isinstance(drawn, torch.Tensor):
            pictures[_OBJECT] = drawn
        elif _OBJECT in example:  # Without grids to render it from.
            pictures[_OBJECT] = PIL.Image.fromarray(_sized(drawn, width, height))
        return pictures

    def _columns(self, examples: Sequence_[dict[str, Any]]) -> dict[str, Any]:
        """Return the other columns of examples, lists of numbers as tensors."""
        import torch  # noqa: PLC0415

        first = examples[0] if examples else {}
        columns: dict[str, Any] = {
            name: [example[name] for example in examples]
            for name in first
            if name not in (*_PICTURES, _OBJECT, *_WHERE)
        }
        if not self.render and "grids" in first:
            _check_columns(first, "core")
            columns["grids"] = [
                torch.from_numpy(unpack_grids(e["grids"], e["grid_height"], e["grid_width"]).copy())
                for e in examples
            ]
            windows = [e.get("window") or (0, 0, e["width"], e["height"]) for e in examples]
            columns["window"] = torch.tensor(windows, dtype=torch.float64)
            columns["flip"] = torch.tensor([bool(e.get("flip")) for e in examples])
            if "box" in first:
                columns["box"] = torch.tensor([e["box"] for e in examples], dtype=torch.float64)
                columns |= {name: [example[name] for example in examples] for name in _CELLS}
        if kinds := columns.pop("kinds", None):
            for kind in KINDS:
                columns[kind] = torch.tensor([[value == kind for value in row] for row in kinds])
        for name in {"features", "activations", "peaks", "activation_ranks"} & columns.keys():
            columns[name] = torch.tensor(columns[name])
        for name, null in (("spuriosity", math.nan), ("spuriosity_rank", -1)):
            if name in columns:
                columns[name] = [null if value is None else value for value in columns[name]]
        return columns


_WHERE = ("grids", *_CELLS, "box", "window", "flip", "mask_size")
"""Columns of an example by which its masks are rendered: grids, and what a transform tells."""


def collate(examples: Sequence_[Mapping[str, Any]]) -> Any:
    """Stack examples of `ToTensors` like ``torch.utils.data.default_collate``.

    For ``DataLoader(collate_fn=)``: what is small (labels, grids, numbers) goes from a worker to
    the main process in one message; by itself each tensor would take a piece of shared memory,
    which costs more than a mask. Grids of whole images are padded to the largest of the batch.
    """
    import torch  # noqa: PLC0415

    batch = {}
    if "box" in examples[0]:
        grids = _padded([example["grids"] for example in examples])
        examples = [{**e, "grids": own} for e, own in zip(examples, grids, strict=True)]
    for name, first in examples[0].items():
        on_cpu = isinstance(first, torch.Tensor) and first.device.type == "cpu"
        small = on_cpu and first.nbytes <= _SMALL
        stack = torch.stack if small else torch.utils.data.default_collate
        batch[name] = stack([example[name] for example in examples])
    return _Message(batch) if torch.utils.data.get_worker_info() else batch


def _padded(grids: Sequence_[Any]) -> list[Any]:
    """Return tensors (features, height, width) with zeros behind those that are smaller."""
    from torch.nn.functional import pad  # noqa: PLC0415

    height, width = (max(each.shape[side] for each in grids) for side in (1, 2))
    return [pad(g, (0, width - g.shape[2], 0, height - g.shape[1])) for g in grids]


_SMALL = 4096
"""Bytes of an example's tensor that are better copied than shared between processes."""


class _Message(dict[str, Any]):
    """A batch in a worker; pickled, tensors outside shared memory are arrays with their bytes."""

    def __reduce__(self) -> Any:
        columns = {
            name: value.numpy() if hasattr(value, "is_shared") and not value.is_shared() else value
            for name, value in self.items()
        }
        return _received, (columns,)


def _received(columns: dict[str, Any]) -> dict[str, Any]:
    import torch  # noqa: PLC0415

    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in columns.items()
    }


def _tensors(examples: Sequence_[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the PIL images of examples as uint8 tensors of shape (bands, height, width).

    Those of an example lie in one block of memory: on the way between processes a block for each
    would cost more than its pixels.
    """
    import torch  # noqa: PLC0415

    results: list[dict[str, Any]] = []
    unrendered: list[SoftMask] = []
    unfilled: list[npt.NDArray[np.uint8]] = []
    for pictures in examples:
        images = {n: i for n, i in pictures.items() if isinstance(i, PIL.Image.Image)}
        shapes = [(len(i.getbands()), i.height, i.width) for i in images.values()]
        counts = [math.prod(shape) for shape in shapes]
        parts = torch.empty(sum(counts), dtype=torch.uint8).split_with_sizes(counts)
        tensors = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        results.append({**pictures, **dict(zip(images, tensors, strict=True))})
        for image, tensor in zip(images.values(), tensors, strict=True):
            if isinstance(image, SoftMask) and not image.rendered:
                unrendered.append(image)
                unfilled.append(tensor[0].numpy())
                continue
            # Band by band, which is faster than to transpose an array of all three.
            for plane, band in zip(tensor.numpy(), image.split(), strict=True):
                plane[:] = band
    _render([mask.grids for mask in unrendered], [mask.target for mask in unrendered], unfilled)
    return results


@dataclass(frozen=True)
class V2:
    """A bridge to pipelines of torchvision and timm: yours, for image and masks together.

    What moves pixels moves masks like the image, bilinearly (torchvision's own masks are resized to
    the nearest pixel, which a soft mask cannot bear), with 0 where there was no pixel before; what
    changes colours, normalises or erases leaves them alone. Masks are rendered at full size, so
    `RandomResizedCrop` of this module is faster.

    Parameters
    ----------
    transforms : callable
        A pipeline of `torchvision.transforms.v2`, or what else takes a dict of ``image``
        (``tv_tensors.Image``, uint8), ``core_mask``, ``spurious_mask`` and, where asked for,
        ``object_mask`` (uint8, (1, height, width)). `RandAugment`, `TrivialAugmentWide` and
        `AutoAugment`, which torchvision refuses to apply to masks, move them too. Or a pipeline on
        PIL images alone: of ``timm``, such as ``create_transform`` makes, or of
        ``torchvision.transforms``.

    Raises
    ------
    SalientImageNetError
        If a step cannot be followed: it mixes images, as `AugMix` and `MixUp` do, or is not known.
    """

    transforms: Callable[..., Any]
    _pipeline: Callable[..., Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_options(vars(self))
        _check_installed("torchvision", "V2")
        made = _followed if _takes_images_alone(self.transforms) else _together
        object.__setattr__(self, "_pipeline", made(self.transforms))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.transforms,)

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        """Return the example with transformed tensors in place of image and masks."""
        image = _decoded(example, self)
        names = (*_PICTURES, _OBJECT)
        masks = {n: _sized(example[n], *image.size) for n in names if n in example}
        alone = _takes_images_alone(self.transforms)
        return {**example, **(self._on_pil if alone else self._on_tensors)(image, masks)}

    def _on_tensors(self, image: PIL.Image.Image, masks: dict[str, UInt8s]) -> dict[str, Any]:
        import torch  # noqa: PLC0415
        from torchvision import tv_tensors  # noqa: PLC0415

        inputs = {"image": tv_tensors.Image(torch.from_numpy(np.array(image)).permute(2, 0, 1))}
        for name, mask in masks.items():
            inputs[name] = _mask_tensor()(torch.from_numpy(mask)[None])
        outputs = self._pipeline(inputs)
        if not isinstance(outputs, dict):
            raise SalientImageNetError(
                f"The pipeline of V2 returned {type(outputs).__name__}: let it take and return a "
                "dict of image and masks, as v2.Compose does."
            )
        return {name: value.as_subclass(torch.Tensor) for name, value in outputs.items()}

    def _on_pil(self, image: PIL.Image.Image, masks: dict[str, UInt8s]) -> dict[str, Any]:
        from torchvision.transforms.v2 import functional  # noqa: PLC0415

        # As the bands of one picture, masks are moved at once.
        bands = [*masks.values(), *[np.zeros(image.size[::-1], np.uint8)] * (3 - len(masks))]
        moved, picture = self._pipeline((image, PIL.Image.fromarray(np.dstack(bands))))
        if isinstance(moved, PIL.Image.Image):
            moved = functional.pil_to_tensor(moved)
        planes = functional.pil_to_tensor(picture).split(1)
        return {"image": moved, **dict(zip(masks, planes, strict=False))}


def _sized(mask: PIL.Image.Image | None, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return a mask at the size of its image, which may be a resized copy; zero for no mask."""
    if mask is None:
        return np.zeros((height, width), np.uint8)
    if _gray(mask).size != (width, height):
        whole = mask.target.edges if isinstance(mask, SoftMask) else (0, 0, *mask.size)
        mask = _cut_mask(mask, whole, (height, width))
    return mask.numpy() if isinstance(mask, SoftMask) else np.array(_gray(mask))


@lru_cache(maxsize=1)
def _mask_tensor() -> Any:
    """Return a class of tv_tensors that v2 moves like masks, but bilinearly."""
    import torch  # noqa: PLC0415
    from torchvision import tv_tensors  # noqa: PLC0415
    from torchvision.transforms.v2 import InterpolationMode, functional  # noqa: PLC0415

    class SoftMaskTensor(tv_tensors.Mask):  # type: ignore[misc]
        pass

    ours = {"interpolation": InterpolationMode.BILINEAR, "fill": None}

    def moved(kernel: Callable[..., Any], mask: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs |= {name: value for name, value in ours.items() if name in kwargs}
        return tv_tensors.wrap(kernel(mask.as_subclass(torch.Tensor), *args, **kwargs), like=mask)

    for name in ("resize", "resized_crop", "affine", "rotate", "perspective", "elastic", "pad"):
        kernel = getattr(functional, f"{name}_image")
        functional.register_kernel(name, SoftMaskTensor)(partial(moved, kernel))
    return SoftMaskTensor


# Pipelines of others, followed by masks -----------------------------------------------------------

_MOVING_OPS = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"}
_COLOUR_OPS = {"Identity", "Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize"}
_COLOUR_OPS |= {"AutoContrast", "Equalize", "Invert", "Desaturate", "GaussianBlur"}
"""What augmentations of torchvision and timm are made of, but for endings such as Increasing."""

_PARTS = {
    "torchvision.Compose": "transforms",
    "torchvision.RandomApply": "transforms",
    "torchvision.RandomChoice": "transforms",
    "torchvision.RandomOrder": "transforms",
    "timm.AutoAugment": "policy",
    "timm.RandAugment": "ops",
}
"""Where steps that are made of others have them."""

_FLIPS = {
    "torchvision.RandomHorizontalFlip": PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    "torchvision.RandomVerticalFlip": PIL.Image.Transpose.FLIP_TOP_BOTTOM,
}
_MOVES = {
    *("torchvision.Resize", "torchvision.CenterCrop", "torchvision.Pad", "torchvision.RandomCrop"),
    *("torchvision.RandomResizedCrop", "torchvision.RandomRotation", "torchvision.RandomAffine"),
    *("timm.RandomResizedCropAndInterpolation", "timm.ResizeKeepRatio", "timm.CenterCropOrPad"),
    *("timm.RandomCropOrPad", "timm.RandomPad", "timm.TrimBorder"),
}
"""Steps that draw all they draw, but for an interpolation, in `get_params`."""

_COLOURS = {
    *("torchvision.ColorJitter", "torchvision.Grayscale", "torchvision.RandomGrayscale"),
    *("torchvision.GaussianBlur", "torchvision.RandomInvert", "torchvision.RandomPosterize"),
    *("torchvision.RandomSolarize", "torchvision.RandomAdjustSharpness"),
    *("torchvision.RandomAutocontrast", "torchvision.RandomEqualize", "torchvision.Normalize"),
    *("torchvision.RandomErasing", "torchvision.ToTensor", "torchvision.PILToTensor"),
    *("torchvision.ConvertImageDtype", "timm.ToTensor", "timm.MaybeToTensor"),
    *("timm.MaybePILToTensor", "timm.RandomErasing"),
}
"""Steps that leave pixels where they are."""

_Pictures = tuple[Any, PIL.Image.Image]
"""An image and, as the bands of a picture, its masks."""


def _takes_images_alone(step: Any) -> bool:
    """Tell the steps of timm and of torchvision's first transforms from those that take masks."""
    module = f"{type(step).__module__}."
    old = module.startswith("torchvision.transforms.") and ".v2." not in module
    return old or module.startswith("timm.")


def _not_followed(step: Any) -> SalientImageNetError:
    name = getattr(step, "__name__", type(step).__name__)
    return SalientImageNetError(
        f"V2 cannot tell how masks are to follow {name}: leave it out, or write its like as a "
        "transform of torchvision.transforms.v2."
    )


def _followed(step: Any) -> Callable[[_Pictures], _Pictures]:
    """Return a step that takes images alone as one that masks follow."""
    library = type(step).__module__.partition(".")[0] if _takes_images_alone(step) else ""
    name = f"{library}.{type(step).__name__}"
    if name in _PARTS:
        followed = copy.copy(step)
        parts = [
            list(map(_followed, part)) if isinstance(part, list) else _followed(part)
            for part in getattr(step, _PARTS[name])
        ]
        # Past torch, which would want a module where one has been.
        vars(followed)[_PARTS[name]] = parts
        return cast(Callable[[_Pictures], _Pictures], followed)
    if name in _FLIPS:
        return partial(_flipped, step, _FLIPS[name])
    if name in _MOVES:
        return partial(_moved, step)
    if name in _COLOURS:
        return partial(_coloured, step)
    if name == "timm.AugmentOp":
        operation = re.sub("(Increasing|Original|Add|Rand|Rel)$", "", step.name)
        if operation in _MOVING_OPS | _COLOUR_OPS:
            return partial(_augmented if operation in _MOVING_OPS else _coloured, step)
    raise _not_followed(step)


def _noting(step: Any, name: str) -> tuple[Any, list[tuple[Any, Any, Any]]]:
    """Return a copy of a step whose method of this name notes its calls, and the list of these.

    It is a copy as threads share the step; of a call are noted arguments, options and result.
    """
    noting, calls = copy.copy(step), []

    def note(*args: Any, **options: Any) -> Any:
        result = getattr(step, name)(*args, **options)
        calls.append((args, options, result))
        return result

    setattr(noting, name, note)
    return noting, calls


def _coloured(step: Any, pictures: _Pictures) -> _Pictures:
    image, masks = pictures
    return step(image), masks


def _flipped(step: Any, method: PIL.Image.Transpose, pictures: _Pictures) -> _Pictures:
    image, masks = pictures
    flipped = step(image)
    return flipped, masks if flipped is image else masks.transpose(method)


def _moved(step: Any, pictures: _Pictures) -> _Pictures:
    """Move an image, and its masks by the same numbers, which are drawn once."""
    from torchvision.transforms import InterpolationMode  # noqa: PLC0415

    image, masks = pictures
    of_image, of_masks = step, copy.copy(step)
    of_masks.interpolation, of_masks.fill = InterpolationMode.BILINEAR, 0
    if hasattr(step, "get_params"):
        of_image, calls = _noting(step, "get_params")
        of_masks.get_params = lambda *args: calls[-1][-1]
    return of_image(image), of_masks(masks)


def _augmented(step: Any, pictures: _Pictures) -> _Pictures:
    """Do the same with an operation of timm's, which may be left out by chance."""
    image, masks = pictures
    of_image, calls = _noting(step, "aug_fn")
    image = of_image(image)
    for (_, *level), _, _ in calls:
        masks = step.aug_fn(masks, *level, resample=PIL.Image.Resampling.BILINEAR, fillcolor=0)
    return image, masks


def _parts(step: Any) -> Iterator[Any]:
    """Yield a step and the steps that it is made of."""
    from torch.nn import Module  # noqa: PLC0415

    yield step
    inner = getattr(step, "transforms", ())
    modules = step.children() if isinstance(step, Module) else ()
    for part in (*(inner if isinstance(inner, Iterable) else ()), *modules):
        yield from _parts(part)


def _together(pipeline: Callable[..., Any]) -> Callable[..., Any]:
    """Return a pipeline of v2 whose augmentations, which take images alone, masks follow."""
    from torchvision.transforms import v2  # noqa: PLC0415

    mixes = v2.AugMix, v2.MixUp, v2.CutMix
    augmentations = v2.AutoAugment, v2.RandAugment, v2.TrivialAugmentWide
    for part in _parts(pipeline):
        refused = isinstance(part, mixes) or _takes_images_alone(part)
        if isinstance(part, augmentations):
            unknown = part._AUGMENTATION_SPACE.keys() - _MOVING_OPS - _COLOUR_OPS
            refused = bool(unknown) or not hasattr(part, "_apply_image_or_video_transform")
        if refused:
            raise _not_followed(part)
    if not any(isinstance(part, augmentations) for part in _parts(pipeline)):
        return pipeline
    pipeline = copy.deepcopy(pipeline)
    for part in _parts(pipeline):
        if isinstance(part, augmentations):
            part.forward = partial(_augmented_together, part)
    return pipeline


def _augmented_together(step: Any, *inputs: Any) -> Any:
    """Apply an augmentation of v2, and those of its operations that move pixels to masks too."""
    from torch.utils._pytree import tree_flatten, tree_unflatten  # noqa: PLC0415

    of_image, calls = _noting(step, "_apply_image_or_video_transform")
    flat, spec = tree_flatten(inputs)
    masks = {at: part for at, part in enumerate(flat) if isinstance(part, _mask_tensor())}
    others = tree_unflatten([None if at in masks else flat[at] for at in range(len(flat))], spec)
    flat, spec = tree_flatten(type(step).forward(of_image, *others))
    for (_, operation, *level), options, _ in calls:
        if operation in _MOVING_OPS:
            options["fill"] = {"others": None}
            for at, mask in masks.items():
                masks[at] = step._apply_image_or_video_transform(mask, operation, *level, **options)
    return tree_unflatten([masks.get(at, part) for at, part in enumerate(flat)], spec)
