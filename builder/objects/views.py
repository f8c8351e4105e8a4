"""Views of an example of the loader, and where in each the object is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from builder.dataset.object_mask import Bools, distance_from_centre
from builder.evaluate.classifier import View
from builder.objects.components import Component, find_components
from salient_imagenet_1m import CROP_SIZE, crop_box

_RESIZED = 256
"""Pixels to which an image is resized before its middle is taken, of a crop of `CROP_SIZE`."""

_HALF = 128


@dataclass(frozen=True)
class ObjectBatch:
    """Some images, and where their objects are.

    Attributes
    ----------
    image_ids : list of str
    labels : Tensor of int64, shape (n,)
    pixels : dict of View to Tensor of uint8, shape (n, size, size, 3)
    parts : dict of View to Tensor of int32, shape (n, size, size)
        The number of the object's component that a pixel is of, from 1; 0 is no object.
    components : dict of View to list of list of Component
        Of each image.
    areas, distances : ndarray of float64, shape (n,)
        The object's share of what models see, and how far from its middle the object's centre of
        mass is, 1 in a corner; NaN where they see nothing of it.
    """

    image_ids: list[str]
    labels: Tensor
    pixels: dict[View, Tensor]
    parts: dict[View, Tensor]
    components: dict[View, list[list[Component]]]
    areas: NDArray[np.float64]
    distances: NDArray[np.float64]


@dataclass(frozen=True)
class ObjectViews:
    """A transform of the loader: what models see of an image for each view, and of its object.

    What is mostly on the object is the object. The public code squashes images to squares of 256,
    of which it takes the middle 224, and takes for the object what has any share in it.

    Attributes
    ----------
    views : sequence of View
    as_published : bool
        Whether to do as the public code.
    """

    views: Sequence[View]
    as_published: bool = False

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        """Return the example as tensors."""
        mask = example["object_mask"].convert("L")
        seen = self._is_object(mask, CROP_SIZE)
        found = {view: find_components(self._is_object(mask, view.size)) for view in self.views}
        return {
            "image_id": example["image_id"],
            "label": example["label"],
            "pixels": {
                view: torch.from_numpy(self.shown(example["image"], view)) for view in self.views
            },
            "parts": {view: torch.from_numpy(parts) for view, (parts, _) in found.items()},
            "components": {view: components for view, (_, components) in found.items()},
            "area": seen.mean() if seen.any() else np.nan,
            "distance": distance_from_centre(seen) if seen.any() else np.nan,
        }

    def shown(self, image: PIL.Image.Image, view: View) -> NDArray[np.uint8]:
        """Return what models of a view see of an image, (size, size, 3)."""
        resampling = PIL.Image.Resampling[view.interpolation.upper()]
        return self._resized(image, view.size, resampling)

    def _is_object(self, mask: PIL.Image.Image, size: int) -> Bools:
        shares = self._resized(mask, size, PIL.Image.Resampling.BILINEAR)
        return np.asarray(shares > 0 if self.as_published else shares >= _HALF)

    def _resized(
        self, image: PIL.Image.Image, size: int, resampling: PIL.Image.Resampling
    ) -> NDArray[np.uint8]:
        if not self.as_published:
            box = crop_box(*image.size)
            return np.array(image.resize((size, size), resampling, box=box))
        side = round(size * _RESIZED / CROP_SIZE)
        start = round((side - size) / 2)
        whole = image.resize((side, side), resampling)
        return np.array(whole.crop((start, start, start + size, start + size)))


def collate(examples: Sequence[dict[str, Any]]) -> ObjectBatch:
    """Stack examples of `ObjectViews`."""
    views = list(examples[0]["pixels"])

    def stacked(name: str) -> dict[View, Tensor]:
        return {view: torch.stack([each[name][view] for each in examples]) for view in views}

    return ObjectBatch(
        [each["image_id"] for each in examples],
        torch.tensor([each["label"] for each in examples]),
        stacked("pixels"),
        stacked("parts"),
        {view: [each["components"][view] for each in examples] for view in views},
        np.array([each["area"] for each in examples]),
        np.array([each["distance"] for each in examples]),
    )
