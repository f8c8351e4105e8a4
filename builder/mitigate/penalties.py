"""Penalties: what a loss pays for a model that looks outside of the core."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from builder.mitigate.noise import outside


def saliency_penalty(losses: Tensor, inputs: Tensor, core_mask: Tensor) -> Tensor:
    """Return the squared gradient of each image's loss outside of the core, the mean over images.

    It is ``mean_i || (1 - M_i) * d loss_i / d x_i ||^2``, part of the graph, so that its gradient
    reaches the weights: they are differentiated twice. (The public code of the papers cuts the
    graph, and its penalty changes no weight.) Where the papers' code takes the mean over pixels, of
    the loss of a batch, this takes the sum, of an image's own: the size of batches changes nothing,
    and that of images little.

    Parameters
    ----------
    losses : Tensor, shape (n,)
        Of each image, from a graph that begins with `inputs`.
    inputs : Tensor, shape (n, 3, height, width)
        What the model was given, normalised; it requires a gradient.
    core_mask : Tensor of float32 in [0, 1], shape (n, 1, height, width)
        One of zeros costs nothing.

    Returns
    -------
    Tensor, shape ()
    """
    (slope,) = torch.autograd.grad(losses.sum(), inputs, create_graph=True)
    return (outside(core_mask) * slope).square().sum() / len(losses)


def cam_penalty(maps: Tensor, weight: Tensor, labels: Tensor, core_mask: Tensor) -> Tensor:
    """Return the squared class activation outside of the core, the mean over places and images.

    It is ``mean_(i, h, w) ((1 - M_i) * sum_j W[y_i, j] A_ij)^2``, at the resolution of the maps, to
    which the mask is averaged.

    Parameters
    ----------
    maps : Tensor, shape (n, channels, rows, columns)
        The last conv maps, whose spatial mean the head takes.
    weight : Tensor, shape (classes, channels)
        Of the head.
    labels : Tensor of int64, shape (n,)
    core_mask : Tensor of float32 in [0, 1], shape (n, 1, height, width)
        One of zeros costs nothing.

    Returns
    -------
    Tensor, shape ()
    """
    region = adaptive_avg_pool2d(outside(core_mask), (maps.shape[2], maps.shape[3]))
    activation = torch.einsum("nj,njhw->nhw", weight[labels], maps)
    return (region[:, 0] * activation).square().mean()
