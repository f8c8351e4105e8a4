"""How masks lie on objects, against a slow re-implementation, and where the answer is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builder.dataset.dataset import DataSet
from builder.dataset.manifest import Manifest
from builder.dataset.truth import (
    Localisation,
    Truth,
    measure_truth,
    object_in_box,
    segmented_rows,
    truth_figures,
)
from builder.dataset.upsampling import upsample
from salient_imagenet_1m import crop_box, unpack_grids
from tests import reference
from tests.built import load


@pytest.fixture
def data(segmented: Path) -> DataSet:
    manifest = Manifest.load(segmented)
    assert manifest
    return DataSet(manifest, segmented)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_truth_is_the_reference_s(data: DataSet, segmented: Path, split: str) -> None:
    objects = {row["image_id"]: row for row in load(segmented, "segmentations", split)}
    scores: dict[str, list[tuple[float, float, float]]] = {"core": [], "spurious": []}
    ranks: dict[int, list[tuple[int, int]]] = {}
    for row in load(segmented, "masks", split):
        drawn = objects[row["image_id"]]
        is_object = box_of(np.asarray(drawn["object_mask"]))
        grids = unpack_grids(row["grids"], row["grid_height"], row["grid_width"])
        for kind, places in {"core": is_object, "spurious": ~is_object}.items():
            chosen = [g for g, other in zip(grids, row["kinds"], strict=True) if other == kind]
            if chosen and 0 < is_object.sum() < is_object.size:
                mask = np.rint(upsample(np.stack(chosen), 224, 224)).max(axis=0)
                scores[kind].append(
                    (
                        reference.pixel_auroc(mask, places),
                        reference.pointing(mask, places),
                        float(places.mean()),
                    )
                )
        if row["spuriosity_rank"] is not None and drawn["release_rank"] is not None:
            pair = row["spuriosity_rank"], drawn["release_rank"]
            ranks.setdefault(row["label"], []).append(pair)
    found = measure_truth(data, split)
    for kind, expected in scores.items():
        score = getattr(found, kind)
        assert score.images == len(expected) > 5
        assert (score.auroc, score.pointing, score.chance) == pytest.approx(
            np.mean(expected, axis=0)
        )
    if split == "validation":
        assert found.ranks is None
    else:
        correlations = [reference.rank_correlation(pairs) for pairs in ranks.values()]
        assert found.ranks
        assert found.ranks.classes == len(correlations) == 2
        assert found.ranks.correlation == pytest.approx(np.mean(correlations))


def box_of(mask: Any) -> Any:
    """Return what the network saw of an object mask, pixel by pixel."""
    height, width = mask.shape
    box = crop_box(width, height)
    rows = [int(box.top + (y + 0.5) * (box.bottom - box.top) / 224) for y in range(224)]
    columns = [int(box.left + (x + 0.5) * (box.right - box.left) / 224) for x in range(224)]
    return np.stack([mask[row, columns] for row in rows])


@pytest.mark.parametrize(("height", "width"), [(375, 500), (64, 80), (300, 300), (1, 1)])
def test_the_box_is_seen_at_its_pixels_centres(height: int, width: int) -> None:
    mask = np.random.default_rng(0).random((height, width)) < 0.5
    assert np.array_equal(object_in_box(mask), box_of(mask))


def test_masks_that_are_the_objects_lie_on_them(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A core mask that is the object scores 1, and as a spurious mask 0."""
    objects = {
        row["grids"]: object_in_box(reference.decoded(row["object_mask"]["bytes"]))
        for row in segmented_rows(data, "train")
    }

    def perfect(grids: Any, kinds: list[str]) -> dict[str, Any]:
        mask = np.where(objects[grids.tobytes()], 255, 0).astype(np.uint8)
        return {"core": mask, "spurious": mask}

    monkeypatch.setattr("builder.dataset.truth.kind_masks", perfect)
    found = measure_truth(data, "train")
    assert found.core
    assert found.spurious
    assert (found.core.auroc, found.core.pointing) == (1, 1)
    assert (found.spurious.auroc, found.spurious.pointing) == (0, 0)
    assert found.core.chance == pytest.approx(1 - found.spurious.chance)


def test_only_what_there_is_is_told() -> None:
    nothing = Truth(None, None, None)
    assert list(truth_figures(dataclasses.asdict(nothing))) == []
    some = dataclasses.replace(nothing, core=Localisation(3, 0.9, 0.8, 0.1))
    assert dict(truth_figures(dataclasses.asdict(some))) == {
        "images with a core mask": "3",
        "core mask on the object, AUROC of its pixels": "0.900",
        "core mask on the object, its brightest pixels": "0.800 (chance 0.100)",
    }
