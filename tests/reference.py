"""Slow, obvious re-implementations, one image and one pixel at a time, from the definitions."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from salient_imagenet_1m import crop_box

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A plain network: images (1, 3, 224, 224) to maps (1, C, h, w) and logits (1, classes)."""


def votes_of(path: Path) -> dict[int, list[dict[str, Any]]]:
    """Return for each class its features by rank, with the counted votes."""
    answers: dict[tuple[int, int, int], list[str]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = (
                int(row["Input.class_index"]),
                int(row["Input.feature_rank"]),
                int(row["Input.feature_index"]),
            )
            answers[key].append(row["Answer.main"])
    classes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for label, rank, feature in sorted(answers):
        given = answers[label, rank, feature]
        off_object = given.count("separate_object") + given.count("background")
        kind = "spurious" if off_object >= 3 else "core"
        classes[label].append({"feature": feature, "rank": rank, "kind": kind})
    return classes


def image_row(
    path: Path, label: int, pairs: list[dict[str, Any]], forward: Forward, normalize: Any
) -> dict[str, Any]:
    """Return all that is known of an image without looking at others."""
    original = Image.open(path)
    width, height = original.size
    preprocess = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), normalize]
    )
    with torch.no_grad():
        maps, logits = forward(preprocess(original.convert("RGB"))[None])
    nams = [maps[0, pair["feature"]].numpy() for pair in pairs]
    grids = []
    for nam in nams:
        grid = np.zeros(nam.shape, np.uint8)
        peak = float(nam.max())
        for y, x in np.ndindex(*nam.shape):
            if peak > 0:
                grid[y, x] = round(max(0.0, 255 * float(nam[y, x]) / peak))
        grids.append(grid)
    unions = {}
    for kind in ("core", "spurious"):
        chosen = [grid for grid, pair in zip(grids, pairs, strict=True) if pair["kind"] == kind]
        unions[kind] = np.max(chosen, axis=0) if chosen else None
    return {
        "label": label,
        "width": width,
        "height": height,
        "features": [pair["feature"] for pair in pairs],
        "kinds": [pair["kind"] for pair in pairs],
        "activations": [float(nam.mean()) for nam in nams],
        "peaks": [max(0.0, float(nam.max())) for nam in nams],
        "grids": grids,
        "nams": nams,
        "core_mask": unions["core"],
        "spurious_mask": unions["spurious"],
        "predicted": int(logits[0].argmax()),
    }


def whole_cells(
    width: int, height: int, stride: int, longest: int
) -> tuple[list[list[int]], list[list[int]], float]:
    """Return which rows and which columns of the resized image each cell stands for.

    Those that are negative, or beyond the image, are padding. The third value is how many pixels of
    the original a pixel of the resized one is, of the rows.
    """
    resize = transforms.Resize(256, max_size=longest)
    shown = resize(Image.new("L", (width, height))).size[::-1]
    cells = []
    for size in shown:
        count = 1
        while count * stride < size:
            count += 1
        before = (count * stride - size) // 2
        every = [pixel - before for pixel in range(count * stride)]
        cells.append([every[cell * stride : (cell + 1) * stride] for cell in range(count)])
    return cells[0], cells[1], height / shown[0]


def receptive_fields(
    layers: torch.nn.Module, height: int, width: int
) -> list[list[tuple[list[int], list[int]]]]:
    """Return the rows and the columns of the pixels that each cell of a map depends on.

    Cell by cell, of layers all of whose weights are positive: a pixel counts whose change is felt.
    """
    pixels = torch.ones((1, 3, height, width), requires_grad=True)
    maps = layers(pixels)[0, 0]
    fields: list[list[tuple[list[int], list[int]]]] = []
    for line in maps:
        fields.append([])
        for cell in line:
            (felt,) = torch.autograd.grad(cell, pixels, retain_graph=True)
            rows, columns = (felt[0].sum((0, axis)).nonzero().ravel() for axis in (2, 1))
            fields[-1].append((rows.tolist(), columns.tolist()))
    return fields


def whole_pixels(image: Image.Image, stride: int, longest: int) -> np.ndarray[Any, Any]:
    """Return the whole image as the network sees it, padding mirrored pixel by pixel."""
    rows, columns, _ = whole_cells(*image.size, stride, longest)
    shown = np.asarray(transforms.Resize(256, max_size=longest)(image))

    def inside(place: int, size: int) -> int:
        while not 0 <= place < size and size > 1:
            place = -place if place < 0 else 2 * (size - 1) - place
        return place if size > 1 else 0

    lines = [inside(place, shown.shape[0]) for cell in rows for place in cell]
    places = [inside(place, shown.shape[1]) for cell in columns for place in cell]
    return np.array([[shown[line, place] for place in places] for line in lines])


