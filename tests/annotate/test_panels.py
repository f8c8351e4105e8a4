from __future__ import annotations

import numpy as np
import pytest

from builder.annotate.panels import draw_panel


def test_a_panel_is_the_ends_and_some_between_of_the_top_fifth() -> None:
    generator = np.random.default_rng(0)
    names = [f"image {row}" for row in range(260 * 5)]
    values = generator.random(len(names), np.float32)
    ranked = sorted(names, key=lambda name: -values[names.index(name)])[:260]
    drawn = draw_panel(names, values)
    assert (drawn.zone, drawn.parts) == (260, [5, 5, 5])
    assert drawn.names[:5] == ranked[:5]
    assert drawn.names[10:] == ranked[-5:]
    between = [ranked.index(name) for name in drawn.names[5:10]]
    assert between == sorted(set(between))
    assert 5 <= between[0] < between[-1] < 255
    shuffled = generator.permutation(len(names))
    assert draw_panel([names[row] for row in shuffled], values[shuffled]) == drawn


def test_images_of_equal_activation_are_in_the_order_of_their_ids() -> None:
    drawn = draw_panel(["b", "c", "a"] * 1, np.ones(3, np.float32))
    assert (drawn.names, drawn.zone) == (["a"], 1)


@pytest.mark.parametrize(
    ("images", "zone", "parts"),
    [
        (0, 0, [0, 0, 0]),
        (4, 1, [1, 0, 0]),
        (25, 5, [2, 2, 1]),
        (75, 15, [5, 5, 5]),
        (76, 16, [5, 5, 5]),
    ],
)
def test_small_classes_have_small_panels(images: int, zone: int, parts: list[int]) -> None:
    names = [f"{row:03d}" for row in range(images)]
    drawn = draw_panel(names, -np.arange(images, dtype=np.float32))
    assert (drawn.zone, drawn.parts) == (zone, parts)
    assert len(set(drawn.names)) == sum(parts)
