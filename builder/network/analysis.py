"""From a batch of pixels to what is kept of its images: one forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from builder.dataset.votes import Votes
from builder.errors import BuildError
from builder.images.content import Content
from builder.images.loader import LoadedBatch
from builder.images.plan import Plan, SetAside
from builder.network.devices import memory_errors_as_sentences
from builder.network.masks import Masks, make_masks
from builder.network.network import Network, Output
from builder.stages import Occupancy, Stages


class Prediction(NamedTuple):
    """What a network makes of a batch of images.

    Attributes
    ----------
    members : ndarray of int64, shape (images,)
        Positions in the listing.
    activations : ndarray of float32, shape (images, channels)
        Of all neural features.
    predicted : ndarray of int64, shape (images,)
        The network's top-1 class.
    set_aside : list of SetAside
        Images of the batch that could not be used.
    """

    members: npt.NDArray[np.int64]
    activations: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int64]
    set_aside: list[SetAside]


@dataclass(frozen=True)
class Predictor:
    """Runs a network on batches for activations and predictions; several threads may call it."""

    network: Network

    def __call__(self, batch: LoadedBatch) -> Prediction:
        """Predict a batch.

        Raises
        ------
        BuildError
            If the network gives numbers that are not finite, or the device runs out of memory.
        """
        _, activations, predicted = _forward(self.network, batch.pixels)
        return Prediction(batch.members, activations, predicted, batch.set_aside)


@dataclass(frozen=True)
class Analysis:
    """What the network said of a batch, with the masks of its images.

    Attributes
    ----------
    shard : int
        That the batch is of.
    members : ndarray of int64, shape (images,)
        Positions in the listing.
    sizes : ndarray of int32, shape (images, 2)
        Width and height of the originals.
    activations : ndarray of float32, shape (images, channels)
        Of all neural features.
    predicted : ndarray of int64, shape (images,)
        The network's top-1 class.
    masks : Masks
        Of the features of each image's class.
    contents : list of Content
        Of the images' files.
    set_aside : list of SetAside
    stages : Stages
        The time it took, with that of loading.
    """

    shard: int
    members: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    activations: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int64]
    masks: Masks
    contents: list[Content]
    set_aside: list[SetAside]
    stages: Stages


@dataclass(frozen=True)
class Analyser:
    """Runs the network on batches; may be called from several threads."""

    network: Network
    votes: Votes
    plan: Plan
    occupancy: Occupancy

    def __call__(self, batch: LoadedBatch) -> Analysis:
        """Analyse a batch.

        Raises
        ------
        BuildError
            As `Predictor` does.
        """
        stages = batch.stages
        places, masks = [np.empty(0, np.int64)], []
        activations = [np.empty((0, self.network.channels), np.float32)]
        predicted = [np.empty(0, np.int64)]
        for group, pixels in batch.groups():
            with self.occupancy.occupied(stages):
                output, pooled, classes = _forward(self.network, pixels)
            with stages.time("masks"):
                labels = self.plan.labels[batch.members[group]]
                kinds = self.votes.features[labels], self.votes.spurious[labels]
                masks.append(make_masks(output, *kinds))
            places.append(group)
            activations.append(pooled)
            predicted.append(classes)
        order = np.argsort(np.concatenate(places))
        return Analysis(
            shard=batch.shard,
            members=batch.members,
            sizes=batch.sizes,
            activations=np.concatenate(activations)[order],
            predicted=np.concatenate(predicted)[order],
            masks=Masks.gather(masks, order, self.votes.features_per_class),
            contents=batch.contents,
            set_aside=batch.set_aside,
            stages=stages,
        )


def _forward(
    network: Network, pixels: Tensor
) -> tuple[Output, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return the network's output, and its activations and top-1 classes on the CPU."""
    with memory_errors_as_sentences(network.device, len(pixels)):
        output = network(pixels)
        # Also waits for the device, so that the time is the network's.
        activations = output.activations.cpu().numpy()
        predicted = output.logits.argmax(dim=1).cpu().numpy()
    if not np.isfinite(activations).all():
        raise BuildError(
            f"The network {network.name} gives activations that are not finite: check the "
            "checkpoint, or use --precision float32."
        )
    return output, activations, predicted
