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
from collections.abc import Mapping
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image
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

KINDS = ("core", "spurious")
"""What a neural feature can be, by vote."""

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


# Rendering: from grids to pixels ------------------------------------------------------------------

_STRIP = 7 * 32_768
"""Multiplications of one matrix product: a library's BLAS starts threads above four times that, and
in data loading workers threads that fight for the same cores cost three quarters of the speed."""

UPSTREAM_ZOOM = RESIZE_SIZE / CROP_SIZE
"""By how much the public evaluation code enlarges masks against their images."""

Geometry = Literal["aligned", "upstream"]


def grid_box(width: int, height: int, geometry: Geometry = "aligned") -> Box:
    """Return the part of an image that its grids are drawn over.

    Parameters
    ----------
    width, height : int
        Size of the original image in pixels.
    geometry : {"aligned", "upstream"}
        ``aligned`` is `crop_box`: a mask lies on what its network saw. ``upstream`` reproduces the
        public evaluation code of the first release, which applies Resize(256) and CenterCrop(224)
        to 224-pixel masks a second time and so enlarges them by 256/224 about their centre.

    Returns
    -------
    Box
        In pixels of the original image.
    """
    box = crop_box(width, height)
    if geometry == "aligned":
        return box
    if geometry != "upstream":
        raise SalientImageNetError(f"There is no geometry {geometry!r}: use aligned or upstream.")
    grow_x = (box.right - box.left) * (UPSTREAM_ZOOM - 1) / 2
    grow_y = (box.bottom - box.top) * (UPSTREAM_ZOOM - 1) / 2
    return Box(box.left - grow_x, box.top - grow_y, box.right + grow_x, box.bottom + grow_y)


@lru_cache(maxsize=64)
def _axis(
    pixels: int, start: float, stop: float, low: float, high: float, cells: int, flip: bool
) -> tuple[int, npt.NDArray[np.float32]]:
    """Return where one axis of a target meets the box, and the weights of the grid's cells there.

    Parameters
    ----------
    pixels : int
        Size of the target.
    start, stop : float
        The window of the image that the target shows.
    low, high : float
        The box that the grid covers.
    cells : int
        Size of the grid.
    flip : bool
        Whether the target is mirrored.

    Returns
    -------
    first : int
        The first pixel whose centre lies in the box.
    weights : ndarray of float32, shape (inside, cells)
        A row for each pixel in the box. Bilinear, half-pixel centres, edges clamped.
    """
    centres = start + (np.arange(pixels) + 0.5) * ((stop - start) / pixels)
    if flip:
        centres = centres[::-1]
    inside = np.flatnonzero((centres >= low) & (centres < high))
    positions = (centres[inside] - low) * (cells / (high - low)) - 0.5
    positions = np.clip(positions, 0, cells - 1)
    weights = np.maximum(1 - np.abs(positions[:, None] - np.arange(cells)), 0)
    return int(inside[0]) if len(inside) else 0, weights.astype(np.float32)


@dataclass(frozen=True)
class _Target:
    """Where masks are rendered: a window of the image, its size in pixels, mirrored or not.

    Attributes
    ----------
    width, height : int
        Size of the original image.
    window : tuple of float, optional
        Left, top, right, bottom in pixels of the original image; all of it by default.
    size : tuple of int, optional
        Height and width of the result; those of the window by default.
    flip : bool
        Whether the result is mirrored, left to right.
    geometry : {"aligned", "upstream"}
    """

    width: int
    height: int
    window: tuple[float, float, float, float] | None = None
    size: tuple[int, int] | None = None
    flip: bool = False
    geometry: Geometry = "aligned"

    @property
    def edges(self) -> tuple[float, float, float, float]:
        return self.window or (0, 0, self.width, self.height)

    @property
    def shape(self) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        left, top, right, bottom = self.edges
        return round(bottom - top), round(right - left)

    def axes(
        self, rows: int, columns: int
    ) -> tuple[int, npt.NDArray[np.float32], int, npt.NDArray[np.float32]]:
        """Return the first pixel and the weights of both axes, for grids of rows x columns."""
        left, top, right, bottom = self.edges
        height, width = self.shape
        box = grid_box(self.width, self.height, self.geometry)
        return (
            *_axis(height, top, bottom, box.top, box.bottom, rows, False),
            *_axis(width, left, right, box.left, box.right, columns, self.flip),
        )


