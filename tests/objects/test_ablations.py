"""Ablations, each against a slow twin that goes pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from builder.objects.ablations import ABLATIONS, Object
from builder.objects.components import Bools, Box, find_components
from tests import reference

SIZE = 24


def masks() -> dict[str, Bools]:
    """Return where objects are: of one part and of several, at the edge, everywhere."""
    rng = np.random.default_rng(0)
    made = {f"chance {share}": rng.random((SIZE, SIZE)) < share for share in (0.02, 0.2, 0.5)}
    blocks = {
        "one pixel": [(3, 5, 4, 6)],
        "a box": [(2, 9, 15, 20)],
        "at the edge": [(0, 12, 14, 24)],
        "two": [(1, 1, 7, 8), (12, 6, 22, 18)],
        "side by side": [(4, 3, 14, 9), (6, 11, 15, 20)],
        "corners that touch": [(4, 4, 8, 8), (8, 8, 13, 13)],
        "everywhere": [(0, 0, SIZE, SIZE)],
        "across": [(8, 0, 15, SIZE)],
    }
    for name, own in blocks.items():
        mask = np.zeros((SIZE, SIZE), np.bool_)
        for top, left, bottom, right in own:
            mask[top:bottom, left:right] = True
        made[name] = mask
    disc = np.hypot(*np.mgrid[-12:12, -9:15])
    return {**made, "a disc": disc < 8, "a ring": (disc < 8) & (disc > 4)}


def drawn() -> Tensor:
    return torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("name", masks())
def test_an_object_is_removed_as_by_the_slow_twin(name: str, as_published: bool) -> None:
    mask, image = masks()[name], drawn()
    parts, components = find_components(mask)
    place = Object(torch.from_numpy(parts), components, as_published)
    expected = reference.without_object(image, mask, as_published)
    assert list(expected) == list(ABLATIONS)
    for ablation, ablate in ABLATIONS.items():
        torch.testing.assert_close(ablate(image, place), expected[ablation], rtol=0, atol=1e-6)
    assert torch.equal(image, drawn())


def test_no_pixel_of_an_object_is_left() -> None:
    """Whatever its shape, and nothing outside of its parts' boxes is changed."""
    image = drawn()
    for mask in masks().values():
        parts, components = find_components(mask)
        in_boxes = np.zeros_like(mask)
        for box, _ in components:
            in_boxes[box.slices] = True
        place = Object(torch.from_numpy(parts), components)
        for name in ("gray_mask", "tile", "mean_fill"):
            changed = (ABLATIONS[name](image, place) != image).any(0).numpy()
            assert changed[mask].all()
            assert not changed[~in_boxes].any()


def test_public_code_s_tile_comes_from_the_place_with_rows_and_columns_exchanged() -> None:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[4:8, 10:16] = True
    parts, components = find_components(mask)
    assert components[0].beside == Box(4, 16, 8, 22)
    image = drawn()
    place = Object(torch.from_numpy(parts), components, as_published=True)
    removed = ABLATIONS["tile"](image, place)
    assert torch.equal(removed[:, 4:8, 10:14], image[:, 16:20, 4:8])


def test_a_part_is_connected_along_rows_and_columns_alone() -> None:
    mask = masks()["corners that touch"]
    parts, components = find_components(mask)
    assert [box for box, _ in components] == [Box(4, 4, 8, 8), Box(8, 8, 13, 13)]
    assert np.array_equal(parts > 0, mask)
