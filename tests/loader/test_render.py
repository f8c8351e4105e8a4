"""Rendering against a slow, obvious reference that follows the definition pixel by pixel."""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

import salient_imagenet_1m as si
from builder.dataset.upsampling import upsample

SIZES = [(500, 375), (375, 500), (256, 256), (224, 224), (299, 1000), (61, 47), (1600, 1201)]


def soft_mask(grid: npt.NDArray[np.uint8], x: float, y: float, box: si.Box) -> float:
    """A soft mask at one point of the original image: bilinear, half-pixel centres, clamped."""
    if not (box.left <= x < box.right and box.top <= y < box.bottom):
        return 0.0
    rows, columns = grid.shape
    v = min(max((y - box.top) / (box.bottom - box.top) * rows - 0.5, 0), rows - 1)
    u = min(max((x - box.left) / (box.right - box.left) * columns - 0.5, 0), columns - 1)
    i, j = min(math.floor(v), rows - 2), min(math.floor(u), columns - 2)
    a, b = v - i, u - j
    corners = grid[i : i + 2, j : j + 2].astype(float)
    return float(np.array([1 - a, a]) @ corners @ np.array([1 - b, b]))


def reference(
    grids: npt.NDArray[np.uint8],
    window: tuple[float, float, float, float],
    size: tuple[int, int],
    box: si.Box,
    flip: bool = False,
) -> npt.NDArray[np.float64]:
    left, top, right, bottom = window
    height, width = size
    pixels = np.zeros(size)
    for i in range(height):
        for j in range(width):
            x = left + (j + 0.5) * (right - left) / width
            y = top + (i + 0.5) * (bottom - top) / height
            pixels[i, j] = max(soft_mask(grid, x, y, box) for grid in grids)
    return pixels[:, ::-1] if flip else pixels


def close(rendered: npt.NDArray[np.uint8], expected: npt.NDArray[np.float64]) -> None:
    """Equal to the rounded reference, but for float32 at exact halves."""
    assert rendered.dtype == np.uint8
    assert np.abs(rendered - expected).max() <= 0.5001


def example(rng: np.random.Generator, width: int, height: int, cells: int = 7) -> dict[str, Any]:
    grids = rng.integers(0, 256, (5, cells, cells), np.uint8)
    return {
        "grids": grids.tobytes(),
        "grid_height": cells,
        "grid_width": cells,
        "kinds": ["core", "spurious", "core", "core", "spurious"],
        "width": width,
        "height": height,
    }


def grids_of(row: dict[str, Any], kind: str) -> npt.NDArray[np.uint8]:
    grids = si.unpack_grids(row["grids"], row["grid_height"], row["grid_width"])
    return grids[[k == kind for k in row["kinds"]]]


@pytest.mark.parametrize(("width", "height"), [*SIZES[:3], (61, 47)])
def test_whole_image(width: int, height: int) -> None:
    row = example(np.random.default_rng(0), width, height)
    mask = si.render(row)
    assert mask.shape == (height, width)
    grids, box = grids_of(row, "core"), si.crop_box(width, height)
    for y in range(0, height, 5):  # every fifth pixel is enough for a slow reference
        for x in range(0, width, 5):
            value = max(soft_mask(grid, x + 0.5, y + 0.5, box) for grid in grids)
            assert abs(mask[y, x] - value) <= 0.5001


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    "window",
    [(10, 20, 210, 180), (-30.5, 3.25, 80.75, 400), (480, 0, 500, 3), (600, 600, 700, 650)],
)
def test_windows(window: tuple[float, float, float, float], flip: bool) -> None:
    row = example(np.random.default_rng(1), 500, 375)
    mask = si.render(row, "spurious", window=window, size=(31, 47), flip=flip)
    box = si.crop_box(500, 375)
    close(mask, reference(grids_of(row, "spurious"), window, (31, 47), box, flip))


@pytest.mark.parametrize("side", [440, 504, 648, 856])
def test_pixels_on_the_edge_of_the_box(side: int) -> None:
    """The box of these sizes begins and ends on the centre of a pixel: the first one is inside."""
    row = example(np.random.default_rng(0), side, side) | {"grids": b"\xff" * 5 * 49}
    box, centres = si.crop_box(side, side), np.arange(side) + 0.5
    assert box.left in centres
    inside = (box.left <= centres) & (centres < box.right)
    np.testing.assert_array_equal(si.render(row) == 255, inside[:, None] & inside)


def test_window_is_a_crop_of_the_whole() -> None:
    row = example(np.random.default_rng(2), 500, 375)
    whole = si.render(row)
    np.testing.assert_array_equal(si.render(row, window=(40, 50, 340, 350)), whole[50:350, 40:340])
    np.testing.assert_array_equal(si.render(row, flip=True), whole[:, ::-1])


