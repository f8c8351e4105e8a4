"""Tuning of a head: gradient descent on features, until the spurious gap is small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from builder.tune.judge import Standing

MOMENTUM = 0.9
BATCH = 128


@dataclass(frozen=True)
class Recipe:
    """How a head is tuned (Spuriosity Rankings, section 4.3, and its public code).

    Attributes
    ----------
    learning_rate : float
        Of SGD with a momentum of 0.9, in batches of 128, without weight decay.
    epochs : int
        At most.
    stop_gap : float
        Stop once the gap is smaller, a fraction.
    seed : int
        Of the order of images.
    """

    learning_rate: float = 0.001
    epochs: int = 20
    stop_gap: float = 0.05
    seed: int = 0


def tune(
    head: nn.Linear,
    values: Tensor,
    labels: Tensor,
    recipe: Recipe,
    judge: Callable[[nn.Linear], Standing],
) -> list[Standing]:
    """Tune a head in place, by the cross-entropy of all its outputs.

    Parameters
    ----------
    head : nn.Linear
        With an output for each label.
    values : Tensor of float32, shape (images, features)
        On the head's device.
    labels : Tensor of int64, shape (images,)
    recipe : Recipe
    judge : callable
        Tells after each epoch how the head stands, on images that are not among these.

    Returns
    -------
    list of Standing
        Before the first epoch, and after each.
    """
    optimiser = torch.optim.SGD(head.parameters(), recipe.learning_rate, momentum=MOMENTUM)
    generator = torch.Generator().manual_seed(recipe.seed)
    found = [judge(head)]
    while found[-1].gap >= recipe.stop_gap and len(found) <= recipe.epochs:
        for rows in torch.split(torch.randperm(len(values), generator=generator), BATCH):
            chosen = rows.to(values.device)
            loss: Tensor = cross_entropy(head(values[chosen]), labels[chosen])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        found.append(judge(head))
    return found
