"""Truth on real images: how the masks of a network lie on the objects that people drew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from builder.dataset.configs import SEGMENTATIONS
from builder.dataset.dataset import DataSet
from builder.dataset.metrics import mask_auroc, points_into, spearman
from builder.dataset.object_mask import read_object_mask
from builder.dataset.upsampling import kind_masks
from builder.threads import in_threads, usable_cores
from salient_imagenet_1m import CROP_SIZE, crop_box, unpack_grids

Bools = NDArray[np.bool_]

_COLUMNS = [
    *("image_id", "label", "width", "height", "kinds", "grids", "grid_height", "grid_width"),
    "spuriosity_rank",
]


@dataclass(frozen=True)
class Localisation:
    """How the masks of a kind lie: core ones are to lie on the object, spurious ones off it.

    Means over the images that have a mask of the kind, and object and other pixels in the box.

    Attributes
    ----------
    images : int
        Those images.
    auroc : float
        The probability that a pixel where the mask is to lie is brighter in it than another.
    pointing : float
        The share of a mask's brightest pixels that are where it is to lie.
    chance : float
        The share of all pixels that are: what a random pixel scores in pointing.
    """

    images: int
    auroc: float
    pointing: float
    chance: float


@dataclass(frozen=True)
class RankAgreement:
    """How our ranking agrees with that of the release.

    Attributes
    ----------
    classes : int
        Of which several images have both ranks.
    correlation : float
        Spearman's, of spuriosity rank and release rank within a class; the mean over classes.
    """

    classes: int
    correlation: float


@dataclass(frozen=True)
class Truth:
    """How masks and ranks of a split agree with its object masks; None where nothing is to compare.

    Attributes
    ----------
    core, spurious : Localisation, optional
        On the 224 x 224 pixels of the box.
    ranks : RankAgreement, optional
    """

    core: Localisation | None
    spurious: Localisation | None
    ranks: RankAgreement | None


def measure_truth(data: DataSet, split: str) -> Truth:
    """Hold the masks of a split against its object masks.

    Parameters
    ----------
    data : DataSet
        With the config ``segmentations`` of the split.
    split : str
    """
    scores: defaultdict[str, list[_Score]] = defaultdict(list)
    ranks: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for row, found in in_threads(segmented_rows(data, split), _scored, usable_cores()):
        for kind, score in found.items():
            scores[kind].append(score)
        if row["spuriosity_rank"] is not None and row["release_rank"] is not None:
            ranks[row["label"]].append((row["spuriosity_rank"], row["release_rank"]))
    return Truth(
        _localisation(scores["core"]),
        _localisation(scores["spurious"]),
        _agreement(list(ranks.values())),
    )


class _Score(NamedTuple):
    """How a mask lies; see `Localisation`."""

    auroc: float
    pointing: float
    chance: float


def _localisation(scores: list[_Score]) -> Localisation | None:
    return Localisation(len(scores), *map(float, np.mean(scores, axis=0))) if scores else None


def _agreement(ranks: list[list[tuple[int, int]]]) -> RankAgreement | None:
    pairs = (np.array(own, np.float64).T for own in ranks)
    found = [value for own in pairs if not np.isnan(value := spearman(*own))]
    return RankAgreement(len(found), float(np.mean(found))) if found else None


def truth_figures(truth: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what there is to tell people of a `Truth` in a manifest, each figure with its name."""
    for kind, place in (("core", "on the object"), ("spurious", "off the object")):
        found = truth[kind]
        if found:
            yield f"images with a {kind} mask", f"{found['images']:,}"
            yield f"{kind} mask {place}, AUROC of its pixels", f"{found['auroc']:.3f}"
            yield (
                f"{kind} mask {place}, its brightest pixels",
                f"{found['pointing']:.3f} (chance {found['chance']:.3f})",
            )
    ranks = truth["ranks"]
    if ranks:
        name = "spuriosity rank and the release's, Spearman"
        yield name, f"{ranks['correlation']:.3f} ({ranks['classes']:,} classes)"


def segmented_rows(data: DataSet, split: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``masks`` that have an object mask, with the columns of that."""
    names = (data.files(config, split) for config in ("masks", SEGMENTATIONS))
    for masks, segmentations in zip(*names, strict=True):
        with data.parquet(segmentations) as file:
            objects = {row["image_id"]: row for row in file.read().to_pylist()}
        with data.parquet(masks) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, _COLUMNS)
                wanted = pc.is_in(rows["image_id"], pa.array(objects, pa.string()))
                for row in rows.filter(wanted).to_pylist():
                    yield row | objects[row["image_id"]]


def object_in_box(is_object: Bools) -> Bools:
    """Return where the object is in what the network saw, (224, 224): at each pixel's centre."""
    height, width = is_object.shape
    box = crop_box(width, height)
    rows = _centres(box.top, box.bottom, height)
    return np.asarray(is_object[rows][:, _centres(box.left, box.right, width)])


def _centres(start: float, stop: float, size: int) -> NDArray[np.int64]:
    step = (stop - start) / CROP_SIZE
    places = np.floor(start + (np.arange(CROP_SIZE) + 0.5) * step)
    return np.asarray(np.clip(places, 0, size - 1).astype(np.int64))


def _scored(row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, _Score]]:
    is_object = object_in_box(read_object_mask(row["object_mask"]["bytes"]))
    if is_object.all() or not is_object.any():
        return row, {}
    grids = unpack_grids(row["grids"], row["grid_height"], row["grid_width"])
    masks = kind_masks(grids, row["kinds"])
    wanted = {"core": is_object, "spurious": ~is_object}
    return row, {
        kind: _Score(
            auroc=mask_auroc(mask, wanted[kind]),
            pointing=points_into(mask, wanted[kind]),
            chance=float(wanted[kind].mean()),
        )
        for kind, mask in masks.items()
        if mask is not None
    }