def add_scores(rows: dict[str, dict[str, Any]], activations: dict[str, list[float]]) -> None:
    """Add ranks and spuriosity to the rows of one split.

    `activations` are those that were published: near ties must be decided on the same numbers.
    """
    by_class: dict[int, list[str]] = defaultdict(list)
    for image_id in sorted(rows):
        by_class[rows[image_id]["label"]].append(image_id)
    for members in by_class.values():
        kinds = rows[members[0]]["kinds"]
        columns = [[activations[member][k] for member in members] for k in range(len(kinds))]
        z_columns = []
        for k, column in enumerate(columns):
            mean = sum(column) / len(column)
            std = math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))
            constant = max(column) == min(column)
            z_columns.append([0.0 if constant else (value - mean) / std for value in column])
            ranked = sorted(range(len(members)), key=lambda i: (-column[i], members[i]))
            for rank, index in enumerate(ranked):
                rows[members[index]].setdefault("activation_ranks", [None] * len(kinds))[k] = rank
        spurious = [z for z, kind in zip(z_columns, kinds, strict=True) if kind == "spurious"]
        for index, member in enumerate(members):
            rows[member]["spuriosity"] = (
                sum(z[index] for z in spurious) / len(spurious) if spurious else None
            )
            rows[member]["spuriosity_rank"] = None
        if spurious:
            by_spuriosity = sorted(members, key=lambda m: (-rows[m]["spuriosity"], m))
            for rank, member in enumerate(by_spuriosity):
                rows[member]["spuriosity_rank"] = rank


def top_features(
    pooled: list[np.ndarray[Any, Any]], predicted: list[int], label: int, weight: Any
) -> list[int]:
    """Return a class's features by falling importance: mean of r_j(x) * W[c, j] over the images
    predicted as the class."""
    chosen = [row for row, guess in zip(pooled, predicted, strict=True) if guess == label]
    importance = np.mean(np.array(chosen, np.float64), axis=0) * np.float64(weight[label])
    return sorted(range(len(importance)), key=lambda j: -importance[j])


Ask = Callable[[Tensor], Tensor]
"""A plain classifier: pixels in [0, 1], (1, 3, size, size), to a logit per label, (1, labels)."""


