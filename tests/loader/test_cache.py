"""What is kept in the cache is made anew when build, images or its own files have changed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

import salient_imagenet_1m as si
from tests.loader.conftest import World


def ids(dataset: Any) -> list[str]:
    return list(dataset["image_id"][:])


# Prepared datasets


@pytest.fixture
def other(world: World, tmp_path: Path) -> World:
    """A copy of the world whose manifest tells how many images each class has."""
    copy = world.copy(tmp_path)
    path = copy.build / "manifest.json"
    manifest = json.loads(path.read_text())
    counts = {str(label): 10 for label in range(4)}
    manifest["splits"]["train"] = {"counts": {"images_by_label": counts}}
    path.write_text(json.dumps(manifest))
    return copy


def away(world: World, rows: list[int]) -> Callable[[], None]:
    """Take the images of rows away; return what brings them back."""
    paths = [world.path(world.rows["train"][row]) for row in rows]
    for path in paths:
        path.rename(path.with_name(f".{path.name}.away"))

    def back() -> None:
        for path in paths:
            path.with_name(f".{path.name}.away").rename(path)

    return back


def test_images_that_come_back_are_not_left_out(other: World) -> None:
    options: dict[str, Any] = {"images": other.images, "split": "train", "on_missing": "skip"}
    back = away(other, [0, 7, 20])
    assert si.load(other.build, **options).num_rows == 37
    back()
    assert ids(si.load(other.build, **options)) == other.ids()


def test_what_a_prepared_dataset_lacks_is_said_again(
    other: World, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"images": other.images, "split": "train", "on_missing": "skip"}
    away(other, [0, 7, 20])
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert si.load(other.build, **options).num_rows == 37
        assert "3 images of the split train are left out." in caplog.text


def test_images_that_went_are_said_to_be_missing(other: World) -> None:
    options: dict[str, Any] = {"images": other.images, "split": "train"}
    loaded = si.load(other.build, **options)
    away(other, [0])
    name = other.ids()[0]
    with pytest.raises(si.SalientImageNetError, match=rf"1 of the images .* not in .*{name}"):
        si.load(other.build, **options)
    with pytest.raises(si.SalientImageNetError, match=rf"{name}.JPEG is missing, though it was"):
        loaded[0]
    stream = si.load(other.build, on_missing="skip", streaming=True, **options)
    assert [row["image_id"] for row in stream] == other.ids()[1:]


def test_a_tar_that_changed_is_read_again(world: World, official_tar: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(official_tar, tmp_path))
    options: dict[str, Any] = {"split": "train", "decode": False}
    first = si.load(world.build, images=tmp_path, **options)[0]["image"]["bytes"]
    place = path.read_bytes().index(first)
    with path.open("r+b") as file:
        file.seek(place + len(first) - 2)
        file.write(b"xy")
    assert si.load(world.build, images=tmp_path, **options)[0]["image"]["bytes"][-2:] == b"xy"


def test_a_copy_of_another_size_is_found_where_sizes_are_kept(other: World) -> None:
    options: dict[str, Any] = {"images": other.images, "split": "train", "on_mismatch": "skip"}
    assert si.load(other.build, **options).num_rows == 40
    path = other.path(other.rows["train"][0])
    path.write_bytes(other.path(other.rows["train"][1]).read_bytes())
    assert si.load(other.build, **options).num_rows == 39


def test_folders_behind_links_are_looked_at(other: World, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for folder in (other.images / "train").iterdir():
        (linked / folder.name).symlink_to(folder)
    (other.images / "train" / "loop").symlink_to(linked)
    before = si._contents(linked, "train", each_file=False)
    assert si._contents(linked, "train", each_file=False) == before
    away(other, [0])
    assert si._contents(linked, "train", each_file=False) != before


def test_a_stream_does_not_look_through_the_images(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(si, "_contents", None)
    stream = si.load(world.build, images=world.images, split="train", streaming=True)
    assert len(list(stream)) == 40


# Indices


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    """Write to a file, which keeps its size."""
    content = path.read_bytes()
    path.write_bytes(content[:-4] + bytes(255 - byte for byte in content[-4:]))


def nest(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [truncate, empty, garble, nest, Path.unlink, become_a_folder]
FILES = {
    "dataset": ["keys.npy", "rows.npy", "labels.npy", "rows.arrow", "wnids.json", "complete.txt"],
    "tar": ["keys.npy", "rows.npy", "spans.npy", "complete.txt"],
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_index_is_made_anew(
    world: World,
    official_tar: Path,
    tmp_path: Path,
    kind: str,
    damage: Callable[[Path], None],
) -> None:
    folder = datasets.load_dataset("imagefolder", data_dir=world.images / "train", split="train")
    images = {"dataset": folder, "tar": str(official_tar)}[kind]

    def load() -> list[str]:
        stream = si.load(
            world.build, images=images, split="train", streaming=True, cache_dir=tmp_path
        )
        return sorted(stream["image_id"][:] if kind == "dataset" else ids_of(stream))

    assert load() == sorted(world.ids())
    (index,) = (tmp_path / "salient_imagenet_1m_index").iterdir()
    assert sorted(path.name for path in index.iterdir()) == sorted(FILES[kind])
    for name in FILES[kind]:
        damage(index / name)
        assert load() == sorted(world.ids()), name
        assert list(index.parent.iterdir()) == [index]


def ids_of(stream: Any) -> list[str]:
    return [row["image_id"] for row in stream.select_columns(["image_id"])]


def test_an_index_is_not_made_twice(tmp_path: Path) -> None:
    made = []

    def write(directory: Path) -> None:
        made.append(directory)
        (directory / "keys.npy").write_bytes(b"1")

    for _ in range(2):
        si._make(tmp_path / "index", write)
    assert len(made) == 1


def test_a_faster_process_is_not_disturbed(tmp_path: Path) -> None:
    def write_theirs(directory: Path) -> None:
        (directory / "keys.npy").write_bytes(b"theirs")

    def write_ours(directory: Path) -> None:
        (directory / "keys.npy").write_bytes(b"ours")
        si._make(tmp_path / "index", write_theirs)

    si._make(tmp_path / "index", write_ours)
    assert (tmp_path / "index" / "keys.npy").read_bytes() == b"theirs"


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    for name, hours in (("tmpold", 25), ("tmpnew", 23), ("theirs", 25)):
        (tmp_path / name / "work").mkdir(parents=True)
        past = time.time() - 3600 * hours
        os.utime(tmp_path / name, (past, past))
    si._make(tmp_path / "index", lambda directory: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "theirs", "tmpnew"]


def test_a_cache_that_cannot_be_written(world: World, official_tar: Path, tmp_path: Path) -> None:
    (tmp_path / "salient_imagenet_1m_index").write_bytes(b"")
    options: dict[str, Any] = {"images": official_tar, "streaming": True, "cache_dir": tmp_path}
    with pytest.raises(si.SalientImageNetError, match=r"cannot be made in .*another cache_dir="):
        si.load(world.build, split="train", **options)
