from __future__ import annotations

import cv2
import numpy as np

from builder.annotate.heat_maps import heat_map, jet


def slow_heat_map(pixels: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Do what the study's own page did, by OpenCV."""
    height, width = pixels.shape[:2]
    shares = cv2.resize(grid / 255, (width, height), interpolation=cv2.INTER_LINEAR)
    # The scale runs the other way, in blue, green, red: both together are red for hot.
    inverted = cv2.applyColorMap(np.uint8(255 * (1 - shares)), cv2.COLORMAP_JET)
    both = np.float32(inverted) / 255 + pixels / 255
    return np.asarray(255 * both / both.max())


def test_it_is_the_study_s_heat_map() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (224, 224, 3), np.uint8)
    grid = generator.integers(0, 256, (7, 7), np.uint8)
    made = heat_map(pixels, grid)
    assert made.dtype == np.uint8
    # OpenCV takes the colour of the next of 256 shares below, of which each is up to four levels.
    assert np.abs(made - slow_heat_map(pixels, grid)).max() < 4


def test_a_silent_feature_is_blue_everywhere() -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    made = heat_map(black, np.zeros((2, 2), np.uint8))
    assert np.unique(made.reshape(-1, 3), axis=0).tolist() == [[0, 0, 255]]


def test_jet_runs_from_dark_blue_to_dark_red() -> None:
    colours = jet(np.array([0, 0.25, 0.5, 0.75, 1]))
    expected = [[0, 0, 0.5], [0, 0.5, 1], [0.5, 1, 0.5], [1, 0.5, 0], [0.5, 0, 0]]
    assert colours.tolist() == expected
