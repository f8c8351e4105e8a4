"""Noise is a function of image id and draw."""

from __future__ import annotations

import pytest
import torch

from builder.evaluate.corruptions import noise
from builder.evaluate.noise import standard_noise

CPU = torch.device("cpu")
SHAPE = (224, 224, 3)


def test_it_depends_on_nothing_but_id_and_draw() -> None:
    together = standard_noise(["a", "b", "c"], 1, SHAPE, CPU)
    alone = standard_noise(["b"], 1, SHAPE, CPU)
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(alone, standard_noise(["b"], 2, SHAPE, CPU))
    assert not torch.equal(together[0], together[1])


def test_it_is_standard_normal() -> None:
    values = standard_noise(["n01440764_18"], 0, SHAPE, CPU).flatten()
    count = len(values)
    assert values.mean().item() == pytest.approx(0, abs=4 / count**0.5)
    assert values.std().item() == pytest.approx(1, abs=4 / (2 * count) ** 0.5)
    assert (values.abs() > 1.959964).float().mean().item() == pytest.approx(0.05, abs=0.003)


def test_the_same_draw_on_halves_is_the_same_image() -> None:
    """With a region of one half everywhere, core and non-core corruption are one."""
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn = standard_noise(["a", "b"], 0, (8, 8, 3), CPU).permute(0, 3, 1, 2)
    half = torch.full((2, 1, 8, 8), 0.5)
    assert torch.equal(noise(images, half, drawn, 0.25), noise(images, 1 - half, drawn, 0.25))
