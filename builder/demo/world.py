"""A planted world: labelled JPEG images whose objects and cues are known to the pixel.

Every image shows one *core* object, whose shape and texture define the class. Spurious *cues*, a
textured ground or a second object, accompany the classes they belong to far more often in train
than in val. Because we draw everything, the truth is known: where each thing is (a label map per
image) and how strong each cue is (a table).

    ROOT/images/train/n90000001/n90000001_0.JPEG      the images, laid out like ImageNet
    ROOT/images/val/n90000001/ILSVRC2012_val_00000001.JPEG
    ROOT/truth/<image id>.png                   what each pixel shows: 0 bare, 1 core, 2 + i cue i
    ROOT/truth.parquet                          a row per image, see `write_world`
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode, functional

from builder.storage.files import atomic_write
from salient_imagenet_1m import CROP_SIZE, RESIZE_SIZE

Array = NDArray[np.float32]
Colour = tuple[float, float, float]
Point = tuple[float, float]
"""A place in an image: y, x."""

TRUTH_FILE = "truth.parquet"

BARE, CORE, FIRST_CUE = 0, 1, 2
"""Values of a label map: bare background, the core object, and cue i as ``FIRST_CUE + i``."""


@dataclass(frozen=True)
class Thing:
    """What can be drawn: an outline filled with a two-coloured pattern."""

    name: str
    outline: str
    pattern: str
    period: float
    """Length of the pattern in pixels of a 256-pixel image."""
    light: Colour
    dark: Colour

    @property
    def is_ground(self) -> bool:
        """Whether it covers a side of the image, rather than a spot."""
        return self.outline == "ground"


CUES = (
    Thing("water", "ground", "waves", 26, (0.45, 0.72, 0.92), (0.12, 0.34, 0.72)),
    Thing("grass", "ground", "checks", 16, (0.52, 0.82, 0.32), (0.12, 0.42, 0.10)),
    Thing("lamp", "disc", "rings", 30, (1.00, 0.92, 0.35), (0.92, 0.68, 0.02)),
    Thing("book", "square", "stripes", 24, (0.88, 0.55, 0.96), (0.52, 0.10, 0.72)),
)

CORES = (
    Thing("spotted disc", "disc", "spots", 26, (0.98, 0.92, 0.88), (0.85, 0.10, 0.12)),
    Thing("striped square", "square", "stripes", 26, (0.98, 0.92, 0.88), (0.85, 0.10, 0.12)),
    Thing("checked hexagon", "hexagon", "checks", 26, (0.98, 0.62, 0.12), (0.45, 0.18, 0.02)),
    Thing("ringed star", "star", "rings", 26, (0.98, 0.62, 0.12), (0.45, 0.18, 0.02)),
    Thing("spotted cross", "cross", "spots", 26, (0.95, 0.95, 0.98), (0.05, 0.55, 0.55)),
    Thing("striped wheel", "wheel", "stripes", 26, (0.95, 0.95, 0.98), (0.05, 0.55, 0.55)),
    Thing("checked triangle", "triangle", "checks", 26, (0.98, 0.72, 0.85), (0.72, 0.10, 0.42)),
    Thing("ringed square", "square", "rings", 26, (0.98, 0.72, 0.85), (0.72, 0.10, 0.42)),
)

CUES_OF_CLASS = ((0,), (1,), (3,), (0,), (3,), (2,), (2,), (1,))
"""The cues that accompany each class, each shared by two classes.

A cue that comes with one class only cannot be told from that class's core object by a network that
sees labels only: features then fire on both.
"""


@dataclass(frozen=True)
class World:
    """Size and difficulty of the planted world.

    Parameters
    ----------
    classes
        Number of classes, at most ``len(CORES)``.
    train, val
        Images per class.
    size
        Typical short side in pixels; heights and widths vary from it to 1.25 times it.
    cue_train, cue_val
        Probability that a cue accompanies a class that it belongs to.
    stray_train, stray_val
        Probability that one cue of another class appears.
    seed
        Every image depends on it and on its own id only, never on the order of drawing.
    """

    classes: int = 8
    train: int = 160
    val: int = 48
    size: int = 256
    cue_train: float = 0.85
    cue_val: float = 0.5
    stray_train: float = 0.10
    stray_val: float = 0.30
    seed: int = 0

    @property
    def wnids(self) -> list[str]:
        """The wnid of each class, by label; none is WordNet's."""
        return [f"n9{label + 1:07d}" for label in range(self.classes)]

    @property
    def names(self) -> list[str]:
        """The name of each class, by label."""
        return [thing.name for thing in CORES[: self.classes]]

    def cues_of(self, label: int) -> tuple[int, ...]:
        """Return the indices into `CUES` of the cues that belong to a class."""
        return CUES_OF_CLASS[label]


