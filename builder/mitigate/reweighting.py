"""Reweighting: how much each subgroup of a class weighs in training (DIM's soft mitigation)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from builder.dataset.memberships import Memberships, read_memberships
from builder.mitigate.examples import Batch, Examples
from builder.settings.training import Training

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Reduced = Callable[[Tensor], Tensor]
"""From a tensor to its sum over all processes."""

RobustLoss = Callable[[Tensor, Batch], Tensor]
"""From the losses of a batch's images to the batch's."""


def soft_weights(memberships: Floats, labels: Ints) -> Floats:
    """Return how likely each image is drawn, so that all subgroups weigh the same.

    That of an image is the sum over subgroups of its membership over that of all images, times
    their number: 1 in the mean where each subgroup has a member.

    Parameters
    ----------
    memberships : ndarray of float64, shape (images, components)
        Soft ones, in subgroups of the image's class.
    labels : ndarray of int64, shape (images,)

    Returns
    -------
    ndarray of float64, shape (images,)
        They sum to 1.
    """
    mass = np.zeros((labels.max() + 1, memberships.shape[1]))
    np.add.at(mass, labels, memberships)
    shares = np.divide(
        memberships, mass[labels], out=np.zeros_like(memberships), where=memberships > 0
    )
    weights = shares.sum(1)
    return np.asarray(weights / weights.sum())


class GroupLoss(nn.Module):
    """The loss of group DRO with soft memberships: subgroups weigh more, the worse they fare.

    With g the memberships of a batch and L_l the mean loss of subgroup l, weighted by them: first
    q_l becomes q_l exp(step L_l) over the sum of all, then the loss is the sum of q_l L_l.

    Parameters
    ----------
    weights : Tensor of float64, shape (labels, components)
        What subgroups weigh first; 0 where there is none.
    step : float
    """

    q: Tensor

    def __init__(self, weights: Tensor, step: float) -> None:
        super().__init__()
        self.register_buffer("q", weights / weights.sum())
        self._step = step

    def forward(
        self, losses: Tensor, labels: Tensor, memberships: Tensor, reduced: Reduced
    ) -> Tensor:
        """Return the loss of this process's part of a batch, and take note of how groups fare.

        Parameters
        ----------
        losses : Tensor of float, shape (n,)
            Of each image.
        labels : Tensor of int64, shape (n,)
        memberships : Tensor of float64, shape (n, components)
        reduced : callable
            Sums over processes.

        Returns
        -------
        Tensor of float, shape ()
            The sum of those of all processes is the batch's.
        """
        told = memberships * losses.detach().double()[:, None]
        empty = torch.zeros_like(self.q)
        sums, mass = reduced(
            torch.stack([empty.index_add(0, labels, part) for part in (told, memberships)])
        )
        means = torch.where(mass > 0, sums / mass, 0)
        raised = self.q * torch.exp(self._step * means)
        self.q.copy_(raised / raised.sum())
        shares = torch.where(memberships > 0, memberships / mass[labels], 0)
        return ((self.q[labels] * shares).sum(1).to(losses) * losses).sum()


@dataclass(frozen=True)
class Reweighting:
    """How subgroups weigh in a training.

    Attributes
    ----------
    memberships : Memberships
    chances : ndarray of float64, shape (images,), optional
        How likely each training image is drawn; None where each is seen once an epoch.
    loss : GroupLoss, optional
        In place of the mean of losses.
    """

    memberships: Memberships
    chances: Floats | None
    loss: GroupLoss | None

    def robust(self, accelerator: Accelerator) -> RobustLoss | None:
        """Return the loss of a batch by those of its images, None where it is their mean."""
        if self.loss is None:
            return None
        group_loss = self.loss.to(accelerator.device)

        def loss_of(losses: Tensor, batch: Batch) -> Tensor:
            rows = self.memberships.of(batch.image_ids)
            own = torch.from_numpy(self.memberships.values[rows]).to(losses.device)
            found: Tensor = group_loss(losses, batch.labels, own, accelerator.reduce)
            # Gradients of processes are averaged.
            return found.mul(accelerator.num_processes)

        return loss_of


def open_reweighting(settings: Training, examples: Examples) -> Reweighting | None:
    """Open what ``--subgroups`` and ``--reweight`` ask for, None where they do not.

    Parameters
    ----------
    settings : Training
    examples : Examples

    Raises
    ------
    BuildError
        If there are no memberships, or none of some image.
    """
    if settings.subgroups is None:
        return None
    memberships = read_memberships(settings.subgroups, "train")
    rows = memberships.of(examples.image_ids)
    values, labels = memberships.values[rows], memberships.labels[rows]
    if settings.reweight == "soft":
        return Reweighting(memberships, soft_weights(values, labels), None)
    present = torch.zeros(int(labels.max()) + 1, memberships.components, dtype=torch.float64)
    present.index_add_(0, torch.from_numpy(labels), torch.from_numpy(values))
    return Reweighting(memberships, None, GroupLoss((present > 0).double(), settings.dro_step))
