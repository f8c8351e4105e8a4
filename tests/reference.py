"""Slow, obvious re-implementations, one image and one pixel at a time, from the definitions."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

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


def regions(row: dict[str, Any], box: Any) -> dict[str, np.ndarray[Any, Any] | None]:
    """Return where each condition corrupts an image, in [0, 1] at 224, None without a mask."""
    found: dict[str, np.ndarray[Any, Any] | None] = {}
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


def rcs(core: float, spurious: float) -> float:
    """Relative core sensitivity."""
    mean = (core + spurious) / 2
    return 0.0 if mean in (0, 1) else (core - spurious) / (2 * min(mean, 1 - mean))