@dataclass(frozen=True)
class Drawing:
    """One image with its truth.

    Attributes
    ----------
    image_id, split, label
        Which image this is.
    pixels
        uint8, shape (height, width, 3).
    truth
        uint8, shape (height, width): the label map of what each pixel shows.
    strengths
        float32, shape (len(CUES),): opacity of each cue, 0 where it is absent.
    """

    image_id: str
    split: str
    label: int
    pixels: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    strengths: Array


def image_keys(world: World) -> Iterator[tuple[str, str, int]]:
    """Yield ``(split, image id, label)`` of every image of the world."""
    for label, wnid in enumerate(world.wnids):
        for n in range(world.train):
            yield "train", f"{wnid}_{n}", label
    for n in range(world.classes * world.val):
        # Val numbers say nothing about the class, as in ImageNet.
        yield "val", f"ILSVRC2012_val_{n + 1:08d}", n % world.classes


def draw_image(world: World, split: str, image_id: str, label: int) -> Drawing:
    """Draw one image: backdrop, clutter, cues, core object, light and sensor noise."""
    rng = np.random.default_rng([world.seed, zlib.crc32(image_id.encode())])
    height, width = (int(world.size * rng.uniform(1, 1.25)) for _ in range(2))
    scale = world.size / 256
    scene = _Scene(rng, scale, _backdrop(rng, height, width))
    for _ in range(rng.integers(3, 8)):
        scene.draw_clutter()

    strengths = _draw_strengths(world, split, label, rng)
    core_radius = scale * rng.uniform(38, 56)
    cue_radius = scale * rng.uniform(42, 54)
    core_at, cue_at = _place_apart(rng, height, width, core_radius, cue_radius)
    # Grounds lie below objects, and nothing covers the core object.
    for i, cue in sorted(enumerate(CUES), key=lambda item: not item[1].is_ground):
        if strengths[i]:
            scene.draw_thing(cue, cue_at, cue_radius, strengths[i], FIRST_CUE + i)
    opacity = np.float32(rng.uniform(0.45, 1.0))
    scene.draw_thing(CORES[label], core_at, core_radius, opacity, CORE)

    canvas = scene.canvas
    canvas *= rng.uniform(0.75, 1.15)
    canvas += rng.normal(0, 0.03, 3).astype(np.float32)
    canvas += 0.04 * rng.standard_normal(canvas.shape, dtype=np.float32)
    pixels = (255 * canvas.clip(0, 1)).astype(np.uint8)
    return Drawing(image_id, split, label, pixels, scene.truth, strengths)


def write_world(root: Path, world: World, on_drawn: Callable[[int], None]) -> None:
    """Write images, label maps and the truth table under `root`.

    `truth.parquet` has the columns image_id, split, label, wnid, cues (list<int8>, the cues that
    belong to the class) and strengths (list<float32>, one per cue of the world, 0 where absent).
    """
    keys = list(image_keys(world))
    for split in ("train", "val"):
        for wnid in world.wnids:
            (root / "images" / split / wnid).mkdir(parents=True, exist_ok=True)
    (root / "truth").mkdir(exist_ok=True)

    def write_one(key: tuple[str, str, int]) -> Array:
        drawing = draw_image(world, *key)
        folder = root / "images" / drawing.split / world.wnids[drawing.label]
        Image.fromarray(drawing.pixels).save(folder / f"{drawing.image_id}.JPEG", quality=92)
        label_map = Image.fromarray(drawing.truth)
        label_map.save(root / "truth" / f"{drawing.image_id}.png", compress_level=1)
        on_drawn(1)
        return drawing.strengths

    with ThreadPoolExecutor(2) as pool:
        strengths = list(pool.map(write_one, keys))
    splits, image_ids, labels = zip(*keys, strict=True)
    table = pa.table(
        {
            "image_id": image_ids,
            "split": splits,
            "label": pa.array(labels, pa.int32()),
            "wnid": [world.wnids[label] for label in labels],
            "cues": pa.array([world.cues_of(label) for label in labels], pa.list_(pa.int8())),
            "strengths": pa.array(strengths, pa.list_(pa.float32())),
        }
    )
    # The table comes last: where it is, the world is whole.
    with atomic_write(root / TRUTH_FILE) as file:
        pq.write_table(table, file)


