"""Masks of whole images beside those of their central crops.

    python -m tests.benchmarks.whole_image [--directory DIR] [--epochs N]

Draws the demo's world in DIR and trains two networks on crops, as the demo does: the demo's own,
each cell of which sees 28 x 28 pixels, and a narrow ResNet, each cell of which sees 276. How the
latter is trained was chosen among four recipes by the spurious AUROC of crops of training images
in their box. Features
and kinds come from the truth: the five most important of each class, spurious where less than half
of their heat is on the core object. On validation images it prints pixel AUROC and pointing of

- the masks of the crop over all pixels, 0 outside of the box, and over those of the box alone;
- the masks of the whole image, over all pixels and over those of the box,

for images padded to strides by zero and by their mirror image, and with the zeros that each
convolution pads with, or mirror images in their place; for masks moved by 6 pixels, to where the
receptive fields of their cells are centred; and for those of each kind's most important feature.

    SALIENT_REAL_DATA=... python -m tests.benchmarks.whole_image --real

runs EfficientNet-Lite0 over real images, and prints, of the five features that matter most to the
class that it predicts,

- the correlation of both masks inside the box of the crop, its mean and lowest decile;
- how far a border takes a map's cells from what they are with the image going on behind it, by
  their distance from the border, in parts of the map's mean: with the zeros of convolutions alone,
  and with a cell's width of mirror image between;
- how long a whole image takes the network, over a crop, beside the ratio of pixels.

    python -m tests.benchmarks.whole_image --built DATA

prints the bytes per image of both configs of a data set, compressed, column by column.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from builder.dataset.configs import WHOLE_IMAGES
from builder.dataset.metrics import mask_auroc, points_into
from builder.dataset.whole import correlations
from builder.demo.training import Recipe, load_pooled, train
from builder.demo.world import CORE, FIRST_CUE, TRUTH_FILE, World, read_truth, write_world
from builder.images.extent import CENTRAL_CROP, Extent, WholeImage
from builder.network.architectures import Architecture, load_architecture
from builder.network.convnet import MEAN, STD, SmallConvNet
from builder.network.network import Network
from salient_imagenet_1m import Box, crop_box, encode_grids, pack_grids, render, whole_box

FEATURES = 5
LONGEST = 640
STRIDE = 16
CENTRE = 2
"""Of the receptive field of either network's first cell: that of the first 4 pooled pixels."""

KINDS = ("core", "spurious")

Bools = npt.NDArray[np.bool_]
Grids = npt.NDArray[np.uint8]


class NarrowResNet(SmallConvNet):
    """A ResNet of 7 blocks and 96 channels, between the demo network's ends: 14 x 14 cells of 224
    pixels, each of which sees 276 x 276."""

    def __init__(self, classes: int) -> None:
        width = 96
        super().__init__(classes, width)
        blocks = [(16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1)]
        blocks += [(32, width, 2), (width, width, 1), (width, width, 1)]
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            *(BasicBlock(i, o, s, _shortcut(i, o, s)) for i, o, s in blocks),
        )


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class Recentred(WholeImage):
    """A whole image whose masks lie where the receptive fields of cells are centred."""


NETWORKS = (
    ("demo's network", SmallConvNet, Recipe()),
    (
        "narrow ResNet",
        NarrowResNet,
        Recipe(epochs=10, steps=1, sparsity=0.003, coherence=1.0, head_sparsity=1e-4),
    ),
)


