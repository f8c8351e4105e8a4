"""Swaps of surroundings, against a slow twin."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from builder.mitigate.swap import core_swap
from tests import reference

COUNT, SIDE = 7, 4


@pytest.fixture
def batch(seeded: None) -> tuple[Tensor, Tensor]:
    """Return images and core masks: of the third pair, one shows no core."""
    masks = torch.rand(COUNT, 1, SIDE, SIDE, dtype=torch.float64)
    masks[0, :, :2] = 1
    masks[1, :, :, :2] = 1
    masks[5] = 0
    return torch.rand(COUNT, 3, SIDE, SIDE, dtype=torch.float64), masks


def test_swaps_are_the_slow_ones(batch: tuple[Tensor, Tensor]) -> None:
    chances = [0.2, 0.4, 0.2, 0.7, 0.2, 0.2, 0.2]
    found = core_swap(*batch, 0.5, chances=torch.tensor(chances))
    expected = reference.core_swap(*batch, chances, 0.5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_cores_stay_and_no_other_core_appears(batch: tuple[Tensor, Tensor]) -> None:
    images, masks = batch
    found = core_swap(images, masks)
    assert torch.equal(found[0, :, :2], images[0, :, :2])
    assert torch.equal(found[1, ..., :2], images[1, ..., :2])
    assert torch.equal(found[4:], images[4:])  # no core beside, no neighbour
    painted = images.clone()
    painted[1, ..., :2] = 7.0
    torch.testing.assert_close(core_swap(painted, masks)[0], found[0])


def test_so_many_images_get_other_surroundings_as_are_to(seeded: None) -> None:
    images = torch.rand(400, 3, 2, 2)
    masks = torch.zeros(400, 1, 2, 2)
    masks[..., 0] = 1
    for probability, least, most in ((0.0, 0, 0), (0.5, 160, 240), (1.0, 400, 400)):
        changed = (core_swap(images, masks, probability) != images).flatten(1).any(1)
        assert least <= changed.sum() <= most


def test_a_mask_of_ones_leaves_images_as_they_are(batch: tuple[Tensor, Tensor]) -> None:
    images, masks = batch
    assert torch.equal(core_swap(images, torch.ones_like(masks)), images)
