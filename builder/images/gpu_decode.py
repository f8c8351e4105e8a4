"""JPEGs decoded where the network runs: faster on a GPU, and other last bits than Pillow's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import functional

from builder.images.decode import UnusableImageError, decode
from builder.images.loader import LoadedBatch
from builder.images.plan import SetAside
from salient_imagenet_1m import CROP_SIZE, RESIZE_SIZE


@dataclass(frozen=True)
class DeviceDecoder:
    """Decodes what a batch holds encoded, on the device of the network."""

    device: torch.device

    def __call__(self, batch: LoadedBatch) -> LoadedBatch:
        """Return the batch with the pixels of all its images, on the device.

        A file that the device refuses is decoded by Pillow, and set aside if that refuses it too.
        """
        with batch.stages.time("decode"):
            loaded = batch.pixels.to(self.device, non_blocking=True).unbind()
            remaining = iter(loaded)
            pixels: list[Tensor] = []
            kept: list[int] = []
            set_aside: list[SetAside] = []
            for index in range(len(batch.members)):
                encoded = batch.encoded.get(index)
                if encoded is None:
                    pixels.append(next(remaining))
                else:
                    try:
                        pixels.append(self._decode(encoded.data))
                    except UnusableImageError as error:
                        names = encoded.image_id, encoded.path
                        set_aside.append(SetAside(*names, error.reason, error.detail))
                        continue
                kept.append(index)
        shape = (0, CROP_SIZE, CROP_SIZE, 3)
        return replace(
            batch,
            members=batch.members[kept],
            sizes=batch.sizes[kept],
            contents=[batch.contents[index] for index in kept],
            pixels=torch.stack(pixels) if pixels else torch.empty(shape, dtype=torch.uint8),
            set_aside=batch.set_aside + set_aside,
            encoded={},
        )

    def _decode(self, data: bytes) -> Tensor:
        """Return pixels of dtype uint8 and shape (224, 224, 3)."""
        file = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
        try:
            image = decode_jpeg(file, ImageReadMode.RGB, device=self.device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return torch.from_numpy(decode(data).pixels).to(self.device)
        resized = functional.resize(image, [RESIZE_SIZE], antialias=True)
        pixels: Tensor = functional.center_crop(resized, [CROP_SIZE]).permute(1, 2, 0)
        return pixels
