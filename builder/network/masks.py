"""From the maps of a batch to the numbers and the bytes that are kept of each image."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from builder.network.network import Output
from salient_imagenet_1m import encode_grids, union


@dataclass(frozen=True)
class Masks:
    """What is kept of a batch of images; ``features`` are those of each image's class.

    Attributes
    ----------
    activations : ndarray of float32, shape (images, features)
    peaks : ndarray of float32, shape (images, features)
    grids : list of ndarray of uint8, shape (features, height, width)
        Of each image; those of whole images differ in height and width.
    core, spurious : list of (bytes or None)
        The union of each image's core (spurious) grids as PNG, None where there are none.
    """

    activations: npt.NDArray[np.float32]
    peaks: npt.NDArray[np.float32]
    grids: list[npt.NDArray[np.uint8]]
    core: list[bytes | None]
    spurious: list[bytes | None]

    @classmethod
    def gather(cls, parts: list[Masks], order: npt.NDArray[np.int64], features: int) -> Masks:
        """Return the masks of all images of a batch.

        Parameters
        ----------
        parts : list of Masks
            Of groups of the images.
        order : ndarray of int64
            Where each image of the batch is among those of the groups.
        features : int
            Of a class.
        """
        none = np.empty((0, features), np.float32)

        def lists(name: str) -> list[Any]:
            every = [value for part in parts for value in getattr(part, name)]
            return [every[place] for place in order.tolist()]

        return cls(
            activations=np.concatenate([none, *(part.activations for part in parts)])[order],
            peaks=np.concatenate([none, *(part.peaks for part in parts)])[order],
            grids=lists("grids"),
            core=lists("core"),
            spurious=lists("spurious"),
        )


def make_masks(
    output: Output, features: npt.NDArray[np.int32], spurious: npt.NDArray[np.bool_]
) -> Masks:
    """Pick each image's features out of the maps of all channels.

    Parameters
    ----------
    output : Output
        Of the network, for a batch of images.
    features : ndarray of int32, shape (images, features)
        The annotated features of each image's class, by rank.
    spurious : ndarray of bool, shape (images, features)
        Which of them are spurious; the others are core.

    Returns
    -------
    Masks
    """
    device = output.maps.device
    channels = torch.from_numpy(features.astype(np.int64)).to(device)
    images = torch.arange(len(features), device=device)[:, None]
    grids, peaks = encode_grids(output.maps[images, channels].cpu().numpy())
    return Masks(
        activations=output.activations.gather(1, channels).cpu().numpy(),
        peaks=peaks,
        grids=list(grids),
        core=[_union_png(*pair) for pair in zip(grids, ~spurious, strict=True)],
        spurious=[_union_png(*pair) for pair in zip(grids, spurious, strict=True)],
    )


def _union_png(grids: npt.NDArray[np.uint8], chosen: npt.NDArray[np.bool_]) -> bytes | None:
    if not chosen.any():
        return None
    file = io.BytesIO()
    Image.fromarray(union(grids[chosen])).save(file, "PNG")
    return file.getvalue()