def _render(grids: npt.NDArray[np.uint8], target: _Target) -> npt.NDArray[np.uint8]:
    """Return the pixelwise maximum of the soft masks of `grids` on `target`.

    A soft mask is ``rows @ grid @ columns.T``. Rounding commutes with the maximum, so each strip
    is cast to uint8 while it is in the cache, and the maximum is taken on a quarter of the bytes.
    """
    mask = np.zeros(target.shape, np.uint8)
    _, height, width = grids.shape
    top, rows, left, columns = target.axes(height, width)
    inside = mask[top : top + len(rows), left : left + len(columns)]
    # einsum, not a BLAS product; the half makes the cast, which truncates, round.
    stretched = [
        np.einsum("rc,xc->rx", grid, columns, dtype=np.float32) + np.float32(0.5)
        for grid in grids
        if grid.any()
    ]
    step = max(1, _STRIP // max(1, len(columns) * height))
    for start in range(0, len(rows), step):
        strip, weights = inside[start : start + step], rows[start : start + step]
        for part in stretched:
            np.maximum(strip, (weights @ part).astype(np.uint8), out=strip)
    return mask


def _render_torch(grids: Any, targets: Sequence_[_Target]) -> Any:
    """Return what `_render` does for a batch of grids, a tensor of shape (n, features, h, w)."""
    import torch  # noqa: PLC0415

    count, features, grid_height, grid_width = grids.shape
    height, width = targets[0].shape
    rows = np.zeros((count, height, grid_height), np.float32)
    columns = np.zeros((count, width, grid_width), np.float32)
    for index, target in enumerate(targets):
        top, row_weights, left, column_weights = target.axes(grid_height, grid_width)
        rows[index, top : top + len(row_weights)] = row_weights
        columns[index, left : left + len(column_weights)] = column_weights
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
        bytes, ``grid_height`` and ``grid_width``), or a batch of rows: lists of them, or tensors
        as a ``DataLoader`` collates them. In tensor form ``grids`` is uint8 of shape
        (..., features, grid_height, grid_width), and the boolean columns ``core`` and ``spurious``
        of shape (..., features) stand for ``kinds``.
    kind : {"core", "spurious"} or int
        The union of the class's core or spurious features, or one feature by position.
    size : int or (height, width), optional
        Pixels of the result; by default those of the window. A batch needs it, unless all images
        have one size.
    window : (left, top, right, bottom) or one for each row, optional
        The part of the original image to show, in its pixels; fractions and parts outside of the
        image are allowed. By default the example's column ``window`` where it has one, else all.
    flip : bool or one for each row, optional
        Whether the result is mirrored left to right, after the window is cut. By default the
        example's column ``flip`` where it has one, else false.
    geometry : {"aligned", "upstream"}
        See `grid_box`.

    Returns
    -------
    ndarray or Tensor of uint8, shape (height, width) or (rows, height, width)
        255 is the peak of a map; 0 is also what lies outside the box that the grids cover, and the
        mask of a class without a feature of the kind. A tensor, on the same device, where
        ``grids`` is one.

    Raises
    ------
    SalientImageNetError
        If the kind or geometry does not exist, or rows of a batch differ in size.
    """
    grids, batched = _grids_of(example)
    chosen = _chosen(example, kind, grids.shape[-3], batched)
    rows = len(grids)
    shape = (size, size) if isinstance(size, int) else size
    window = example.get("window") if window is None else window
    flip = example.get("flip") if flip is None else flip
    windows = np.broadcast_to(np.asarray(window, np.float64), (rows, 4)) if _given(window) else None
    flips = np.broadcast_to(np.asarray(False if flip is None else flip, np.bool_), (rows,))
    widths = np.asarray(example["width"]).reshape(-1)
    heights = np.asarray(example["height"]).reshape(-1)
    targets = [
        _Target(
            int(widths[row]),
            int(heights[row]),
            tuple(windows[row].tolist()) if windows is not None else None,
            shape,
            bool(flips[row]),
            geometry,
        )
        for row in range(rows)
    ]
    if len({target.shape for target in targets}) > 1:
        raise SalientImageNetError(
            "The rows of the batch differ in size: say size=, or render them one by one."
        )
    masks: Any
    if isinstance(grids, np.ndarray):
        masks = np.stack([_render(grids[row][chosen[row]], targets[row]) for row in range(rows)])
    else:
        masks = _render_torch(grids * chosen[..., None, None], targets)
    return masks if batched else masks[0]


def _given(window: Any) -> bool:
    return window is not None and len(window) > 0


def _grids_of(example: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return grids of shape (rows, features, height, width), and whether they are a batch."""
    grids = example["grids"]
    if isinstance(grids, bytes):
        return unpack_grids(grids, example["grid_height"], example["grid_width"])[None], False
    if isinstance(grids, list) and grids and isinstance(grids[0], bytes):
        sizes = zip(example["grid_height"], example["grid_width"], strict=True)
        unpacked = [unpack_grids(row, *size) for row, size in zip(grids, sizes, strict=True)]
        return np.stack(unpacked), True
    if isinstance(grids, list):
        grids = np.asarray(grids, np.uint8)
    return (grids, True) if grids.ndim == 4 else (grids[None], False)


