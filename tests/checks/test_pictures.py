"""What is told of PNGs without decoding them is what Pillow tells."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from builder.checks import pictures
from builder.checks.pictures import all_show, shows

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
SHAPE = (5, 7)


def smooth(seed: int) -> Pixels:
    """Return what a union of grids looks like."""
    noise = np.random.default_rng(seed).integers(0, 256, (3, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize(SHAPE[::-1], Image.Resampling.BICUBIC))


def png(pixels: Any, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def by_hand(lines: bytes, *, streams: int = 1, depth: int = 8, interlaced: int = 0) -> bytes:
    """Return a PNG of filtered lines, its stream in one or more chunks."""
    header = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], depth, 0, 0, 0, interlaced)
    stream = zlib.compress(lines)
    step = -(-len(stream) // streams)
    parts = [stream[start : start + step] for start in range(0, len(stream), step)]
    middle = b"".join(chunk(b"IDAT", part) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + chunk(b"IEND", b"")


def filtered(pixels: Pixels, filters: list[int]) -> bytes:
    """Filter lines as the PNG specification says, byte by byte."""
    lines = bytearray()
    for y, number in enumerate(filters):
        lines.append(number)
        for x in range(pixels.shape[1]):
            left = int(pixels[y, x - 1]) if x else 0
            above = int(pixels[y - 1, x]) if y else 0
            corner = int(pixels[y - 1, x - 1]) if x and y else 0
            nearest = min(
                (left, above, corner), key=lambda value: abs(left + above - corner - value)
            )
            predicted = (0, left, above, (left + above) // 2, nearest)[number]
            lines.append((int(pixels[y, x]) - predicted) % 256)
    return bytes(lines)


@pytest.fixture
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> bool:
        raise AssertionError("Pillow was asked")

    monkeypatch.setattr(pictures, "shows", decode)


@pytest.mark.usefixtures("without_pillow")
def test_pictures_of_a_build_need_no_pillow() -> None:
    masks = np.stack([*map(smooth, range(200)), np.zeros(SHAPE, np.uint8)])
    assert all_show([png(mask) for mask in masks], masks).all()


@pytest.mark.usefixtures("without_pillow")
def test_every_filter_is_known() -> None:
    masks = np.stack([smooth(seed) for seed in range(50)])
    orders = [[(seed + line) % 5 for line in range(SHAPE[0])] for seed in range(50)]
    made = [by_hand(filtered(mask, order)) for mask, order in zip(masks, orders, strict=True)]
    assert all_show(made, masks).all()


def test_hand_made_pictures_are_those_that_pillow_reads() -> None:
    for seed in range(50):
        mask = smooth(seed)
        assert shows(by_hand(filtered(mask, [seed % 5, 4, 3, 2, 1])), mask)


def test_one_pixel_is_told_wherever_it_is() -> None:
    mask = smooth(0)
    others = np.stack([mask.copy() for _ in range(mask.size)])
    for place, other in enumerate(others):
        other.flat[place] ^= 1
    for picture in (png(mask), by_hand(filtered(mask, [4, 3, 2, 1, 0]))):
        assert not all_show([picture] * mask.size, others).any()
    assert all_show([], mask[None][:0]).tolist() == []


def damaged(change: Callable[[bytearray], Any]) -> bytes:
    content = bytearray(png(smooth(0)))
    change(content)
    return bytes(content)


def text() -> PngInfo:
    info = PngInfo()
    info.add_text("made by", "somebody else")
    return info


LINES = filtered(smooth(0), [0, 1, 2, 3, 4])
ODD = {
    "with a text": (png(smooth(0), pnginfo=text()), True),
    "in two chunks": (by_hand(LINES, streams=2), True),
    "of more lines than it says": (by_hand(LINES + LINES), True),
    "of another size": (png(smooth(0)[1:]), False),
    "of colours": (png(smooth(0), "RGB"), False),
    "of a palette": (png(smooth(0), "P"), False),
    "of two levels": (png(smooth(0), "1"), False),
    "of two bytes per pixel": (png(smooth(0).astype(np.uint16)), False),
    "interlaced": (by_hand(LINES, interlaced=1), False),
    "of too few lines": (by_hand(LINES[:-1]), False),
    "of an unknown filter": (by_hand(b"\x05" + LINES[1:]), False),
    "that swells": (by_hand(b"\xff" * 10_000_000), False),
    "of nothing": (b"", False),
    "that is a JPEG": (b"\xff\xd8\xff\xe0", False),
    "cut short": (damaged(lambda content: content.__delitem__(slice(50, None))), False),
    "with a flipped byte": (
        damaged(lambda content: content.__setitem__(50, content[50] ^ 1)),
        False,
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_of_odd_pictures_pillow_has_the_last_word(name: str) -> None:
    picture, expected = ODD[name]
    assert shows(picture, smooth(0)) == expected
    among = [png(smooth(1)), picture, png(smooth(2))]
    masks = np.stack([smooth(1), smooth(0), smooth(2)])
    assert all_show(among, masks).tolist() == [True, expected, True]
