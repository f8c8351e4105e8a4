"""How like two masks are, held against the definition, place by place."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from builder.dataset.upsampling import sample, upsample
from builder.dataset.whole import SIDE, correlations
from salient_imagenet_1m import Box, crop_box, whole_box
from tests.loader.test_render import soft_mask

SIZE = 120, 61


def table(grids: np.ndarray, box: Box) -> pa.Table:
    row = {"width": SIZE[0], "height": SIZE[1], "grids": grids.tobytes(), "box": list(box)}
    return pa.Table.from_pylist(
        [{**row, "grid_height": grids.shape[1], "grid_width": grids.shape[2]}]
    )


def test_correlations_are_those_of_soft_masks_in_the_box() -> None:
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (3, 7, 7), np.uint8)
    whole = rng.integers(0, 256, (3, 8, 16), np.uint8)
    crop[1] = 0  # One that is the same everywhere does not count.
    inside, around = crop_box(*SIZE), whole_box(*SIZE, 32, 640)
    expected = []
    for one, other in ((crop[0], whole[0]), (crop[2], whole[2])):
        values = []
        for line in range(SIDE):
            for place in range(SIDE):
                x = inside.left + (place + 0.5) * (inside.right - inside.left) / SIDE
                y = inside.top + (line + 0.5) * (inside.bottom - inside.top) / SIDE
                values.append((soft_mask(one, x, y, inside), soft_mask(other, x, y, around)))
        expected.append(np.corrcoef(np.array(values).T)[0, 1])
    found = correlations(table(crop, inside), table(whole, around))
    assert found == pytest.approx([np.mean(expected)])


def test_where_nothing_varies_there_is_none() -> None:
    flat = np.full((2, 7, 7), 9, np.uint8)
    box = crop_box(*SIZE)
    assert math.isnan(correlations(table(flat, box), table(flat, box))[0])


def test_a_sample_of_the_whole_box_is_the_box_upsampled() -> None:
    grids = np.random.default_rng(1).integers(0, 256, (2, 5, 6), np.uint8)
    box = Box(-3.0, 2.0, 40.0, 31.5)
    assert sample(grids, box, box, 20, 30) == pytest.approx(upsample(grids, 20, 30))
