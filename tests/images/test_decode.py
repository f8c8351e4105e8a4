"""Decoding: the pixels of torchvision's transforms, and every kind of odd or broken file."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from builder.images.decode import UnusableImageError, decode

REFERENCE = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])


def picture(width: int = 90, height: int = 60) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of_claimed_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def assert_as_pil_and_torchvision(data: bytes) -> None:
    image = Image.open(io.BytesIO(data))
    decoded = decode(data)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == (224, 224, 3)
    assert (decoded.width, decoded.height) == image.size
    np.testing.assert_array_equal(decoded.pixels, np.asarray(REFERENCE(image.convert("RGB"))))


@pytest.mark.parametrize(
    "size",
    [
        (500, 375),
        (375, 500),
        (256, 256),
        (224, 224),
        (223, 225),
        (257, 255),
        (100, 99),
        (33, 90),
        (640, 64),
        (64, 640),
        (1000, 3),
        (2, 2),
        (1, 1),
    ],
    ids=lambda size: f"{size[0]}x{size[1]}",
)
def test_pixels_equal_torchvisions_resize_and_center_crop(size: tuple[int, int]) -> None:
    assert_as_pil_and_torchvision(encode(picture(*size), "JPEG"))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _sixteen_bit() -> Image.Image:
    ramp = np.arange(60 * 90, dtype=np.uint16).reshape(60, 90) * 12
    return Image.fromarray(ramp)


def _translucent() -> Image.Image:
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: encode(picture().convert("CMYK"), "JPEG"), id="CMYK JPEG"),
        pytest.param(lambda: encode(picture().convert("L"), "JPEG"), id="grayscale JPEG"),
        pytest.param(lambda: encode(picture().convert("L")), id="grayscale PNG"),
        pytest.param(lambda: encode(picture().convert("1")), id="two colours"),
        pytest.param(lambda: encode(picture().quantize(16)), id="palette"),
        pytest.param(
            lambda: encode(picture().quantize(16), transparency=3), id="transparent palette"
        ),
        pytest.param(lambda: encode(_sixteen_bit()), id="16-bit"),
        pytest.param(lambda: encode(_translucent()), id="RGBA"),
        pytest.param(lambda: encode(_translucent().convert("LA")), id="gray and alpha"),
        pytest.param(lambda: encode(picture(), "PNG"), id="PNG, as one named .JPEG"),
        pytest.param(lambda: encode(picture(), "WEBP"), id="WebP"),
        pytest.param(lambda: encode(picture(), "BMP"), id="BMP"),
        pytest.param(
            lambda: encode(picture(), "GIF", save_all=True, append_images=[picture().rotate(180)]),
            id="animated GIF, its first frame",
        ),
        pytest.param(lambda: encode(Image.new("L", (1, 1), 7)), id="1 x 1"),
    ],
)
def test_odd_files_are_used_as_pils_rgb_conversion_gives_them(data: Any) -> None:
    assert_as_pil_and_torchvision(data())


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_rotation_in_exif_is_not_followed(orientation: int) -> None:
    plain, rotated = (encode(picture(), "JPEG", exif=_exif(o)) for o in (1, orientation))
    assert decode(rotated).width == 90
    np.testing.assert_array_equal(decode(rotated).pixels, decode(plain).pixels)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"What a nice otter.\n", "not_an_image", id="text"),
        pytest.param(b"<!DOCTYPE html><html></html>", "not_an_image", id="HTML"),
        pytest.param(bytes(1000), "not_an_image", id="zeros"),
        pytest.param(encode(picture(), "JPEG")[:-200], "truncated", id="truncated JPEG"),
        pytest.param(encode(picture(), "PNG")[:-600], "truncated", id="truncated PNG"),
        pytest.param(encode(picture(), "JPEG")[:3], "not_an_image", id="3 bytes of a JPEG"),
        pytest.param(png_of_claimed_size(90, 60), "truncated", id="PNG without its pixels"),
        pytest.param(png_of_claimed_size(60_000, 60_000), "decompression_bomb", id="bomb"),
        pytest.param(
            encode(Image.new("L", (1, 50_000))), "decompression_bomb", id="sliver, upright"
        ),
        pytest.param(encode(Image.new("L", (50_000, 1))), "decompression_bomb", id="sliver, lying"),
    ],
)
def test_a_file_that_cannot_be_used_is_set_aside_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnusableImageError) as caught:
        decode(data)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_a_bombs_detail_tells_its_size() -> None:
    with pytest.raises(UnusableImageError, match="1 x 50000 would need 3276800000 pixels"):
        decode(encode(Image.new("L", (1, 50_000))))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_no_cut_of_a_file_raises_anything_else(kind: str) -> None:
    data = encode(picture(), kind)
    for length in np.linspace(0, len(data) - 1, 40).astype(int).tolist():
        try:
            decode(data[:length])
        except UnusableImageError as error:
            assert error.reason in {"empty", "not_an_image", "truncated", "broken"}