def _chosen(example: Mapping[str, Any], kind: str | int, features: int, batched: bool) -> Any:
    """Return which features to render, bool of shape (rows, features), like the grids' library."""
    if isinstance(kind, int):
        if not -features <= kind < features:
            raise SalientImageNetError(f"There is no feature {kind}: a class has {features}.")
        rows = len(example["grids"]) if batched else 1
        one = np.zeros((rows, features), np.bool_)
        one[:, kind] = True
        return _like(one, example["grids"])
    if kind not in KINDS:
        raise SalientImageNetError(f"There is no kind {kind!r}: use core, spurious or a position.")
    if kind in example:
        chosen = example[kind]
    else:
        chosen = _like(np.asarray(example["kinds"]) == kind, example["grids"])
    return chosen if batched else chosen[None]


def _like(flags: npt.NDArray[np.bool_], grids: Any) -> Any:
    """Return `flags` as a tensor on the device of `grids` where that is one."""
    if isinstance(grids, np.ndarray | bytes | list):
        return flags
    import torch  # noqa: PLC0415

    return torch.from_numpy(flags).to(grids.device)


class SoftMask(PIL.Image.Image):
    """A mask as a PIL image of mode L whose pixels are rendered when they are first asked for.

    Whoever wants only a crop asks `cropped` for it and never pays for the full size. In a pickle,
    on its way between processes, it is its grids: a few hundred bytes.

    Parameters
    ----------
    grids : ndarray of uint8, shape (features, grid_height, grid_width)
        The grids to take the maximum of.
    target : _Target
        What to render.

    Attributes
    ----------
    grids : ndarray of uint8
    box : Box
        The part of the original image that the grids cover; the mask is 0 outside of it, where
        nothing is known.
    """

    def __init__(self, grids: npt.NDArray[np.uint8], target: _Target) -> None:
        super().__init__()
        self.grids = grids
        self._target = target
        self._mode = "L"
        height, width = target.shape
        self._size = (width, height)

    @property
    def box(self) -> Box:
        """The part of the original image that the grids cover."""
        return grid_box(self._target.width, self._target.height, self._target.geometry)

    def load(self) -> Any:
        """Render the pixels unless that is done; PIL calls this before it touches them."""
        if self._im is None:
            self.im = PIL.Image.fromarray(self.numpy()).im
        return super().load()

    def numpy(self) -> npt.NDArray[np.uint8]:
        """Render the mask as an array of uint8, shape (height, width), without PIL."""
        return _render(self.grids, self._target)

    def cropped(
        self,
        window: tuple[float, float, float, float],
        size: tuple[int, int],
        flip: bool = False,
    ) -> SoftMask:
        """Return the mask of a part of the original image, unrendered.

        Parameters
        ----------
        window : (left, top, right, bottom)
            In pixels of the original image.
        size : (height, width)
            Pixels of the result.
        flip : bool

        Returns
        -------
        SoftMask
        """
        return SoftMask(self.grids, replace(self._target, window=window, size=size, flip=flip))

    def __reduce__(self) -> tuple[Any, ...]:
        if self._im is None:
            return SoftMask, (self.grids, self._target)
        return PIL.Image.frombytes, ("L", self.size, self.tobytes())
