"""A built data set held against the slow reference, column by column."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
import yaml
from datasets import load_dataset
from torchvision import transforms

from builder.dataset.upsampling import upsample
from salient_imagenet_1m import image_id, unpack_grids
from tests import reference

ONE_LEVEL = 1
"""Folding and channels-last change the last bits of a map, so a grid may round the other way."""


def load(out: Path, config: str, split: str) -> list[dict[str, Any]]:
    """Return the rows of a config, as anybody loads them.

    The card of 1,000 classes is a long one: the parser in C reads it in a tenth of the seconds.
    """
    with mock.patch("yaml.SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        return list(load_dataset(str(out), config, split=split, streaming=True))


def hashes(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a directory, by its path in it."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def check_build(
    out: Path,
    split: str,
    folder: Path,
    votes: Path,
    labels: dict[str, int],
    forward: reference.Forward,
    mean: list[float],
    std: list[float],
) -> None:
    """Hold every row and every column of a split against the reference.

    `folder` holds the images, `<wnid>/*`; all of them must have become rows.
    """
    published = load(out, "masks", split)
    pairs = reference.votes_of(votes)
    normalize = transforms.Normalize(mean, std)
    paths = {
        image_id(path.relative_to(folder).as_posix()): path for path in sorted(folder.glob("*/*"))
    }
    rows = {
        name: reference.image_row(
            path,
            labels[path.parent.name],
            pairs[labels[path.parent.name]],
            forward,
            normalize,
        )
        for name, path in paths.items()
    }
    assert sorted(row["image_id"] for row in published) == sorted(paths)
    reference.add_scores(rows, {row["image_id"]: row["activations"] for row in published})
    for row in published:
        check_row(row, rows[row["image_id"]])
    check_rankings(out, split, rows)
    check_pairs(out, split, rows, pairs)


def check_row(row: dict[str, Any], expected: dict[str, Any]) -> None:
    """Hold a row of the config masks against the reference."""
    for name in ("label", "width", "height", "features", "kinds", "activation_ranks", "predicted"):
        assert row[name] == expected[name], name
    for name in ("activations", "peaks"):
        assert row[name] == as_float32(expected[name], max(expected["peaks"])), name
    grids = unpack_grids(row["grids"], row["grid_height"], row["grid_width"])
    assert np.abs(grids.astype(int) - np.array(expected["grids"], int)).max() <= ONE_LEVEL
    check_union(row["core_mask"], grids, row["kinds"], "core")
    check_union(row["spurious_mask"], grids, row["kinds"], "spurious")
    assert row["spuriosity_rank"] == expected["spuriosity_rank"]
    assert row["spuriosity"] == pytest.approx(expected["spuriosity"], abs=1e-9)
    check_rendering(grids, np.array(expected["nams"]))


def as_float32(expected: Any, largest: float) -> Any:
    """Return what equals values of maps up to float32 rounding.

    Convolutions that add in another order differ by that of the largest terms they add, of which
    a small value may be the difference; each processor has an order of its own.
    """
    return pytest.approx(expected, rel=1e-3, abs=1e-5 * largest)


def check_union(image: Any, grids: Any, kinds: list[str], kind: str) -> None:
    """A union PNG is exactly the maximum of the grids beside it."""
    chosen = [grid for grid, other in zip(grids, kinds, strict=True) if other == kind]
    if not chosen:
        assert image is None
        return
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), np.max(chosen, axis=0))


def check_rendering(grids: Any, nams: Any) -> None:
    """Masks at 224 are within 1.5/255 of the float maps as the papers' code upsamples them."""
    for grid, nam in zip(grids, nams, strict=True):
        if nam.max() > 0:
            expected = cv2.resize(np.maximum(nam, 0) / nam.max(), (224, 224))
            assert np.abs(upsample(grid, 224, 224) / 255 - expected).max() <= 1.5 / 255


def check_rankings(out: Path, split: str, rows: dict[str, dict[str, Any]]) -> None:
    """The config rankings is the masks' ranks, sorted."""
    expected = sorted(
        (row["label"], row["spuriosity_rank"], image_id)
        for image_id, row in rows.items()
        if row["spuriosity_rank"] is not None
    )
    found = load(out, "rankings", split)
    assert [(row["label"], row["spuriosity_rank"], row["image_id"]) for row in found] == expected
    for row in found:
        assert row["spuriosity"] == pytest.approx(rows[row["image_id"]]["spuriosity"], abs=1e-9)


def check_pairs(
    out: Path, split: str, rows: dict[str, dict[str, Any]], pairs: dict[int, list[dict[str, Any]]]
) -> None:
    """The config features has each class's statistics."""
    found = load(out, "features", split)
    expected = [(label, pair) for label in sorted(pairs) for pair in pairs[label]]
    assert len(found) == len(expected)
    for row, (label, pair) in zip(found, expected, strict=True):
        assert (row["label"], row["feature"]) == (label, pair["feature"])
        assert (row["rank"], row["kind"]) == (pair["rank"], pair["kind"])
        images = [image for image in rows.values() if image["label"] == label]
        values = [image["activations"][pair["rank"] - 1] for image in images]
        if values:
            largest = max(max(image["peaks"]) for image in images)
            assert row["activation_mean"] == as_float32(np.mean(values), largest)
            assert row["activation_std"] == as_float32(np.std(values), largest)
        else:
            assert row["activation_mean"] is None
            assert row["activation_std"] is None
