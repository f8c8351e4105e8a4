"""Object masks: whether they are of the images, and what is said of them follows from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from builder.dataset.configs import SEGMENTATIONS
from builder.dataset.dataset import DataSet
from builder.dataset.layout import MASKS_SET_ASIDE_FILE
from builder.dataset.object_mask import Bools, distance_from_centre, read_object_mask
from builder.dataset.truth import measure_truth, truth_figures
from builder.errors import first_line
from builder.threads import in_threads, usable_cores

TOLERANCE = 1e-6
"""Of recomputed figures: another processor may round a pixel of a mask the other way."""


def object_masks_are_of_the_images(data: DataSet) -> Iterator[str]:
    """Yield object masks that are not of a row of masks, or not what their row says."""
    for split in data.splits_of(SEGMENTATIONS):
        names = (data.files(config, split) for config in ("masks", SEGMENTATIONS))
        for masks, segmentations in zip(*names, strict=True):
            with data.parquet(masks) as file:
                images = file.read(["image_id", "label", "width", "height"])
            with data.parquet(segmentations) as file:
                rows = file.read()
            places = pc.index_in(rows["image_id"], images["image_id"]).to_numpy()
            if np.isnan(places.astype(np.float64)).any() or (np.diff(places) <= 0).any():
                yield f"{segmentations} has other images than {masks}, or another order"
                continue
            beside = images.take(pa.array(places)).to_pylist()
            pairs = zip(rows.to_pylist(), beside, strict=True)
            for fault in in_threads(pairs, _first_fault, usable_cores()):
                if fault:
                    yield f"{fault} ({segmentations})"


def _first_fault(pair: tuple[dict[str, Any], dict[str, Any]]) -> str | None:
    row, image = pair
    try:
        is_object = read_object_mask(row["object_mask"]["bytes"])
    except (OSError, ValueError, SyntaxError, TypeError) as error:
        return f"{row['image_id']} has an object mask that cannot be read ({first_line(error)})"
    fault = next(_faults(row, image, is_object), None)
    return fault and f"{row['image_id']} has {fault}"


def _faults(row: dict[str, Any], image: dict[str, Any], is_object: Bools) -> Iterator[str]:
    """Yield what is wrong with a row of segmentations, beside that of masks."""
    if row["label"] != image["label"]:
        yield "another label than in masks"
    if is_object.shape != (image["height"], image["width"]):
        yield "an object mask of another size than its image"
    if not is_object.any():
        yield "an object mask without an object"
    told = row["area"], row["distance"]
    if not np.allclose(told, (is_object.mean(), distance_from_centre(is_object)), 0, TOLERANCE):
        yield "an area or a distance that is not its object's"
    if row["release_rank"] is not None and row["release_rank"] < 0:
        yield "a release rank below 0"


def figures_of_object_masks_are_right(data: DataSet) -> Iterator[str]:
    """Yield what the manifest says of object masks otherwise than the rows."""
    told = data.manifest.additions.get(SEGMENTATIONS)
    splits = data.splits_of(SEGMENTATIONS)
    if not told:
        if splits:
            yield "the manifest does not tell where the object masks are from"
        return
    if sorted(told["splits"]) != splits:
        yield f"object masks are of {', '.join(splits)}, not of {', '.join(told['splits'])}"
        return
    rows = {split: sum(map(len, data.tables(SEGMENTATIONS, split, ["label"]))) for split in splits}
    for split, count in rows.items():
        if told["splits"][split]["rows"] != count:
            yield f"{split} has {count} object masks, not {told['splits'][split]['rows']}"
        if not _are_close(told["splits"][split]["truth"], asdict(measure_truth(data, split))):
            yield f"how masks lie on the objects of {split} is not what the manifest says"
    set_aside = _set_aside(data)
    if told["set_aside"] != dict(set_aside):
        yield f"{set_aside.total()} masks are set aside, not those that the manifest counts"
    if told["given"] != sum(rows.values()) + set_aside.total():
        yield f"of {told['given']} masks some are neither in the data set nor set aside"


def figures(data: DataSet) -> Iterator[str]:
    """Yield what the manifest says of how masks lie on the objects, which has been checked."""
    told = data.manifest.additions.get(SEGMENTATIONS, {"splits": {}})
    for split, part in told["splits"].items():
        for name, value in truth_figures(part["truth"]):
            yield f"{name}, {split}: {value}"


def _set_aside(data: DataSet) -> Counter[str]:
    if MASKS_SET_ASIDE_FILE not in data.manifest.files:
        return Counter()
    with data.parquet(MASKS_SET_ASIDE_FILE) as file:
        return Counter(file.read(["reason"])["reason"].to_pylist())


def _are_close(told: Any, found: Any) -> bool:
    """Return whether two tables hold the same, but for rounding."""
    if isinstance(found, dict):
        same_keys = isinstance(told, dict) and told.keys() == found.keys()
        return same_keys and all(_are_close(told[key], found[key]) for key in found)
    if isinstance(found, float):
        return isinstance(told, float) and abs(told - found) <= TOLERANCE
    return bool(told == found)
