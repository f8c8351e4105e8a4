"""Image ids and the index that finds rows by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import salient_imagenet_1m as si


def test_keys_are_written_to_disk_so_they_stay() -> None:
    assert si._key("n01440764_10026") == 1440764 << 32 | 10026
    assert si._key("ILSVRC2012_val_00000293") == 1 << 60 | 293
    assert si._key("ILSVRC2012_test_00000293") == 1 << 61 | 293
    assert si._key("felix") == 0xE02234F3A2CEF992
    # A leading zero is another name, not another spelling of the same.
    assert si._key("n01440764_010026") != si._key("n01440764_10026")


def test_index_finds_all_names_and_no_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wnids = rng.integers(1_000_000, 15_000_000, 50)
    names = [f"n{wnid:08d}_{number}" for wnid in wnids for number in rng.integers(0, 99999, 20)]
    names = sorted({*names, *(f"ILSVRC2012_val_{n:08d}" for n in range(1, 300)), "tench", "a b"})
    rng.shuffle(names)
    si._Index.write(tmp_path, names)
    index = si._Index(tmp_path)
    np.testing.assert_array_equal(index.find(names), np.arange(len(names)))
    others = ["n99999999_1", "ILSVRC2012_val_00000300", "tench2", ""]
    assert index.find(others).tolist() == [-1] * len(others)


def test_empty_index(tmp_path: Path) -> None:
    si._Index.write(tmp_path, [])
    assert si._Index(tmp_path).find(["tench"]).tolist() == [-1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/n01440764/n01440764_10026.JPEG", "n01440764_10026"),
        ("n01440764_10026_n01440764.JPEG", "n01440764_10026"),
        ("ILSVRC2012_val_00000293_n01440764.JPEG", "ILSVRC2012_val_00000293"),
        ("C:\\imagenet\\val\\ILSVRC2012_val_00000293.jpg", "ILSVRC2012_val_00000293"),
        ("n01440764_10026", "n01440764_10026"),
        ("pets/cats/felix.the.cat.png", "cats/felix.the.cat"),
        ("cats\\felix.jpg", "cats/felix"),
        ("felix.jpg", "felix"),
        ("cats/felix", "cats/felix"),
    ],
)
def test_image_ids(name: str, expected: str) -> None:
    assert si.image_id(name) == expected
