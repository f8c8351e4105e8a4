"""Fine-tuning of a head: a linear layer of some classes, trained on features that stay as they are.

Hard ImageNet, section 5: its public code leaves batch norms of the network in training mode, and
keeps the epoch that is best on the images it reports; here features are of evaluation mode, and the
last epoch is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class Recipe:
    """How a head is trained.

    Attributes
    ----------
    epochs : int
    learning_rate, weight_decay : float
        Of Adam.
    batch : int
        Images of a step.
    seed : int
        Of the first weights, and of the order of images.
    """

    epochs: int = 15
    learning_rate: float = 5e-4
    weight_decay: float = 1e-4
    batch: int = 32
    seed: int = 0


def fine_tune(values: Tensor, labels: Tensor, classes: int, recipe: Recipe) -> nn.Linear:
    """Train a linear layer from weights drawn at random, by the cross-entropy of its classes.

    Parameters
    ----------
    values : Tensor of float32, shape (images, features)
    labels : Tensor of int64, shape (images,)
        From 0 to `classes` - 1.
    classes : int
    recipe : Recipe
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    head = new_head(values.shape[1], classes, generator).to(values.device)
    optimiser = torch.optim.Adam(
        head.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    for _ in range(recipe.epochs):
        order = torch.randperm(len(values), generator=generator)
        for rows in torch.split(order, recipe.batch):
            chosen = rows.to(values.device)
            loss: Tensor = cross_entropy(head(values[chosen]), labels[chosen])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
    return head.requires_grad_(requires_grad=False)


def new_head(features: int, classes: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer as PyTorch draws it, from a generator alone."""
    head = nn.Linear(features, classes)
    bound = features**-0.5
    for parameter in head.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return head
