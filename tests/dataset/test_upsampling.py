"""Upsampling against OpenCV and what holds of every bilinear interpolation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from builder.dataset.upsampling import upsample


@pytest.mark.parametrize(("height", "width"), [(224, 224), (144, 144), (31, 500)])
def test_upsampling_is_opencv_s(height: int, width: int) -> None:
    grids = np.random.default_rng(0).integers(0, 256, (2, 3, 7, 8), np.uint8)
    masks = upsample(grids, height, width)
    assert masks.shape == (2, 3, height, width)
    for grid, mask in zip(grids.reshape(-1, 7, 8), masks.reshape(-1, height, width), strict=True):
        expected = cv2.resize(grid.astype(float), (width, height), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(mask, expected, atol=1e-3)  # OpenCV's weights are float32


def test_a_grid_of_the_same_size_or_of_one_value_stays() -> None:
    grid = np.random.default_rng(1).normal(size=(7, 7))
    np.testing.assert_array_equal(upsample(grid, 7, 7), grid)
    np.testing.assert_array_equal(upsample(np.full((7, 7), 9), 100, 50), np.full((100, 50), 9))


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    grids = np.random.default_rng(2).integers(0, 256, (5, 7, 7), np.uint8)
    whole = upsample(grids, 224, 224)
    monkeypatch.setattr("builder.dataset.upsampling._STRIP", 1)
    np.testing.assert_allclose(upsample(grids, 224, 224), whole, atol=1e-12)