def examined(
    rows: Iterable[dict[str, Any]],
    ask: Ask,
    size: int,
    resampling: Image.Resampling,
    draws: int,
    draw_noise: Callable[[str, int, int], Tensor],
) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Return what a classifier says of each image under each condition and draw.

    `draw_noise` gives the standard normal noise of an image id and a draw, (size, size, 3).
    """
    found = {}
    for row in rows:
        box = crop_box(row["width"], row["height"])
        shown = np.array(row["image"].resize((size, size), resampling, box=tuple(box)))
        clean = torch.from_numpy(shown).permute(2, 0, 1).float() / 255
        pictures = {("clean", 0): clean}
        for condition, region in regions(row, box).items():
            for draw in range(draws):
                noise = draw_noise(row["image_id"], draw, size).permute(2, 0, 1)
                noisy = clean + 0.25 * resized(region, size) * noise
                pictures[condition, draw] = noisy.clamp(0, 1).float()
        for (condition, draw), picture in pictures.items():
            with torch.no_grad():
                logits = ask(picture[None])[0]
            found[condition, draw, row["image_id"]] = {
                "label": row["label"],
                "spuriosity_rank": row["spuriosity_rank"],
                "predicted": int(logits.argmax()),
                "probability": logits.softmax(0)[row["label"]].item(),
            }
    return found


def accuracy(found: dict[tuple[str, int, str], dict[str, Any]], condition: str) -> float:
    """Return the accuracy under a condition: over draws, then over images, then over classes."""
    classes: dict[int, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for (name, _draw, image_id), row in found.items():
        if name == condition:
            hit = row["predicted"] == row["label"]
            classes[row["label"]][image_id].append(hit)
    of_classes = [
        np.mean([np.mean(hits) for hits in images.values()]) for images in classes.values()
    ]
    return float(np.mean(of_classes))


def gap(found: dict[tuple[str, int, str], dict[str, Any]], k: int) -> float:
    """Return the mean over ranked classes of accuracy on the k most minus k least spurious."""
    classes: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for (name, _draw, _image_id), row in found.items():
        if name == "clean" and row["spuriosity_rank"] is not None:
            hit = row["predicted"] == row["label"]
            classes[row["label"]].append((row["spuriosity_rank"], hit))
    gaps = []
    for images in classes.values():
        hits = [hit for _rank, hit in sorted(images)]
        gaps.append(np.mean(hits[:k]) - np.mean(hits[-k:]))
    return float(np.mean(gaps))


def regions(row: dict[str, Any], box: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return where each condition corrupts an image, in [0, 1] at 224; one without a mask is left
    out."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    shown = {
        name: None if row[name] is None else np.asarray(row[name].cropped(tuple(box), (224, 224)))
        for name in ("core_mask", "spurious_mask")
    }
    core, spurious = shown["core_mask"], shown["spurious_mask"]
    if core is not None and core.any():
        grown = core.copy()
        for _ in range(15):
            padded = np.pad(grown, 2)
            grown = np.max(
                [
                    padded[2 + dy : 226 + dy, 2 + dx : 226 + dx]
                    for dy, dx in [(0, 0), *((d, 0) for d in (-2, -1, 1, 2))]
                    + [(0, d) for d in (-2, -1, 1, 2)]
                ],
                axis=0,
            )
        dilated = grown / grown.max()
        found |= {"core": 1 - dilated, "spurious": dilated, "on_core_mask": core / 255}
    if spurious is not None and spurious.any():
        found["on_spurious_mask"] = spurious / 255
    return found


def resized(region: np.ndarray[Any, Any], size: int) -> Tensor:
    """Return a region at a model's size."""
    area = torch.from_numpy(region).float()[None, None]
    if region.shape[0] != size:
        area = torch.nn.functional.interpolate(area, (size, size), mode="bilinear", antialias=True)
    return area[0]


def along_rankings(
    labels: list[int], ranks: list[int | None], right: list[bool], bins: int
) -> list[float]:
    """Return the mean over classes of the accuracy on each part of a class's ranking.

    An image is in part p if p / bins of its class's images at most, and less than (p + 1) / bins,
    are before it.
    """
    means: list[list[float]] = [[] for _ in range(bins)]
    for label in sorted(set(labels)):
        own = [place for place in range(len(labels)) if labels[place] == label]
        ranking = sorted((rank, place) for place in own if (rank := ranks[place]) is not None)
        for part in range(bins):
            hits = [
                right[place]
                for before, (_rank, place) in enumerate(ranking)
                if part * len(ranking) <= before * bins < (part + 1) * len(ranking)
            ]
            if hits:
                means[part].append(sum(hits) / len(hits))
    return [float(np.mean(own)) if own else float("nan") for own in means]


def descend(
    weight: Tensor, bias: Tensor, values: Tensor, labels: Tensor, rate: float, orders: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Tune a head by SGD with a momentum of 0.9 in batches of 128, the gradient written out.

    `orders` has the order of the images in each epoch.
    """
    moved_weight, moved_bias = torch.zeros_like(weight), torch.zeros_like(bias)
    for order in orders:
        for start in range(0, len(order), 128):
            rows = order[start : start + 128]
            slope = (values[rows] @ weight.T + bias).softmax(1)
            slope -= torch.nn.functional.one_hot(labels[rows], len(bias))
            moved_weight = 0.9 * moved_weight + slope.T @ values[rows] / len(rows)
            moved_bias = 0.9 * moved_bias + slope.sum(0) / len(rows)
            weight, bias = weight - rate * moved_weight, bias - rate * moved_bias
    return weight, bias


def rcs(core: float, spurious: float) -> float:
    """Relative core sensitivity."""
    mean = (core + spurious) / 2
    return 0.0 if mean in (0, 1) else (core - spurious) / (2 * min(mean, 1 - mean))


def pixel_auroc(mask: np.ndarray[Any, Any], places: np.ndarray[Any, Any]) -> float:
    """Return how often a pixel of `places` is brighter than another, ties half: all pairs."""
    others = np.sort(mask[~places])
    below = np.searchsorted(others, mask[places], "left")
    not_above = np.searchsorted(others, mask[places], "right")
    return float((below + not_above).mean() / 2 / len(others))


def pointing(mask: np.ndarray[Any, Any], places: np.ndarray[Any, Any]) -> float:
    """Return the share of the brightest pixels that are in `places`, 0 of an empty mask."""
    brightest = mask == mask.max()
    return float((brightest & places).sum() / brightest.sum()) if mask.max() > 0 else 0.0


def rank_correlation(pairs: list[tuple[int, int]]) -> float:
    """Return Spearman's correlation of pairs without ties, by the differences of their ranks."""
    columns = [sorted(column) for column in zip(*pairs, strict=True)]
    ranks = [[columns[side].index(pair[side]) for side in (0, 1)] for pair in pairs]
    count = len(pairs)
    return 1 - 6 * sum((one - other) ** 2 for one, other in ranks) / (count * (count**2 - 1))


def decoded(picture: bytes) -> np.ndarray[Any, Any]:
    """Return where a PNG is white."""
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("L")) > 127


