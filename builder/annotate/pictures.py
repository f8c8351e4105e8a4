"""Pictures of images and of a feature in them, made a batch at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from builder.annotate.attacks import feature_attack
from builder.annotate.candidates import TOP_IMAGES
from builder.annotate.heat_maps import heat_map
from builder.images.loader import Batch, Loader
from builder.images.pipeline import on_each_core
from builder.network.devices import memory_errors_as_sentences
from builder.network.inference import Inference
from builder.threads import in_threads
from salient_imagenet_1m import encode_grids

BATCH_SIZES = {"cpu": TOP_IMAGES, "cuda": 64}
"""Images that are attacked at a time, by device: on a CPU those of a pair, which then is done."""

_FEEDERS = 2
_QUALITY = 90


class Job(NamedTuple):
    """A picture to make: of an image, by its position in the listing, and a feature in it."""

    member: int
    feature: int


@dataclass(frozen=True)
class Pictures:
    """What a job gives.

    Attributes
    ----------
    digest : str
        Of the image's file; see `builder.images.content.digest_of`.
    stamp : str, optional
        Of the image's file.
    image, heat, attack : bytes
        JPEGs of what the network sees: the image, with its heat map, and after the feature attack;
        the last is empty where none was asked for.
    activation, attacked : float
        Of the feature, before and after the attack.
    unmoved : bool
        Whether the attack had no gradient to follow, and left the image as it is.
    """

    digest: str
    stamp: str | None
    image: bytes
    heat: bytes
    attack: bytes
    activation: float
    attacked: float
    unmoved: bool


@dataclass(frozen=True)
class PictureMaker:
    """Makes pictures on the device of a network.

    Parameters
    ----------
    inference : Inference
        The network and the images.
    batch_size : int
        Images at a time.
    """

    inference: Inference
    batch_size: int

    def make(self, groups: Sequence[Sequence[Job]], *, attack: bool) -> Iterator[Pictures | str]:
        """Yield the pictures of each job in order, or why its image cannot be used.

        Parameters
        ----------
        groups : sequence of sequence of Job
            On a CPU no batch has jobs of two groups, so that pictures do not depend, by their last
            bits, on what else is made; on a GPU as many are in a batch as there is room for.
        attack : bool
            Whether the features are to be attacked as well.
        """
        on_cpu = self.inference.network.device.type == "cpu"
        work = partial(self._batch, attack=attack)
        batches = batches_of_jobs(groups, self.batch_size, mixed=not on_cpu)
        made = on_each_core(batches, work) if on_cpu else in_threads(batches, work, _FEEDERS)
        yield from chain.from_iterable(made)

    def _batch(self, jobs: Sequence[Job], *, attack: bool) -> list[Pictures | str]:
        loader = Loader(self.inference.images, self.inference.plan)
        loaded = loader(Batch(0, np.array([job.member for job in jobs], np.int64)))
        reasons = {image.image_id: f"{image.reason}: {image.detail}" for image in loaded.set_aside}
        ids = [self.inference.plan.ids[job.member].as_py() for job in jobs]
        usable = [job.feature for job, name in zip(jobs, ids, strict=True) if name not in reasons]
        if not usable:
            return [reasons[name] for name in ids]
        network, pixels = self.inference.network, loaded.pixels
        features = torch.tensor(usable)
        with memory_errors_as_sentences(network.device, len(pixels)):
            output = network(pixels)
        rows = torch.arange(len(usable))
        grids, _ = encode_grids(output.maps.cpu()[rows, features].numpy())
        attacked: Sequence[bytes] = [b""] * len(usable)
        before = after = output.activations.cpu()[rows, features]
        unmoved = torch.zeros(len(usable), dtype=torch.bool)
        if attack:
            made = feature_attack(network, pixels.permute(0, 3, 1, 2) / 255, features)
            attacked = [jpeg(image) for image in _pixels(made.images)]
            before, after, unmoved = made.before.cpu(), made.after.cpu(), made.unmoved.cpu()
        pictures = (
            Pictures(
                digest=content.digest,
                stamp=content.stamp,
                image=jpeg(image),
                heat=jpeg(heat_map(image, grid)),
                attack=changed,
                activation=activation,
                attacked=final,
                unmoved=still,
            )
            for content, image, grid, changed, activation, final, still in zip(
                loaded.contents,
                pixels.numpy(),
                grids,
                attacked,
                before.tolist(),
                after.tolist(),
                unmoved.tolist(),
                strict=True,
            )
        )
        return [reasons.get(name) or next(pictures) for name in ids]


def batches_of_jobs(
    groups: Sequence[Sequence[Job]], size: int, *, mixed: bool
) -> Iterator[Sequence[Job]]:
    """Yield jobs in their order, `size` at a time or fewer.

    Parameters
    ----------
    groups : sequence of sequence of Job
    size : int
    mixed : bool
        Whether a batch may have jobs of several groups.
    """
    for group in [list(chain.from_iterable(groups))] if mixed else groups:
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _pixels(images: Tensor) -> npt.NDArray[np.uint8]:
    rounded = (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1)
    found: npt.NDArray[np.uint8] = rounded.cpu().numpy()
    return found


def jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return pixels of shape (height, width, 3) as a JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
