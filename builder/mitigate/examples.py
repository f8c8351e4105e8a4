"""Examples: a crop of an image as a model in training sees it, and where in it is the core."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import Dataset

import salient_imagenet_1m as si
from builder.errors import BuildError, first_line
from builder.evaluate.classifier import View
from builder.evaluate.regions import DILATIONS, dilate
from builder.mitigate.order import Place, seed_of
from builder.network.devices import WORKERS
from builder.settings.training import Training
from salient_imagenet_1m import CROP_SIZE, KINDS

_COLUMNS = ["image", "image_id", "label", "width", "height"]
CORE, SPURIOUS = KINDS
_ON_MAPS = 4
"""Where only maps are looked at, masks have so many times fewer pixels a side than images."""


class Example(NamedTuple):
    """An image in training.

    Attributes
    ----------
    image_id : str
    label : int
    image : Tensor of uint8, shape (size, size, 3)
    core_mask : Tensor of uint8, shape (1, mask size, mask size)
        Where a model may look; zeros without a mask, of no pixels where none is asked for.
    chances : Tensor of float32, shape (2,)
        Numbers from [0, 1) that decide whether the image gets noise, and other surroundings.
    """

    image_id: str
    label: int
    image: Tensor
    core_mask: Tensor
    chances: Tensor


class Batch(NamedTuple):
    """Examples, stacked.

    Attributes
    ----------
    image_ids : list of str
    labels : Tensor of int64, shape (n,)
    images : Tensor of uint8, shape (n, size, size, 3)
    core_masks : Tensor of uint8, shape (n, 1, mask size, mask size)
    chances : Tensor of float32, shape (n, 2)
    """

    image_ids: list[str]
    labels: Tensor
    images: Tensor
    core_masks: Tensor
    chances: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        tensors = (tensor.to(device, non_blocking=True) for tensor in self[1:])
        return Batch(self.image_ids, *tensors)

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU reads without waiting."""
        return Batch(self.image_ids, *(tensor.pin_memory() for tensor in self[1:]))


def collate(examples: Sequence[Example]) -> Batch:
    """Stack examples."""
    image_ids, labels, images, masks, chances = zip(*examples, strict=True)
    return Batch(
        list(image_ids),
        torch.tensor(labels),
        torch.stack(images),
        torch.stack(masks),
        torch.stack(chances),
    )


@dataclass(frozen=True)
class Crops:
    """A transform of the loader's examples: a random crop, and the mask of the same crop.

    Attributes
    ----------
    settings : Training
    view : View
        Of the model.
    """

    settings: Training
    view: View

    @property
    def masks(self) -> tuple[str, ...]:
        """The columns of masks, if the method asks for any; the first that an image has counts."""
        regions = (CORE, SPURIOUS) if self.settings.region == "either" else (self.settings.region,)
        return tuple(f"{region}_mask" for region in regions) if self.settings.methods else ()

    @property
    def mask_size(self) -> int:
        """Pixels of either side of masks."""
        size = self.view.size
        return size // _ON_MAPS if self.settings.methods == {"cam"} else size

    def __call__(self, example: dict[str, Any], seed: int) -> Example:
        """Return what is seen of an image; all chance comes from the seed."""
        generator = np.random.default_rng(seed)
        name = next((name for name in self.masks if example[name] is not None), None)
        cut = self._augmented if self.settings.augment else self._cropped
        image, mask = cut(example, name, generator)
        return Example(
            example["image_id"],
            example["label"],
            torch.from_numpy(image),
            torch.from_numpy(self._allowed(mask, name))[None],
            torch.from_numpy(generator.random(2)).float(),
        )

    def _cropped(
        self, example: dict[str, Any], name: str | None, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
        """Cut an image, and render its mask at the crop alone."""
        image: PIL.Image.Image = example["image"]
        window = self._crop.window(image.width, image.height, generator)
        flip = bool(generator.random() < self._crop.flip)
        resampling = PIL.Image.Resampling[self.view.interpolation.upper()]
        shown = np.array(image.resize((self.view.size, self.view.size), resampling, box=window))
        size = self.mask_size, self.mask_size
        mask = example[name].cropped(window, size, flip).numpy() if name else None
        return np.ascontiguousarray(shown[:, ::-1]) if flip else shown, mask

    def _augmented(
        self, example: dict[str, Any], name: str | None, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
        """Send image and mask through a pipeline of timm's, which draws from global states."""
        seed = int(generator.integers(2**32))
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        moved = self._pipeline(example)
        mask = moved[name][0].numpy() if name else None
        return moved["image"].permute(1, 2, 0).numpy(), mask

    @cached_property
    def _crop(self) -> si.RandomResizedCrop:
        return si.RandomResizedCrop(self.view.size, (self.settings.smallest_crop, 1.0))

    @cached_property
    def _pipeline(self) -> si.V2:
        from timm.data import create_transform  # noqa: PLC0415 (takes seconds)

        settings = self.settings
        try:
            return si.V2(
                create_transform(
                    self.view.size,
                    is_training=True,
                    auto_augment=settings.augment,
                    interpolation=self.view.interpolation,
                    scale=(settings.smallest_crop, 1.0),
                    normalize=False,
                )
            )
        except (AssertionError, KeyError, ValueError) as error:
            raise BuildError(
                f"timm has no augmentation {settings.augment} that masks can follow "
                f"({first_line(error)}): use --augment rand-m9-mstd0.5, original or 3a."
            ) from error

    def _allowed(
        self, mask: npt.NDArray[np.uint8] | None, name: str | None
    ) -> npt.NDArray[np.uint8]:
        """Return where a model may look: in the dilated core mask, or out of the spurious mask."""
        if not self.masks:
            return np.zeros((0, 0), np.uint8)
        if mask is None or not mask.any():
            return np.zeros((self.mask_size, self.mask_size), np.uint8)
        if name == f"{SPURIOUS}_mask":
            return 255 - mask
        # As far as evaluate's masks grow, of the side of an image.
        return dilate(mask, round(DILATIONS * self.mask_size / CROP_SIZE))


class Examples(Dataset[Example]):
    """The images of a split, in any order: an example is told by its `Place`.

    Parameters
    ----------
    rows : datasets.Dataset
        The loader's.
    crops : Crops
    """

    def __init__(self, rows: Any, crops: Crops) -> None:
        self._rows, self._crops = rows, crops

    @property
    def image_ids(self) -> list[str]:
        """The ids of all images, by position."""
        ids = self._rows.select_columns(["image_id"]).with_format("arrow")[:]["image_id"]
        return list(ids.to_pylist())

    def __getitem__(self, place: Place) -> Example:
        example = self._rows[place.position]
        name = example["image_id"]
        # Who comes again comes in another crop.
        parts = (place.epoch, f"{name} {place.repeat}" if place.repeat else name)
        return self._crops(example, seed_of(self._crops.settings.seed, *parts))

    def __len__(self) -> int:
        return len(self._rows)


def open_examples(settings: Training, view: View) -> Examples:
    """Open the training images with their masks, through the loader."""
    crops = Crops(settings, view)
    rows = si.load(
        settings.data,
        "images",
        images=settings.images,
        split="train",
        columns=[*_COLUMNS, *crops.masks],
        extent=cast(si.Extent, settings.extent),
    )
    return Examples(rows, crops)


def loading_workers(settings: Training, device: torch.device) -> int:
    """Return how many processes load images ahead of the model."""
    return WORKERS[device.type] if settings.workers is None else settings.workers