@dataclass(frozen=True)
class Truth:
    """What is known of a world's images.

    Attributes
    ----------
    root : Path
        Where `write_world` wrote.
    rows : dict of str to dict
        The rows of the truth table, by image id.
    """

    root: Path
    rows: dict[str, dict[str, Any]]

    def label_map(self, image_id: str) -> NDArray[np.uint8]:
        """Return what the pixels show that the network sees: uint8, shape (224, 224)."""
        with Image.open(self.root / "truth" / f"{image_id}.png") as file:
            resized = functional.resize(file, [RESIZE_SIZE], InterpolationMode.NEAREST)
            return np.asarray(functional.center_crop(resized, [CROP_SIZE]))

    def strengths(self, image_id: str) -> dict[str, float]:
        """Return the opacity of each cue of the image's class, by the cue's name."""
        row = self.rows[image_id]
        return {CUES[cue].name: row["strengths"][cue] for cue in row["cues"]}


def read_truth(root: Path) -> Truth:
    """Read what `write_world` wrote beside the images."""
    rows = pq.read_table(root / TRUTH_FILE).to_pylist()
    return Truth(root, {row["image_id"]: row for row in rows})


def _draw_strengths(world: World, split: str, label: int, rng: np.random.Generator) -> Array:
    """Which cues an image shows, and how strongly: float32, shape (len(CUES),)."""
    is_train = split == "train"
    own = world.cues_of(label)
    strengths = np.zeros(len(CUES), np.float32)
    for i in own:
        if rng.random() < (world.cue_train if is_train else world.cue_val):
            strengths[i] = rng.uniform(0.5, 1.0)
    if rng.random() < (world.stray_train if is_train else world.stray_val):
        # At most one ground and one object, so that no two cues are in the same place.
        taken = {CUES[i].is_ground for i in np.flatnonzero(strengths)}
        strays = [i for i, cue in enumerate(CUES) if i not in own and cue.is_ground not in taken]
        if strays:
            strengths[rng.choice(strays)] = rng.uniform(0.5, 1.0)
    return strengths


def _place_apart(
    rng: np.random.Generator, height: int, width: int, core_radius: float, cue_radius: float
) -> tuple[Point, Point]:
    """Centres (y, x) of the core object and of a cue object that do not touch, in the central box.

    The box is the part of the image that preprocessing keeps: 224/256 of the short side.
    """
    half = min(height, width) * 112 / 256
    centre = np.array([height / 2, width / 2])
    while True:
        core = centre + rng.uniform(-1, 1, 2) * (half - 0.8 * core_radius)
        cue = centre + rng.uniform(-1, 1, 2) * (half - 0.8 * cue_radius)
        if np.hypot(*(core - cue)) > 1.05 * (core_radius + cue_radius):
            return (core[0], core[1]), (cue[0], cue[1])


def _backdrop(rng: np.random.Generator, height: int, width: int) -> Array:
    """Return a smooth, greyish backdrop: float32, shape (height, width, 3)."""
    tint = rng.uniform(0.35, 0.75) + rng.normal(0, 0.03, 3)
    coarse = tint + rng.normal(0, 0.10, (4, 4, 1)) + rng.normal(0, 0.02, (4, 4, 3))
    small = Image.fromarray((255 * coarse.clip(0, 1)).astype(np.uint8))
    large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return large / np.float32(255)


