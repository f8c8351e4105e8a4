from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from builder.images.content import Content, digest_of
from builder.images.loader import Batch, Loader
from builder.images.plan import make_plan
from builder.images.sources import LARGEST_FILE, Images, open_images
from tests.images.test_sources import HUB, TRAIN, WNIDS, make_folder, make_tar, write_parquet


def open_split(source: Path) -> Images:
    return open_images(str(source), "train", lambda count: None)


def test_a_digest_is_the_beginning_of_sha256sum_s() -> None:
    assert digest_of(b"an otter") == hashlib.sha256(b"an otter").hexdigest()[:16]


def test_a_file_s_stamp_changes_with_its_size_and_its_time(tmp_path: Path) -> None:
    images = open_split(make_folder(tmp_path, TRAIN))
    file = tmp_path / images.paths[0].as_py()
    stamps = [images.stat(0).stamp]
    os.utime(file, ns=(0, 1))
    stamps.append(images.stat(0).stamp)
    file.write_bytes(b"")
    os.utime(file, ns=(0, 1))
    stamps.append(images.stat(0).stamp)
    assert len({*stamps}) == 3
    assert images.stat(0).size == 0


def test_all_of_a_tar_have_its_stamp_and_their_own_size(tmp_path: Path) -> None:
    (tmp_path / "train.tar").write_bytes(make_tar(TRAIN))
    images = open_split(tmp_path / "train.tar")
    stats = [images.stat(index) for index in range(len(images.paths))]
    assert [stat.size for stat in stats] == [len(TRAIN[path]) for path in images.paths.to_pylist()]
    assert len({stat.stamp for stat in stats}) == 1
    os.utime(tmp_path / "train.tar", ns=(0, 1))
    assert open_split(tmp_path / "train.tar").stat(0).stamp != stats[0].stamp


def test_a_dataset_has_sizes_and_no_stamps(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    write_parquet(tmp_path / "train.parquet", HUB, label=[0, 0, 1])
    images = open_split(tmp_path)
    stats = [images.stat(index) for index in range(len(HUB))]
    assert stats == [(len(data), None) for data in HUB.values()]


def load(images: Images) -> list[tuple[str, str]]:
    """Load all images in a batch, and return why each was set aside."""
    plan = make_plan(images, dict.fromkeys(WNIDS, 0), "train", seed=0, limit=None, shard_size=None)
    loaded = Loader(images, plan)(Batch(0, plan.order))
    return [(image.reason, image.detail) for image in loaded.set_aside]


@pytest.mark.parametrize("in_a_tar", [False, True])
def test_a_file_that_is_too_large_is_set_aside_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_a_tar: bool
) -> None:
    files = {f"{WNIDS[0]}/large.JPEG": bytes(1001), f"{WNIDS[0]}/small.JPEG": bytes(1000)}
    if in_a_tar:
        (tmp_path / "train.tar").write_bytes(make_tar(files))
    images = open_split(tmp_path / "train.tar" if in_a_tar else make_folder(tmp_path, files))
    read, place = images.read, images.paths.to_pylist().index(f"{WNIDS[0]}/large.JPEG")

    def only_the_small_one(index: int) -> bytes:
        assert index != place
        return read(index)

    monkeypatch.setattr(images, "read", only_the_small_one)
    monkeypatch.setattr("builder.images.loader.LARGEST_FILE", 1000)
    reasons = dict(load(images))
    assert reasons.keys() == {"too_large", "not_an_image"}
    assert reasons["too_large"] == "the file has 1001 bytes, more than 1000"


def test_a_sparse_file_of_gigabytes_costs_nothing(tmp_path: Path) -> None:
    make_folder(tmp_path, {f"{WNIDS[0]}/huge.JPEG": b""})
    os.truncate(tmp_path / WNIDS[0] / "huge.JPEG", 10 * LARGEST_FILE)
    assert [reason for reason, _ in load(open_split(tmp_path))] == ["too_large"]


def test_a_loaded_batch_tells_the_contents_of_usable_images(tmp_path: Path) -> None:
    make_folder(tmp_path, {f"{WNIDS[0]}/a.png": b"no image", f"{WNIDS[0]}/b.gif": GIF})
    images = open_split(tmp_path)
    plan = make_plan(images, dict.fromkeys(WNIDS, 0), "train", seed=0, limit=None, shard_size=None)
    loaded = Loader(images, plan)(Batch(0, np.array([0, 1])))
    assert loaded.members.tolist() == [1]
    assert loaded.contents == [Content(len(GIF), digest_of(GIF), images.stat(1).stamp)]


GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00"
    b"\x00\x02\x02D\x01\x00;"
)
"""One pixel."""