def core_noise(
    images: Tensor,
    masks: Tensor,
    chances: list[float],
    draw: Tensor,
    probability: float,
    sigma: float,
) -> Tensor:
    """Add noise outside of the core, pixel by pixel."""
    noisy = images.clone()
    for image, channel, y, x in np.ndindex(*images.shape):
        if not masks[image].any() or chances[image] >= probability:
            continue
        here = image, channel, y, x
        away = 1 - float(masks[image, 0, y, x])
        noisy[here] = min(max(float(images[here]) + sigma * away * float(draw[here]), 0.0), 1.0)
    return noisy


def core_swap(images: Tensor, masks: Tensor, chances: list[float], probability: float) -> Tensor:
    """Show images in the surroundings of their neighbours, pixel by pixel."""
    swapped = images.clone()
    for image, channel in np.ndindex(*images.shape[:2]):
        other = image - 1 if image % 2 else image + 1
        if other == len(images) or chances[image] >= probability:
            continue
        if not masks[image].any() or not masks[other].any():
            continue
        away = 1 - masks[other, 0]
        there = images[other, channel]
        colour = float((away * there).sum()) / float(away.sum())
        for y, x in np.ndindex(*there.shape):
            given = float(away[y, x]) * float(there[y, x]) + float(masks[other, 0, y, x]) * colour
            core = float(masks[image, 0, y, x])
            swapped[image, channel, y, x] = core * images[image, channel, y, x] + (1 - core) * given
    return swapped


def saliency_penalty(model: Ask, images: Tensor, labels: Tensor, masks: Tensor) -> float:
    """Return the squared slope of each image's loss outside of the core, by differences."""

    def loss(image: Tensor, label: int) -> float:
        with torch.no_grad():
            logits = model(image[None])[0]
        return float(logits.logsumexp(0) - logits[label])

    step, total = 1e-5, 0.0
    for image, label, mask in zip(images, labels.tolist(), masks, strict=True):
        for channel, y, x in np.ndindex(*image.shape):
            moved = torch.zeros_like(image)
            moved[channel, y, x] = step
            slope = (loss(image + moved, label) - loss(image - moved, label)) / (2 * step)
            if mask.any():
                total += ((1 - float(mask[0, y, x])) * slope) ** 2
    return total / len(images)


def cam_penalty(maps: Tensor, weight: Tensor, labels: Tensor, masks: Tensor) -> float:
    """Return the mean squared class activation outside of the core, for maps of the masks' size."""
    count, channels, height, width = maps.shape
    total = 0.0
    for image, y, x in np.ndindex(count, height, width):
        row = weight[int(labels[image])]
        activation = sum(row[j].item() * maps[image, j, y, x].item() for j in range(channels))
        if masks[image].any():
            total += ((1 - float(masks[image, 0, y, x])) * activation) ** 2
    return total / (count * height * width)


Pixels = set[tuple[int, int]]


