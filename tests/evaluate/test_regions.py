"""Dilation: the facts of methods, and a slow twin."""

from __future__ import annotations

import numpy as np
import pytest

from builder.evaluate.regions import dilate


def slow(mask: np.ndarray, iterations: int) -> np.ndarray:
    """The maximum over all offsets that so many plus-shaped steps reach, pixel by pixel."""
    height, width = mask.shape
    grown = np.zeros_like(mask)
    for y, x in np.ndindex(height, width):
        for dy, dx in np.ndindex(height, width):
            steps = -(-abs(dy - y) // 2) + -(-abs(dx - x) // 2)
            if steps <= iterations:
                grown[y, x] = max(grown[y, x], mask[dy, dx])
    return grown


def test_a_point_grows_to_1801_pixels() -> None:
    mask = np.zeros((101, 101), np.uint8)
    mask[50, 50] = 7
    grown = dilate(mask)
    assert np.count_nonzero(grown) == 1801
    assert set(np.unique(grown)) == {0, 7}
    assert np.flatnonzero(grown[50]).tolist() == list(range(20, 81))


def test_a_square_grows_to_an_eighth() -> None:
    mask = np.zeros((224, 224), np.uint8)
    mask[96:128, 96:128] = 255
    assert np.mean(dilate(mask) > 0) == pytest.approx(0.1304, abs=5e-5)


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_it_is_the_slow_one(iterations: int) -> None:
    rng = np.random.default_rng(iterations)
    mask = rng.integers(0, 256, (14, 17), np.uint8) * (rng.random((14, 17)) < 0.1)
    assert np.array_equal(dilate(mask.astype(np.uint8), iterations), slow(mask, iterations))
