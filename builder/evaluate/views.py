"""Views: what models are shown of an example of the loader, made once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from builder.dataset.scores import NO_RANK
from builder.evaluate.classifier import View
from builder.evaluate.conditions import Mask
from builder.evaluate.regions import dilate
from salient_imagenet_1m import CROP_SIZE, SoftMask, crop_box, render


@dataclass(frozen=True)
class Batch:
    """Some images as all models and conditions need them.

    Attributes
    ----------
    image_ids : list of str
    labels, ranks : Tensor of int64, shape (n,)
    pixels : dict of View to Tensor of uint8, shape (n, size, size, 3)
    masks : dict of Mask to Tensor of uint8, shape (n, 1, 224, 224)
        Zero where the image's class has none.
    """

    image_ids: list[str]
    labels: Tensor
    ranks: Tensor
    pixels: dict[View, Tensor]
    masks: dict[Mask, Tensor]


@dataclass(frozen=True)
class Views:
    """A transform of the loader: an image's window for each view, and its masks.

    All views show what the masks' network saw, and masks are rendered on it at 224 x 224, where
    they are dilated too.
    """

    views: Sequence[View]
    masks: Sequence[Mask]

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        """Return the example as tensors."""
        image = example["image"]
        window = crop_box(example["width"], example["height"])
        rank = example["spuriosity_rank"]
        return {
            "image_id": example["image_id"],
            "label": example["label"],
            "rank": NO_RANK if rank is None else rank,
            "pixels": {view: _shown(image, window, view) for view in self.views},
            "masks": {mask: _shown_mask(example, mask, window) for mask in self.masks},
        }


def _shown(image: PIL.Image.Image, window: Any, view: View) -> Tensor:
    resampling = PIL.Image.Resampling[view.interpolation.upper()]
    shown = image.resize((view.size, view.size), resampling, box=tuple(window))
    return torch.from_numpy(np.array(shown))


def _shown_mask(example: Mapping[str, Any], mask: Mask, window: Any) -> Tensor:
    size = (CROP_SIZE, CROP_SIZE)
    if mask.column.startswith("feature_"):
        position = int(mask.column.rpartition("_")[2]) - 1
        pixels = render(example, position, window=window, size=CROP_SIZE)
    else:
        soft: SoftMask | None = example[mask.column]
        pixels = np.zeros(size, np.uint8) if soft is None else soft.cropped(window, size).numpy()
    return torch.from_numpy(dilate(pixels) if mask.dilated else pixels)[None]


def collate(examples: Sequence[dict[str, Any]]) -> Batch:
    """Stack examples of `Views`."""
    first = examples[0]
    return Batch(
        [example["image_id"] for example in examples],
        torch.tensor([example["label"] for example in examples]),
        torch.tensor([example["rank"] for example in examples]),
        {view: _stack(e["pixels"][view] for e in examples) for view in first["pixels"]},
        {mask: _stack(e["masks"][mask] for e in examples) for mask in first["masks"]},
    )


def _stack(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(tensors))