def parts_of(mask: np.ndarray[Any, Any]) -> list[Pixels]:
    """Return the parts of a mask that are connected along rows and columns."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    parts = []
    while left:
        part, edge = set(), {min(left)}
        while edge:
            part |= edge
            steps = {(y + dy, x + dx) for y, x in edge for dy, dx in STEPS}
            edge = (steps & left) - part
        left -= part
        parts.append(part)
    return parts


STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def without_object(
    image: Tensor, mask: np.ndarray[Any, Any], as_published: bool = False
) -> dict[str, Tensor]:
    """Return an image, (3, height, width), without its object, in four ways, pixel by pixel."""
    names = ("gray_mask", "gray_box", "tile", "mean_fill")
    removed = {name: image.clone() for name in names}
    parts = parts_of(mask)
    pixels = set().union(*parts)
    less = 1 if as_published else 0
    rows, columns = ([pixel[axis] for pixel in pixels] for axis in (0, 1))
    for y, x in pixels:
        removed["gray_mask"][:, y, x] = 0.5
    for y in range(min(rows), max(rows) + 1 - less):
        for x in range(min(columns), max(columns) + 1 - less):
            removed["gray_box"][:, y, x] = 0.5
    for part in parts:
        _tile(removed["tile"], image, part, pixels, as_published)
        _fill(removed["mean_fill"], image, part, pixels, as_published)
    return removed


def _box(part: Pixels) -> tuple[range, range]:
    rows, columns = ([pixel[axis] for pixel in part] for axis in (0, 1))
    return range(min(rows), max(rows) + 1), range(min(columns), max(columns) + 1)


def _tile(target: Tensor, image: Tensor, part: Pixels, pixels: Pixels, as_published: bool) -> None:
    rows, columns = _box(part)
    sides = []
    # Right, left, below, above.
    for lines, across, step in (
        (columns, rows, 1),
        (columns, rows, -1),
        (rows, columns, 1),
        (rows, columns, -1),
    ):
        place = lines[-1] + 1 if step == 1 else lines[0] - 1
        free: list[int] = []
        while 0 <= place < image.shape[2 if lines is columns else 1] and len(free) < len(lines):
            line = {(y, place) if lines is columns else (place, y) for y in across}
            if line & pixels:
                break
            free = sorted([*free, place])
            place += step
        sides.append((rows, free) if lines is columns else (free, columns))
    best = max(sides, key=lambda side: len(side[0]) * len(side[1]))
    for y in rows:
        for x in columns:
            if not (len(best[0]) and len(best[1])):
                target[:, y, x] = 0.5
            elif as_published:
                # What is a row's number is taken for a column's.
                down, across_ = best[1], best[0]
                source = down[(y - rows[0]) % len(down)], across_[(x - columns[0]) % len(across_)]
                target[:, y, x] = image[:, source[0], source[1]]
            else:
                source = (
                    best[0][(y - rows[0]) % len(best[0])],
                    best[1][(x - columns[0]) % len(best[1])],
                )
                target[:, y, x] = image[:, source[0], source[1]]


def _fill(target: Tensor, image: Tensor, part: Pixels, pixels: Pixels, as_published: bool) -> None:
    rows, columns = _box(part)
    if as_published and len(rows) * len(columns) < 100:
        return
    everywhere = [(y, x) for y in range(image.shape[1]) for x in range(image.shape[2])]
    beside = [(y, x) for y in rows for x in columns if (y, x) not in pixels]
    beside = beside or [place for place in everywhere if place not in pixels]
    for channel in range(3):
        values = [image[channel, y, x].item() for y, x in beside]
        for y, x in part:
            target[channel, y, x] = sum(values) / len(values) if values else 0.5


def noise_on_object(image: Tensor, mask: np.ndarray[Any, Any], normal: Tensor) -> dict[str, Tensor]:
    """Return an image, (3, size, size), with noise on its object, and on all else."""
    found = {}
    on = torch.from_numpy(mask).float()
    for where, region in (("object", on), ("rest", 1 - on)):
        noise = region * normal
        length = math.sqrt(sum(value**2 for value in noise.flatten().tolist()))
        for sigma in (0.125, 0.25, 0.375, 0.5, 0.625, 0.75):
            found[f"{where}_sigma_{sigma}"] = (image + sigma * noise).clamp(0, 1)
        for norm in (30, 60, 90, 120, 150, 180):
            longer = norm * image.shape[-1] / 224 / length * noise if length else noise
            found[f"{where}_norm_{norm}"] = (image + longer).clamp(0, 1)
    return found


def gradcam(
    ask: Ask,
    layer: torch.nn.Module,
    layout: Callable[[Tensor], Tensor],
    image: Tensor,
    label: int,
) -> np.ndarray[Any, Any]:
    """Return GradCAM of a class, for an image (1, 3, size, size) as the model takes it.

    Both steps that scale it are those of pytorch-grad-cam.
    """
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    logit = ask(image.requires_grad_())[0, label]
    handle.remove()
    (gradient,) = torch.autograd.grad(logit, seen)
    maps, slopes = layout(seen[0])[0], layout(gradient)[0]
    cam = sum(slope.mean() * one for slope, one in zip(slopes, maps, strict=True))
    cam = torch.relu(torch.as_tensor(cam))
    cam = (cam - cam.min()) / (1e-7 + (cam - cam.min()).max())
    size = image.shape[2:]
    large = torch.nn.functional.interpolate(cam[None, None], size, mode="bilinear")[0, 0]
    large = (large - large.min()) / (1e-7 + (large - large.min()).max())
    return np.asarray(large.detach().numpy())


def alignment(cam: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> tuple[float, float, float]:
    """Return IoU, Dice and the difference of densities, pixel by pixel."""
    both = either = hot = drawn = 0
    inside: list[float] = []
    outside: list[float] = []
    for place in np.ndindex(*mask.shape):
        is_hot, is_object = bool(cam[place] >= 0.5), bool(mask[place])
        both += is_hot and is_object
        either += is_hot or is_object
        hot, drawn = hot + is_hot, drawn + is_object
        (inside if is_object else outside).append(float(cam[place]))
    density = sum(inside) / len(inside) - sum(outside) / len(outside) if outside else math.nan
    return both / (either + 1e-10), 2 * both / (hot + drawn + 1e-10), density


def nipals(
    features: np.ndarray[Any, Any], supervision: np.ndarray[Any, Any], components: int
) -> np.ndarray[Any, Any]:
    """Return the rotations of partial least squares, by a singular vector per component."""
    x, y = features.copy(), supervision.copy()
    weights, loadings = [], []
    for _ in range(components):
        weight = np.linalg.svd(x.T @ y)[0][:, 0]
        score = x @ weight
        x_loading, y_loading = x.T @ score / (score @ score), y.T @ score / (score @ score)
        x, y = x - np.outer(score, x_loading), y - np.outer(score, y_loading)
        weights.append(weight)
        loadings.append(x_loading)
    w, p = np.array(weights).T, np.array(loadings).T
    return np.asarray(w @ np.linalg.inv(p.T @ w))


def dim_scores(
    features: np.ndarray[Any, Any],
    losses: np.ndarray[Any, Any],
    components: int,
    loss_weight: float,
) -> np.ndarray[Any, Any]:
    """Return the cosine of each image with each component of DIM, one by one, but for signs."""
    shown = np.array([row / math.sqrt(sum(row**2)) for row in features.astype(float)])
    mean, spread = shown.mean(0), shown.std(0, ddof=1)
    spread[shown.max(0) == shown.min(0)] = 1
    x = (shown - mean) / spread
    columns = [
        math.sqrt(loss_weight / losses.shape[1]) * (own.mean() - own) / own.std(ddof=1)
        for own in losses.T
    ]
    columns += [own / math.sqrt(x.shape[1]) for own in x.T]
    rotations = nipals(x, np.array(columns).T, components)
    found = []
    for row in shown:
        own = []
        for rotation in rotations.T:
            direction = rotation / spread
            length = math.sqrt(sum((row - mean) ** 2)) * math.sqrt(sum(direction**2))
            own.append(float((row - mean) @ direction) / length)
        found.append(own)
    return np.array(found)


def soft_weights(memberships: list[list[float]], labels: list[int]) -> list[float]:
    """Return how likely each image is drawn: all subgroups of all classes weigh the same."""
    found = []
    for row, label in zip(memberships, labels, strict=True):
        total = 0.0
        for group, value in enumerate(row):
            mass = sum(
                other[group] for other, its in zip(memberships, labels, strict=True) if its == label
            )
            total += value * len(labels) / mass if mass else 0.0
        found.append(total)
    return [value / sum(found) for value in found]


def group_dro(
    q: dict[tuple[int, int], float],
    losses: list[float],
    labels: list[int],
    memberships: list[list[float]],
    step: float,
) -> tuple[float, dict[tuple[int, int], float]]:
    """Return the loss of a batch by group DRO, and what (label, subgroup) weigh after it."""
    means = {}
    for label, group in q:
        own = [
            (row[group], loss)
            for row, loss, its in zip(memberships, losses, labels, strict=True)
            if its == label
        ]
        mass = sum(g for g, _ in own)
        means[label, group] = sum(g * loss for g, loss in own) / mass if mass else 0.0
    raised = {name: value * math.exp(step * means[name]) for name, value in q.items()}
    new = {name: value / sum(raised.values()) for name, value in raised.items()}
    return sum(new[name] * means[name] for name in q), new
