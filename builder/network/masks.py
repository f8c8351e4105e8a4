"""From the maps of a batch to the numbers and the bytes that are kept of each image."""

from __future__ import annotations

import io
from dataclasses import dataclass

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
    grids : ndarray of uint8, shape (images, features, height, width)
    core, spurious : list of (bytes or None)
        The union of each image's core (spurious) grids as PNG, None where there are none.
    """

    activations: npt.NDArray[np.float32]
    peaks: npt.NDArray[np.float32]
    grids: npt.NDArray[np.uint8]
    core: list[bytes | None]
    spurious: list[bytes | None]


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
        grids=grids,
        core=[_union_png(*pair) for pair in zip(grids, ~spurious, strict=True)],
        spurious=[_union_png(*pair) for pair in zip(grids, spurious, strict=True)],
    )


def _union_png(grids: npt.NDArray[np.uint8], chosen: npt.NDArray[np.bool_]) -> bytes | None:
    if not chosen.any():
        return None
    file = io.BytesIO()
    Image.fromarray(union(grids[chosen])).save(file, "PNG")
    return file.getvalue()