class ZeroPadded(WholeImage):
    """A whole image padded by what is zero once normalised."""

    def __call__(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        mirrored = super().__call__(image)
        height, width = mirrored.shape[:2]
        framed = np.full_like(mirrored, round(255 * MEAN))
        shown = WholeImage(1, self.longest)(image)
        top, left = (height - shown.shape[0]) // 2, (width - shown.shape[1]) // 2
        framed[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        return framed


@dataclass(frozen=True)
class Planted:
    """An image of the world, and where its class's things are in it."""

    label: int
    image: Image.Image
    places: dict[str, Bools]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--epochs", type=int, help="of both networks, in place of their own")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--built", type=Path)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    if options.built:
        report_bytes(options.built)
        return
    if options.real:
        torch.set_num_threads(1)
        report_real(Path(os.environ["SALIENT_REAL_DATA"]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = options.directory or Path(temporary)
        world = World()
        if not (root / TRUTH_FILE).exists():
            write_world(root, world, lambda count: None)
        images = {split: list(planted(root, split)) for split in ("train", "val")}
        for name, make, recipe in NETWORKS:
            own = replace(recipe, epochs=options.epochs or recipe.epochs)
            model = trained(root, world, make, own)
            print(f"\n{name}")
            report(world, model, images)


def planted(root: Path, split: str) -> Iterator[Planted]:
    truth = read_truth(root)
    for name, row in truth.rows.items():
        if row["split"] != split:
            continue
        with Image.open(root / "images" / split / row["wnid"] / f"{name}.JPEG") as file:
            image = file.convert("RGB")
        with Image.open(root / "truth" / f"{name}.png") as file:
            shown = np.asarray(file)
        cues = [FIRST_CUE + cue for cue in row["cues"]]
        yield Planted(
            row["label"], image, {"core": shown == CORE, "spurious": np.isin(shown, cues)}
        )


def trained(
    root: Path, world: World, make: Callable[[int], SmallConvNet], recipe: Recipe
) -> SmallConvNet:
    """Return a network trained on the crops, as the demo trains its robust one."""
    path = root / f"{make.__name__}-{recipe.epochs}.pt"
    model = make(world.classes)
    if not path.exists():
        rows = [row for row in read_truth(root).rows.values() if row["split"] == "train"]
        files = [root / "images/train" / row["wnid"] / f"{row['image_id']}.JPEG" for row in rows]
        labels = torch.tensor([row["label"] for row in rows])
        model = train(load_pooled(files), labels, world.classes, recipe, make)
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def report(world: World, model: SmallConvNet, images: dict[str, list[Planted]]) -> None:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    network = opened(model)
    features, spurious = chosen(world, network, images["train"])
    print(f"{np.count_nonzero(spurious)} of {spurious.size} features are spurious")
    print("| masks | pixels | core AUROC | core pointing | spurious AUROC | spurious pointing |")
    print("|---|---|---|---|---|---|")
    crop = scores(network, CENTRAL_CROP, images["val"], features, spurious)
    print_rows("crop, outside 0", crop)
    pads = {"zero": ZeroPadded, "mirror": WholeImage}
    for padded, convolved in product(pads, pads):
        model = type(model)(world.classes)
        model.load_state_dict(state)
        if convolved == "mirror":
            mirror_in_convolutions(model)
        found = scores(
            opened(model), pads[padded](STRIDE, LONGEST), images["val"], features, spurious
        )
        print_rows(f"whole, {padded} around the image, {convolved} in convolutions", found)
    moved = scores(network, Recentred(STRIDE, LONGEST), images["val"], features, spurious)
    print_rows("whole, mirror, moved to the centres of receptive fields", moved)
    firsts = [kind & (kind.cumsum(axis=1) == 1) for kind in (spurious, ~spurious)]
    alone = scores(
        network,
        WholeImage(STRIDE, LONGEST),
        images["val"],
        features,
        spurious,
        np.bitwise_or(*firsts),
    )
    print_rows("whole, mirror, the most important feature of a kind alone", alone)


def opened(model: SmallConvNet) -> Network:
    architecture = Architecture("planted", model.eval(), [MEAN] * 3, [STD] * 3)
    return Network(architecture, torch.device("cpu"), "float32")


def mirror_in_convolutions(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and any(module.padding):
            module.padding_mode = "reflect"


def maps_of(network: Network, extent: Extent, image: Image.Image) -> Tensor:
    return network(torch.from_numpy(extent(image))[None]).maps[0]


def chosen(world: World, network: Network, images: list[Planted]) -> tuple[Any, Bools]:
    """Return the most important features of each class, and which of them are spurious."""
    sums = np.zeros((world.classes, network.channels))
    heat, on_core = np.zeros_like(sums), np.zeros_like(sums)
    for one in images:
        maps = maps_of(network, CENTRAL_CROP, one.image).numpy()
        box = crop_box(*one.image.size)
        core = Image.fromarray(255 * one.places["core"].astype(np.uint8)).resize(
            maps.shape[:0:-1], Image.Resampling.BOX, box
        )
        sums[one.label] += maps.mean((1, 2))
        heat[one.label] += maps.sum((1, 2))
        on_core[one.label] += (maps * np.asarray(core) / 255).sum((1, 2))
    order = np.argsort(-sums * network.head_weight.numpy(), axis=1)[:, :FEATURES]
    shares = np.take_along_axis(on_core / np.maximum(heat, 1e-9), order, 1)
    return order, shares <= 0.5


def scores(
    network: Network,
    extent: Extent,
    images: list[Planted],
    features: Any,
    spurious: Bools,
    kept: Bools | None = None,
) -> dict[str, dict[str, list[float]]]:
    """Return AUROC and pointing of each mask, over all pixels and over those of the crop's box.

    Masks are of the features that are `kept`, by default of all.
    """
    kept = np.ones_like(spurious) if kept is None else kept
    found: dict[str, dict[str, list[float]]] = {
        pixels: defaultdict(list) for pixels in ("all", "box")
    }
    for one in images:
        grids, _ = encode_grids(maps_of(network, extent, one.image)[features[one.label]].numpy())
        width, height = one.image.size
        box = crop_box(width, height)
        if isinstance(extent, WholeImage):
            box = whole_box(width, height, extent.stride, extent.longest)
        if isinstance(extent, Recentred):
            box = moved_by(box, (CENTRE - extent.stride / 2) / extent.stride, grids.shape[1:])
        own = {"core": (~spurious & kept)[one.label], "spurious": (spurious & kept)[one.label]}
        for kind, mask in masks(grids, box, own, width, height).items():
            place = one.places[kind]
            inside = tuple(map(round, crop_box(width, height)))
            parts = {"all": np.s_[:, :], "box": np.s_[inside[1] : inside[3], inside[0] : inside[2]]}
            for pixels, part in parts.items():
                if place[part].any():
                    found[pixels][f"{kind} AUROC"].append(mask_auroc(mask[part], place[part]))
                    found[pixels][f"{kind} pointing"].append(points_into(mask[part], place[part]))
    return found


def moved_by(box: Box, cells: float, shape: tuple[int, ...]) -> Box:
    """Return a box of so many cells, moved to the right and down by a number of them."""
    down = cells * (box.bottom - box.top) / shape[0]
    across = cells * (box.right - box.left) / shape[1]
    return Box(box.left + across, box.top + down, box.right + across, box.bottom + down)


def masks(
    grids: Grids, box: Box, kinds: dict[str, Bools], width: int, height: int
) -> dict[str, Grids]:
    """Return the masks of the kinds that there are, at the image's size."""
    row = {"grids": grids, "width": width, "height": height, "box": box, **kinds}
    return {kind: render(row, kind) for kind in KINDS if kinds[kind].any()}


def report_real(data: Path) -> None:
    network = Network(load_architecture("efficientnet-lite0", None), torch.device("cpu"), "float32")
    extent = WholeImage(network.stride(), LONGEST)
    for folder in ("fullsize/train", "imagenette/val"):
        images = [read(path) for path in sorted((data / folder).glob("*/*"))]
        seconds: dict[str, float] = dict.fromkeys(("crop", "whole"), 0)
        pixels = dict.fromkeys(seconds, 0)
        found, borders = [], []
        for image in images:
            outputs = {}
            for name, how in (("crop", CENTRAL_CROP), ("whole", extent)):
                seen = torch.from_numpy(how(image))[None]
                start = time.process_time()
                outputs[name] = network(seen)
                seconds[name] += time.process_time() - start
                pixels[name] += seen[0, ..., 0].numel()
            crop = outputs["crop"]
            weight = network.head_weight[int(crop.logits.argmax())]
            five = (crop.activations[0] * weight).argsort(descending=True)[:FEATURES]
            rows = [
                row_of(image, outputs[name].maps[0, five].numpy(), box)
                for name, box in (
                    ("crop", crop_box(*image.size)),
                    ("whole", whole_box(*image.size, extent.stride, LONGEST)),
                )
            ]
            found.append(correlations(*rows)[0])
            borders.append(
                border_errors(network, extent(image), outputs["whole"].maps[0, five], five)
            )
        print(f"\n{folder}: {len(images)} images")
        print(f"correlation: mean {np.nanmean(found):.3f}, decile {np.nanquantile(found, 0.1):.3f}")
        for way, errors in zip(("zeros", "a mirrored cell"), np.mean(borders, axis=0), strict=True):
            print(f"off by, {way}: " + ", ".join(f"{error:.2f}" for error in errors))
        ratios = [each["whole"] / each["crop"] for each in (seconds, pixels)]
        print(f"time over a crop {ratios[0]:.2f}, pixels {ratios[1]:.2f}")


def report_bytes(directory: Path) -> None:
    for config in ("masks", WHOLE_IMAGES):
        files = [pq.read_metadata(path) for path in sorted((directory / config).iterdir())]
        sizes: defaultdict[str, int] = defaultdict(int)
        for file in files:
            for group in map(file.row_group, range(file.num_row_groups)):
                for column in map(group.column, range(group.num_columns)):
                    name = column.path_in_schema.partition(".")[0]
                    sizes[name] += column.total_compressed_size
        rows = sum(file.num_rows for file in files)
        columns = ", ".join(f"{name} {size / rows:.0f}" for name, size in sizes.items())
        print(f"{config}: {sum(sizes.values()) / rows:.0f} bytes per image: {columns}")


def read(path: Path) -> Image.Image:
    with Image.open(path) as file:
        return file.convert("RGB")


def row_of(image: Image.Image, maps: npt.NDArray[np.float32], box: Box) -> pa.Table:
    """Return what a data set has of an image."""
    grids, _ = encode_grids(maps)
    width, height = image.size
    row = {"width": width, "height": height, "box": list(box), "grids": pack_grids(grids)}
    return pa.Table.from_pylist(
        [{**row, "grid_height": grids.shape[1], "grid_width": grids.shape[2]}]
    )


def border_errors(
    network: Network, seen: npt.NDArray[np.uint8], maps: Tensor, features: Tensor
) -> list[list[float]]:
    """Return errors of cells at distance 0, 1, 2 from a cut through the image, in two ways."""
    stride, cut = seen.shape[0] // maps.shape[1], 3
    rest = seen[:, cut * stride :]
    margin = np.pad(rest, ((0, 0), (stride, 0), (0, 0)), "reflect")
    scale = maps.mean() + 1e-9
    errors = []
    for pixels, extra in ((rest, 0), (margin, 1)):
        found = network(torch.from_numpy(pixels.copy())[None]).maps[0, features][..., extra:]
        difference = (found - maps[..., cut:]).abs() / scale
        errors.append([float(difference[..., place].mean()) for place in range(3)])
    return errors


def print_rows(name: str, found: dict[str, dict[str, list[float]]]) -> None:
    for pixels, values in found.items():
        cells = [
            f"{np.mean(values[f'{kind} {metric}']):.4f}"
            for kind in KINDS
            for metric in ("AUROC", "pointing")
        ]
        print(f"| {name} | {pixels} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
