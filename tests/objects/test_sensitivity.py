"""Noise on objects against its definition, and RFS of known accuracies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from builder.dataset.metrics import relative_core_sensitivity
from builder.objects.sensitivity import LEVELS, noisy
from tests import reference

SIZE = 40


def test_noise_is_that_of_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    images, normal = (
        torch.rand(2, 3, SIZE, SIZE, generator=generator),
        torch.randn(2, 3, SIZE, SIZE, generator=generator),
    )
    masks = np.random.default_rng(0).random((2, SIZE, SIZE)) < 0.3
    found = dict(noisy(images, torch.from_numpy(masks)[:, None].float(), normal))
    assert len(found) == 2 * len(LEVELS)
    for place in range(2):
        expected = reference.noise_on_object(images[place], masks[place], normal[place])
        assert expected.keys() == found.keys()
        for name, image in expected.items():
            torch.testing.assert_close(found[name][place], image, rtol=0, atol=1e-5)


def test_where_the_object_is_everywhere_the_rest_has_no_noise() -> None:
    images = torch.full((1, 3, SIZE, SIZE), 0.5)
    found = dict(noisy(images, torch.ones(1, 1, SIZE, SIZE), torch.randn_like(images)))
    for level in LEVELS:
        assert torch.equal(found[level.on_rest], images)
        assert not torch.equal(found[level.on_object], images)


def test_a_norm_is_that_of_the_noise_whatever_the_region() -> None:
    """Of pixels in the middle of their range, so that nothing is cut off."""
    images = torch.full((1, 3, 224, 224), 0.5)
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(images.shape, generator=generator)
    for share in (0.4, 0.6):
        is_object = (torch.rand(1, 1, 224, 224, generator=generator) < share).float()
        found = dict(noisy(images, is_object, normal))
        for name in ("object_norm_30", "rest_norm_30"):
            length = (found[name] - images).norm().item()
            assert length == pytest.approx(30, rel=1e-3)


@pytest.mark.parametrize(
    ("on_rest", "on_object", "expected"),
    [
        (0.8, 0.5, 0.428571),
        (0.3, 0.1, 0.5),
        (0.95, 0.9, 0.333333),
        (0.2, 0.4, -0.333333),
        (0.5, 0.5, 0),
        (1, 1, 0),
        (0, 0, 0),
    ],
)
def test_rfs_of_known_accuracies(on_rest: float, on_object: float, expected: float) -> None:
    assert relative_core_sensitivity(on_rest, on_object) == pytest.approx(expected, abs=1e-6)
