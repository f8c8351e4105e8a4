"""Feature attacks: images changed so that a neural feature fires as much as it can."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from builder.errors import BuildError
from builder.network.devices import memory_errors_as_sentences
from builder.network.network import Network

STEPS = 100
STEP_LENGTH = 10.0
"""Of the study in which the published votes were cast."""

_TINY = 1e-10


class Attack(NamedTuple):
    """What a feature attack makes of a batch of images.

    Attributes
    ----------
    images : Tensor of float32, shape (images, 3, height, width)
        In [0, 1].
    before, after : Tensor of float32, shape (images,)
        The activation of each image's feature.
    unmoved : Tensor of bool, shape (images,)
        Whether the gradient is zero, so that the image stays as it is.
    """

    images: Tensor
    before: Tensor
    after: Tensor
    unmoved: Tensor


def feature_attack(
    network: Network,
    images: Tensor,
    features: Tensor,
    steps: int = STEPS,
    step_length: float = STEP_LENGTH,
) -> Attack:
    """Change images by gradient ascent on the activation of one neural feature each.

    Each step moves an image x by a fixed length along the gradient of r_j, the spatial mean of the
    map of its feature j, as in the study of Salient ImageNet (Singla and Feizi, ICLR 2022):
    ``x <- clamp(x + step_length * g / (|g| + 1e-10), 0, 1)`` with ``g = dr_j / dx`` and |g| the
    Euclidean norm over all pixels and channels. It starts at the image itself, and nothing holds it
    near that: there is no projection.

    Parameters
    ----------
    network : Network
    images : Tensor of float32, shape (images, 3, height, width)
        In [0, 1].
    features : Tensor of int64, shape (images,)
        The channel of the last conv map, for each image.
    steps : int
    step_length : float
        In pixel values from 0 to 1.

    Returns
    -------
    Attack
        On the network's device.

    Raises
    ------
    BuildError
        If the network's numbers are not finite, or the device runs out of memory.
    """
    with memory_errors_as_sentences(network.device, len(images)):
        attacked, features = images.to(network.device), features.to(network.device)
        before, slope = _ascent(network, attacked, features)
        unmoved = ~slope.flatten(1).any(dim=1)
        after = before
        for _ in range(steps):
            length = torch.linalg.vector_norm(slope, dim=(1, 2, 3), keepdim=True)
            attacked = (attacked + step_length * slope / (length + _TINY)).clamp(0, 1)
            after, slope = _ascent(network, attacked, features)
    if not after.isfinite().all():
        raise BuildError(
            f"The network {network.name} gives gradients that are not finite: check the "
            "checkpoint, or use --precision float32."
        )
    return Attack(attacked, before, after, unmoved)


@torch.enable_grad()
def _ascent(network: Network, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the activation of each image's feature, and its gradient in the image."""
    images = images.detach().requires_grad_()
    activations = network.forward(images).activations.gather(1, features[:, None]).squeeze(1)
    (slope,) = torch.autograd.grad(activations.sum(), images)
    return activations.detach(), slope
