"""From positions in the listing to a batch of pixels; runs in threads or worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from builder.errors import first_line
from builder.images.content import Content, digest_of
from builder.images.decode import UnusableImageError, decode, size_for_device
from builder.images.extent import CENTRAL_CROP, Extent
from builder.images.plan import Plan, SetAside
from builder.images.sources import LARGEST_FILE, Images
from builder.stages import Stages
from builder.storage.retry import retry

UNREADABLE = "unreadable"
"""Why an image is set aside whose bytes cannot be had."""


@dataclass(frozen=True)
class Batch:
    """Some images of one shard.

    Attributes
    ----------
    shard : int
    members : ndarray of int64
        Positions in the listing.
    """

    shard: int
    members: npt.NDArray[np.int64]


def batches_of(members: npt.NDArray[np.int64], size: int, shard: int = 0) -> list[Batch]:
    """Cut positions in the listing into batches of `size`; the last may be smaller."""
    starts = range(0, len(members), size)
    return [Batch(shard, members[start : start + size]) for start in starts]


@dataclass(frozen=True)
class Encoded:
    """A JPEG that is decoded later."""

    image_id: str
    path: str
    data: bytes


@dataclass
class LoadedBatch:
    """The images of a batch that could be used, and those that could not.

    Attributes
    ----------
    shard : int
    members : ndarray of int64, shape (images,)
        Positions in the listing of the usable images.
    pixels : Tensor of uint8, shape (images, 224, 224, 3)
        Without those that are still encoded. Of whole images, whose shapes differ, flat: one image
        behind the other; see `groups`.
    sizes : ndarray of int32, shape (images, 2)
        Width and height of the originals.
    contents : list of Content
        Of the files of the usable images.
    set_aside : list of SetAside
    stages : Stages
        The time it took.
    encoded : dict of int to Encoded
        Images that the network's device is to decode, by their position in the batch.
    shapes : list of (int, int), optional
        Height and width of each of whole images, as the network sees them.
    """

    shard: int
    members: npt.NDArray[np.int64]
    pixels: Tensor
    sizes: npt.NDArray[np.int32]
    contents: list[Content]
    set_aside: list[SetAside]
    stages: Stages = field(default_factory=Stages)
    encoded: dict[int, Encoded] = field(default_factory=dict)
    shapes: list[tuple[int, int]] | None = None

    def groups(self) -> Iterator[tuple[npt.NDArray[np.int64], Tensor]]:
        """Yield images that the network can see at a time, all of one shape.

        Yields
        ------
        tuple of ndarray of int64 and Tensor of uint8, shape (images, height, width, 3)
            Their positions in the batch, and their pixels.
        """
        if self.shapes is None:
            yield np.arange(len(self.members)), self.pixels
            return
        sizes = [3 * height * width for height, width in self.shapes]
        parts = self.pixels.split_with_sizes(sizes)
        for shape in sorted(set(self.shapes)):
            places = [place for place, own in enumerate(self.shapes) if own == shape]
            yield np.array(places), torch.stack([parts[place].view(*shape, 3) for place in places])


@dataclass(frozen=True)
class Loader:
    """Reads and decodes batches; with `for_device`, leaves JPEGs to the network's device."""

    images: Images
    plan: Plan
    for_device: bool = False
    extent: Extent = CENTRAL_CROP

    def __call__(self, batch: Batch, room: npt.NDArray[np.uint8] | None = None) -> LoadedBatch:
        """Load a batch; no image stops it.

        Parameters
        ----------
        batch : Batch
        room : ndarray of uint8, shape (bytes,), optional
            Where to put the pixels, see `room_for`; by default memory of their own.
        """
        room = np.empty(self.room_for(len(batch.members)), np.uint8) if room is None else room
        used = 0
        shapes: list[tuple[int, int]] = []
        stages = Stages()
        members: list[int] = []
        encoded: dict[int, Encoded] = {}
        sizes: list[tuple[int, int]] = []
        contents: list[Content] = []
        set_aside: list[SetAside] = []
        for member in batch.members.tolist():
            try:
                with stages.time("read"):
                    data, stamp = self._read(member)
                with stages.time("decode"):
                    content = Content(len(data), digest_of(data), stamp)
                    size = size_for_device(data) if self.for_device else None
                    if size:
                        encoded[len(members)] = Encoded(*self._names(member), data)
                    else:
                        image = decode(data, self.extent)
                        room[used : used + image.pixels.size] = image.pixels.reshape(-1)
                        used += image.pixels.size
                        shapes.append(image.pixels.shape[:2])
                        size = image.width, image.height
                members.append(member)
                sizes.append(size)
                contents.append(content)
            except UnusableImageError as error:
                set_aside.append(SetAside(*self._names(member), error.reason, error.detail))
        pixels, shape = torch.from_numpy(room[:used]), self.extent.shape
        return LoadedBatch(
            batch.shard,
            np.array(members, np.int64),
            pixels.view(-1, *shape, 3) if shape else pixels,
            np.array(sizes, np.int32).reshape(-1, 2),
            contents,
            set_aside,
            stages,
            encoded,
            None if shape else shapes,
        )

    def room_for(self, images: int) -> int:
        """Return how many bytes the pixels of so many images can have."""
        return 3 * self.extent.most_pixels * images

    def _names(self, member: int) -> tuple[str, str]:
        """Return an image's id and path."""
        return self.plan.ids[member].as_py(), self.images.paths[member].as_py()

    def _read(self, member: int) -> tuple[bytes, str | None]:
        """Return the bytes of an image's file, and what stamp it had before it was read."""
        try:
            return retry(lambda: self._read_once(member))
        except (OSError, pa.ArrowException) as error:
            raise UnusableImageError(UNREADABLE, first_line(error)) from error

    def _read_once(self, member: int) -> tuple[bytes, str | None]:
        size, stamp = self.images.stat(member)
        if size > LARGEST_FILE:
            raise UnusableImageError(
                "too_large", f"the file has {size} bytes, more than {LARGEST_FILE}"
            )
        return self.images.read(member), stamp
