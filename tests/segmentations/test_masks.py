"""Object masks from files of any kind."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from builder.dataset.object_mask import distance_from_centre, read_object_mask, write_object_mask
from builder.segmentations.masks import UnusableMaskError, make_object_mask

OBJECT = np.zeros((12, 20), np.bool_)
OBJECT[2:6, 10:18] = True


def file(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], form: str = "PNG") -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, form, quality=95)
    return target.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        file(OBJECT.astype(np.uint8)),
        file(OBJECT * np.uint8(255)),
        file(np.stack([OBJECT * np.uint8(200)] * 3, axis=2)),
        file(np.stack([OBJECT * np.uint8(200)] * 3 + [np.full_like(OBJECT, 255, np.uint8)], 2)),
        file(OBJECT * np.uint8(255), "JPEG"),
        write_object_mask(OBJECT),
    ],
)
def test_masks_of_any_values_become_one_of_1_bit(data: bytes) -> None:
    made = make_object_mask(data, 20, 12)
    assert np.array_equal(read_object_mask(made.picture), OBJECT)
    with Image.open(io.BytesIO(made.picture)) as picture:
        assert (picture.mode, picture.size, picture.format) == ("1", (20, 12), "PNG")
    assert made.area == 4 * 8 / (12 * 20)
    # The object's centre is at (14, 4), the image's at (10, 6).
    assert made.distance == pytest.approx(np.hypot(4, 2) / np.hypot(10, 6), abs=1e-12)


def test_the_distance_is_that_of_the_mean_pixel(seeded: None) -> None:
    is_object = np.random.default_rng(0).random((7, 11)) < 0.3
    places = [(y + 0.5, x + 0.5) for y in range(7) for x in range(11) if is_object[y, x]]
    y, x = (sum(values) / len(places) for values in zip(*places, strict=True))
    expected = ((y - 3.5) ** 2 + (x - 5.5) ** 2) ** 0.5 / (3.5**2 + 5.5**2) ** 0.5
    assert distance_from_centre(is_object) == pytest.approx(expected, abs=1e-12)
    corner = np.zeros((300, 400), np.bool_)
    corner[0, 0] = True
    assert distance_from_centre(corner) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (file(OBJECT[:, :19] * np.uint8(255)), "wrong_size"),
        (file(OBJECT.T * np.uint8(255)), "wrong_size"),
        (file(np.zeros((12, 20), np.uint8)), "empty"),
        (file(np.zeros((12, 20), np.uint8), "JPEG"), "empty"),
        (b"", "unreadable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unreadable"),
        (file(np.random.default_rng(0).integers(0, 255, (12, 20), np.uint8))[:-40], "unreadable"),
    ],
)
def test_others_are_set_aside(data: bytes, reason: str) -> None:
    with pytest.raises(UnusableMaskError) as caught:
        make_object_mask(data, 20, 12)
    assert caught.value.reason == reason


def test_a_picture_of_more_than_1_bit_is_no_object_mask() -> None:
    with pytest.raises(ValueError, match="not of 1 bit"):
        read_object_mask(file(OBJECT * np.uint8(255)))