def test_network_crop_is_upsample_over_the_box() -> None:
    row = example(np.random.default_rng(3), 500, 375)
    mask = si.render(row, window=si.crop_box(500, 375), size=224)
    close(mask, upsample(grids_of(row, "core"), 224, 224).max(axis=0))


def test_against_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    row = example(np.random.default_rng(4), 256, 256)
    planes = [
        cv2.resize(g.astype(np.float32), (224, 224), interpolation=cv2.INTER_LINEAR)
        for g in grids_of(row, "core")
    ]
    mask = si.render(row, window=(16, 16, 240, 240))
    assert np.abs(mask - np.max(planes, axis=0)).max() < 0.6  # opencv's weights have 11 bits


def test_upstream_geometry_is_a_second_resize_and_crop() -> None:
    """The public code applies Resize(256) and CenterCrop(224) to masks of 224 pixels."""
    row = example(np.random.default_rng(5), 500, 375)
    smooth = np.clip(np.indices((7, 7)).sum(axis=0) * 20 + 5, 0, 255).astype(np.uint8)
    row["grids"] = np.stack([smooth] * 5).tobytes()
    seen = si.crop_box(500, 375)
    once = PIL.Image.fromarray(si.render(row, window=seen, size=224))
    twice = once.resize((256, 256), PIL.Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    ours = si.render(row, window=seen, size=224, geometry="upstream")
    assert np.abs(ours.astype(int) - np.asarray(twice, int)).max() <= 1


@pytest.mark.parametrize("size", [31, (31, 31), [31, 31], np.int64(31)])
def test_sizes(size: Any) -> None:
    row = example(np.random.default_rng(2), 50, 40)
    np.testing.assert_array_equal(si.render(row, size=size), si.render(row, size=(31, 31)))


@pytest.mark.parametrize(
    "arguments",
    [
        {"window": (10, 10, 10, 50), "size": 8},
        {"window": (10, 50, 50, 10), "size": 8},
        {"window": (10, 10, 50, math.nan), "size": 8},
        {"window": (10, -math.inf, 50, math.inf), "size": 8},
        {"window": (10, 10, 10.3, 50)},
    ],
)
def test_windows_without_pixels(arguments: dict[str, Any]) -> None:
    row = example(np.random.default_rng(2), 50, 40)
    with pytest.raises(si.SalientImageNetError, match="has no pixels: give left, top"):
        si.render(row, **arguments)


@pytest.mark.parametrize("cells", [7, 8, 14])
def test_other_grids(cells: int) -> None:
    row = example(np.random.default_rng(6), 120, 90, cells)
    close(
        si.render(row),
        reference(grids_of(row, "core"), (0, 0, 120, 90), (90, 120), si.crop_box(120, 90)),
    )


def test_single_feature_and_absent_kind() -> None:
    row = example(np.random.default_rng(7), 100, 100)
    grids = si.unpack_grids(row["grids"], 7, 7)
    box = si.crop_box(100, 100)
    close(si.render(row, 3), reference(grids[3:4], (0, 0, 100, 100), (100, 100), box))
    row["kinds"] = ["core"] * 5
    assert not si.render(row, "spurious").any()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_strips_change_nothing(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    row = example(np.random.default_rng(8), width, height)
    whole = si.render(row)
    monkeypatch.setattr(si, "_STRIP", 1)
    assert np.abs(si.render(row).astype(int) - whole).max() <= 1


def test_batches_and_tensors() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(9)
    rows = [example(rng, *size) for size in SIZES]
    windows = [(0.1 * w, 0.2 * h, 0.8 * w, 0.9 * h) for w, h in SIZES]
    flips = [index % 2 == 0 for index in range(len(rows))]
    batch = {name: [row[name] for row in rows] for name in rows[0]}
    masks = si.render(batch, "spurious", size=64, window=windows, flip=flips)
    assert masks.shape == (len(rows), 64, 64)
    for row, mask, window, flip in zip(rows, masks, windows, flips, strict=True):
        np.testing.assert_array_equal(
            mask, si.render(row, "spurious", size=64, window=window, flip=flip)
        )
    tensors = {
        "grids": torch.stack(
            [torch.from_numpy(si.unpack_grids(row["grids"], 7, 7).copy()) for row in rows]
        ),
        "spurious": torch.tensor([[kind == "spurious" for kind in row["kinds"]] for row in rows]),
        "width": torch.tensor(batch["width"]),
        "height": torch.tensor(batch["height"]),
        "window": torch.tensor(windows, dtype=torch.float64),
        "flip": torch.tensor(flips),
    }
    rendered = si.render(tensors, "spurious", size=64)
    assert rendered.dtype == torch.uint8
    assert np.abs(rendered.numpy().astype(int) - masks).max() <= 1
    one = {name: value[0] for name, value in tensors.items()}
    assert np.abs(si.render(one, "spurious", size=64).numpy().astype(int) - masks[0]).max() <= 1


def test_bad_requests() -> None:
    row = example(np.random.default_rng(10), 50, 40)
    with pytest.raises(si.SalientImageNetError, match="kind 'background'"):
        si.render(row, "background")
    with pytest.raises(si.SalientImageNetError, match="a class has 5"):
        si.render(row, 5)
    with pytest.raises(si.SalientImageNetError, match="aligned or upstream"):
        si.render(row, geometry="zoomed")  # type: ignore[arg-type]
    two = {name: [value, value] for name, value in row.items()} | {"width": [50, 60]}
    with pytest.raises(si.SalientImageNetError, match="say size="):
        si.render(two)


def test_lazy_mask_is_a_pil_image() -> None:
    row = example(np.random.default_rng(11), 500, 375)
    grids = grids_of(row, "core")
    expected = si.render(row)

    def fresh() -> si.SoftMask:
        return si.SoftMask(grids, si._Target(500, 375))

    assert (fresh().mode, fresh().size) == ("L", (500, 375))
    np.testing.assert_array_equal(np.asarray(fresh()), expected)
    whole = PIL.Image.fromarray(expected)
    assert fresh().crop((10, 10, 60, 90)).tobytes() == whole.crop((10, 10, 60, 90)).tobytes()
    assert fresh().resize((99, 77)).tobytes() == whole.resize((99, 77)).tobytes()
    assert fresh().convert("RGB").getpixel((250, 180)) == whole.convert("RGB").getpixel((250, 180))
    assert fresh().getextrema() == whole.getextrema()
    assert fresh().copy().tobytes() == whole.tobytes()
    red, blue = (PIL.Image.new("RGB", (500, 375), name) for name in ("red", "blue"))
    composed = PIL.Image.composite(red, blue, fresh())
    assert composed.tobytes() == PIL.Image.composite(red, blue, whole).tobytes()
    file = io.BytesIO()
    fresh().save(file, "PNG")
    assert PIL.Image.open(file).tobytes() == whole.tobytes()

    packed = pickle.dumps(fresh())
    assert len(packed) < 1000  # the grids, not 187,500 pixels
    assert pickle.loads(packed).tobytes() == whole.tobytes()
    loaded = fresh()
    loaded.putpixel((0, 0), 77)
    assert pickle.loads(pickle.dumps(loaded)).getpixel((0, 0)) == 77
    pixels = np.full((375, 500), 9, np.uint8)
    assert loaded.numpy(pixels) is pixels
    assert pixels[0, 0] == 77
    np.testing.assert_array_equal(fresh().numpy(pixels), expected)
    assert pixels[0, 0] == expected[0, 0]
    wrong: Any
    for wrong in (np.empty((375, 501), np.uint8), np.empty((375, 500), np.float32)):
        with pytest.raises(si.SalientImageNetError, match=r"give uint8 of \(375, 500\)"):
            fresh().numpy(wrong)

    small = fresh().cropped((100, 50, 300, 250), (64, 64), flip=True)
    close(
        small.numpy(), reference(grids, (100, 50, 300, 250), (64, 64), si.crop_box(500, 375), True)
    )
    assert fresh().box == si.crop_box(500, 375)


def test_what_lazy_masks_need_of_pillow() -> None:
    """These are private: a release of Pillow that changes them must fail here, by their names."""
    image = PIL.Image.Image()
    assert image._im is None
    image._mode, image._size = "L", (3, 2)
    assert (image.mode, image.size) == ("L", (3, 2))
    image.im = PIL.Image.new("L", (3, 2)).im
    assert image._im is not None
    assert image.load() is not None
    mask = si.SoftMask(np.full((1, 7, 7), 9, np.uint8), si._Target(30, 20))
    assert not mask.rendered
    mask.load()
    assert mask.rendered


@pytest.mark.parametrize("name", [None, "numpy", "torch"])
def test_rows_in_formats_of_datasets(name: str | None) -> None:
    """`datasets` passes bytes through numpy, which takes their last zeros for padding."""
    if name == "torch":
        pytest.importorskip("torch")
    rows = []
    for index in range(3):
        grids = np.random.default_rng(index).integers(1, 256, (5, 7, 7), np.uint8)
        grids[4 - index :, 3:] = 0
        grids[4] = 0
        rows.append(example(np.random.default_rng(0), 90, 70) | {"grids": grids.tobytes()})
    dataset = datasets.Dataset.from_list(rows).with_format(name)
    for kind in (*si.KINDS, 4):
        expected = [si.render(row, kind) for row in rows]
        np.testing.assert_array_equal(si.render(dataset[:], kind), expected)
        for index, mask in enumerate(expected):
            np.testing.assert_array_equal(si.render(dataset[index], kind), mask)


@pytest.mark.parametrize("column", ["grids", "kinds", "width", "grid_height"])
def test_rows_without_a_column(column: str) -> None:
    row = example(np.random.default_rng(0), 90, 70)
    del row[column]
    with pytest.raises(si.SalientImageNetError, match=f"needs the columns {column} too"):
        si.render(row)
