"""Noise and penalties, each against a slow twin, and their gradients against differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from builder.mitigate.noise import core_noise, outside
from builder.mitigate.penalties import cam_penalty, saliency_penalty
from tests import reference

SIDE, CLASSES = 6, 3


class Smooth(nn.Module):
    """A small network that is smooth, so that differences tell its derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, CLASSES)
        self.double()

    def maps(self, images: Tensor) -> Tensor:
        found: Tensor = torch.tanh(self.conv(images))
        return found

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.maps(images).mean((2, 3)))
        return logits


Penalty = Callable[[Smooth, Tensor, Tensor, Tensor], Tensor]


class Penalised(nn.Module):
    """A network's penalty on a batch, as a module that its weights can be given to."""

    def __init__(self, penalty: Penalty, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        super().__init__()
        self.model = Smooth()
        self.penalty, self.batch = penalty, batch

    def forward(self) -> Tensor:
        return self.penalty(self.model, *self.batch)


@pytest.fixture
def batch(seeded: None) -> tuple[Tensor, Tensor, Tensor]:
    """Return three images, their labels, and core masks of which the last is empty."""
    images = torch.rand(3, 3, SIDE, SIDE, dtype=torch.float64)
    masks = torch.rand(3, 1, SIDE, SIDE, dtype=torch.float64)
    masks[0, :, :3] = 1
    masks[2] = 0
    return images, torch.tensor([0, 2, 1]), masks


def saliency(model: Smooth, images: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    inputs = images.clone().requires_grad_()
    losses = cross_entropy(model(inputs), labels, reduction="none")
    return saliency_penalty(losses, inputs, masks)


def cam(model: Smooth, images: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    return cam_penalty(model.maps(images), model.head.weight, labels, masks)


PENALTIES = pytest.mark.parametrize("penalty", [saliency, cam])


def test_noise_is_the_slow_one(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    images, _, masks = batch
    draw = torch.randn_like(images)
    chances = torch.tensor([0.2, 0.7, 0.2])
    found = core_noise(images, masks, 0.5, 0.25, chances=chances, draw=draw)
    expected = reference.core_noise(images, masks, [0.2, 0.7, 0.2], draw, 0.5, 0.25)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert torch.equal(found[0, :, :3], images[0, :, :3])  # the core
    assert torch.equal(found[1:], images[1:])  # not by chance, no mask
    assert not torch.equal(found[0], images[0])


def test_noise_is_drawn_for_half_of_the_images(seeded: None) -> None:
    images = torch.full((400, 3, 2, 2), 0.5)
    masks = torch.zeros(400, 1, 2, 2)
    masks[..., 0] = 1
    changed = (core_noise(images, masks) != images).flatten(1).any(1)
    assert 160 < changed.sum() < 240


def test_an_empty_mask_is_no_mask(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    masks = batch[2]
    torch.testing.assert_close(outside(masks)[:2], 1 - masks[:2])
    assert not outside(masks)[2].any()


@PENALTIES
def test_penalties_are_the_slow_ones(
    penalty: Penalty, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    images, labels, masks = batch
    model = Smooth()
    if penalty is saliency:
        expected = reference.saliency_penalty(model, images, labels, masks)
    else:
        maps, weight = model.maps(images), model.head.weight
        expected = reference.cam_penalty(maps, weight, labels, masks)
    found = penalty(model, images, labels, masks)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@PENALTIES
def test_the_gradient_of_penalties_is_that_of_differences(
    penalty: Penalty, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    penalised = Penalised(penalty, batch)
    names, weights = zip(*penalised.named_parameters(), strict=True)

    def of_weights(*given: Tensor) -> Tensor:
        found: Tensor = functional_call(penalised, dict(zip(names, given, strict=True)), ())
        return found

    given = tuple(weight.detach().clone().requires_grad_() for weight in weights)
    assert torch.autograd.gradcheck(of_weights, given)


@PENALTIES
def test_penalties_reach_the_weights(
    penalty: Penalty, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    model = Smooth()
    penalty(model, *batch).backward()  # type: ignore[no-untyped-call]
    for weight in (model.conv.weight, model.head.weight):
        assert weight.grad is not None
        assert weight.grad.abs().max() > 1e-6


@PENALTIES
def test_no_penalty_where_there_is_no_outside(
    penalty: Penalty, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    images, labels, masks = batch
    for empty in (torch.zeros_like(masks), torch.ones_like(masks)):
        assert penalty(Smooth(), images, labels, empty).item() == 0.0