class _Scene:
    """An image in the making: canvas, float32 of shape (height, width, 3), and its label map."""

    def __init__(self, rng: np.random.Generator, scale: float, canvas: Array) -> None:
        self.rng = rng
        self.scale = scale
        self.canvas = canvas
        self.truth: NDArray[np.uint8] = np.full(canvas.shape[:2], BARE, np.uint8)

    def draw_clutter(self) -> None:
        """Paint one small dull shape that belongs to no class."""
        height, width = self.truth.shape
        radius = self.scale * self.rng.uniform(5, 16)
        at = self.rng.uniform(0, height), self.rng.uniform(0, width)
        window, y, x = _window(height, width, at, radius)
        outline = str(self.rng.choice(["disc", "square", "triangle"]))
        colour = self.rng.uniform(0.2, 0.9) + self.rng.normal(0, 0.05, 3)
        self.canvas[window][_inside(outline, y / radius, x / radius)] = colour

    def draw_thing(
        self, thing: Thing, at: Point, radius: float, opacity: np.float32, value: int
    ) -> None:
        """Blend a thing into the canvas and mark its pixels in the label map with `value`."""
        rng = self.rng
        height, width = self.truth.shape
        if thing.is_ground:
            window = (slice(0, height), slice(0, width))
            y, x = _axes(window, (height / 2, width / 2))
            inside = _ground(rng, y, x)
        else:
            window, y, x = _window(height, width, at, radius)
            turn = rng.uniform(-0.3, 0.3)
            y, x = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
            inside = _inside(thing.outline, y / radius, x / radius)
        period = self.scale * thing.period * rng.uniform(0.85, 1.2)
        shade = _pattern(thing.pattern, y, x, 2 * np.pi / period, rng.uniform(0, 2 * np.pi))
        light, dark = (
            np.asarray(colour, np.float32) + rng.normal(0, 0.04, 3).astype(np.float32)
            for colour in (thing.light, thing.dark)
        )
        paint = dark + shade[inside][:, None] * (light - dark)
        target = self.canvas[window]
        target[inside] += opacity * (paint - target[inside])
        self.truth[window][inside] = value


def _axes(window: tuple[slice, slice], at: Point) -> tuple[Array, Array]:
    """Pixel coordinates of a window relative to `at`: y of shape (h, 1) and x of shape (1, w)."""
    rows, columns = window
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(at[0])
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None] - np.float32(at[1])
    return y, x


def _window(
    height: int, width: int, at: Point, radius: float
) -> tuple[tuple[slice, slice], Array, Array]:
    """Return the part within `radius` of `at`, with its coordinates relative to `at`."""
    reach = 1.5 * radius
    window = (
        slice(max(0, int(at[0] - reach)), min(height, int(at[0] + reach) + 1)),
        slice(max(0, int(at[1] - reach)), min(width, int(at[1] + reach) + 1)),
    )
    return window, *_axes(window, at)


def _ground(rng: np.random.Generator, y: Array, x: Array) -> NDArray[np.bool_]:
    """Return a wavy-edged ground over 35 to 60 percent of the image, at a random side.

    `y` of shape (height, 1) and `x` of shape (1, width) are relative to the image's centre.
    """
    level = rng.uniform(-0.10, 0.15)
    side = rng.choice([-1, 1])
    across, along = (y, x) if rng.random() < 0.7 else (x, y)
    wave = np.sin(along / along.size * rng.uniform(5, 12) + rng.uniform(0, 6))
    return np.asarray(side * across > across.size * (level + 0.04 * wave))


def _inside(outline: str, y: Array, x: Array) -> NDArray[np.bool_]:
    """Whether points, in units of the radius, lie inside an outline of about equal areas."""
    distance = np.hypot(y, x)
    angle = np.arctan2(y, x)
    match outline:
        case "disc":
            return np.asarray(distance < 1)
        case "wheel":
            return (distance < 1.05) & (distance > 0.35)
        case "square":
            return np.maximum(abs(y), abs(x)) < 0.88
        case "cross":
            return (np.maximum(abs(y), abs(x)) < 1.1) & (np.minimum(abs(y), abs(x)) < 0.45)
        case "star":
            return np.asarray(distance < 1 + 0.28 * np.cos(5 * angle))
        case "triangle" | "hexagon":
            sides, size = (3, 1.45) if outline == "triangle" else (6, 1.08)
            sector = 2 * np.pi / sides
            apothem = size * np.cos(sector / 2)
            return np.asarray(distance * np.cos(angle % sector - sector / 2) < apothem)
    raise ValueError(f"unknown outline: {outline}")


def _pattern(pattern: str, y: Array, x: Array, frequency: float, phase: float) -> Array:
    """Shade of a pattern, 0 dark to 1 light, of the broadcast shape of `y` and `x`."""
    v, u = frequency * y + phase, frequency * x + phase
    match pattern:
        case "stripes":
            wave = np.sin(v + 0 * u)
        case "waves":
            wave = np.sin(v + 0.8 * np.sin(0.5 * u))
        case "checks":
            wave = np.sin(v) * np.sin(u) * 1.5
        case "spots":
            wave = np.sin(v) + np.sin(u) - 0.7
        case "rings":
            wave = np.sin(frequency * np.hypot(y, x) + phase)
        case _:
            raise ValueError(f"unknown pattern: {pattern}")
    return (0.5 + 1.5 * wave).clip(0, 1)
