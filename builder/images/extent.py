"""How much of an image the network sees: its central crop, or all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from torchvision.transforms import functional

from salient_imagenet_1m import CROP_SIZE, RESIZE_SIZE, whole_size


class Extent(Protocol):
    """Turns decoded images into what the network sees of them."""

    @property
    def preprocessing(self) -> str:
        """What is done with an image, from its file to the network, in words."""

    @property
    def name(self) -> str:
        """``crop`` or ``image``, as the loader calls it."""

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width of what the network sees, where that is the same of all images."""

    @property
    def most_pixels(self) -> int:
        """How many pixels the network sees of an image at most."""

    def __call__(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Return the pixels that the network sees.

        Parameters
        ----------
        image : PIL.Image.Image
            RGB, in the orientation of its stored pixels.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
        """


@dataclass(frozen=True)
class CentralCrop:
    """Resize(256) on the short side, CenterCrop(224): what published masks cover; see `Extent`."""

    preprocessing = (
        f"PIL RGB without EXIF rotation, Resize({RESIZE_SIZE}, bilinear, antialias), "
        f"CenterCrop({CROP_SIZE}), ToTensor, Normalize"
    )
    name = "crop"
    shape = (CROP_SIZE, CROP_SIZE)
    most_pixels = CROP_SIZE**2

    def __call__(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Return the crop, of shape (224, 224, 3)."""
        resized = functional.resize(image, [RESIZE_SIZE], antialias=True)
        return np.array(functional.center_crop(resized, [CROP_SIZE]))


CENTRAL_CROP = CentralCrop()


@dataclass(frozen=True)
class WholeImage:
    """The whole image, its short side resized to 256 and both padded to strides; see `Extent`.

    What is padded mirrors the image, as the `whole_box` of its grids tells.

    Attributes
    ----------
    stride : int
        Pixels between two cells of the network's maps.
    longest : int
        Pixels of the long side at most; an image that is longer than that is made smaller.
    """

    stride: int
    longest: int
    name = "image"
    shape = None

    @property
    def preprocessing(self) -> str:
        """What is done with an image, in words."""
        return (
            f"PIL RGB without EXIF rotation, Resize({RESIZE_SIZE}, max_size={self.longest}, "
            f"bilinear, antialias), padded to multiples of {self.stride} by its mirror image, "
            "ToTensor, Normalize"
        )

    @property
    def most_pixels(self) -> int:
        """How many pixels the network sees of an image at most."""
        short, long = (side + -side % self.stride for side in (RESIZE_SIZE, self.longest))
        return short * long

    def __call__(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Return the image; height and width are multiples of the stride."""
        width, height = whole_size(*image.size, self.longest)
        resized = np.asarray(functional.resize(image, [height, width], antialias=True))
        return np.pad(resized, (self._margins(height), self._margins(width), (0, 0)), "reflect")

    def _margins(self, size: int) -> tuple[int, int]:
        missing = -size % self.stride
        return missing // 2, missing - missing // 2
