"""A build that goes on refuses other images than those that it began with."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from builder.errors import BuildError
from builder.images.sources import FolderImages
from builder.run.build import build
from tests.built import hashes
from tests.conftest import World
from tests.killed import build_all_but_the_end
from tests.quiet import Quiet

Form = Callable[[Path, Path], Path]
"""Makes a source of images, in a directory, of a folder of them."""


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    return shutil.copytree(world.root / "train", tmp_path / "images")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `datasets` cache what it reads in a directory of the test."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def as_folder(folder: Path, directory: Path) -> Path:
    return folder


def as_tar(folder: Path, directory: Path) -> Path:
    with tarfile.open(directory / "train.tar", "w") as tar:
        tar.add(folder, ".")
    return directory / "train.tar"


def as_dataset(folder: Path, directory: Path) -> Path:
    paths = sorted(folder.glob("*/*"))
    rows = {
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
        "file_name": [f"{path.parent.name}/{path.name}" for path in paths],
    }
    features = datasets.Features({"image": datasets.Image(), "file_name": datasets.Value("string")})
    (directory / "shards").mkdir(exist_ok=True)
    made = datasets.Dataset.from_dict(rows, features=features)
    made.to_parquet(directory / "shards" / "train-00000-of-00001.parquet")
    return directory / "shards"


def swap(folder: Path) -> tuple[Path, Path]:
    """Let all images of a class but the first change places, and return two of them."""
    one, other, *_ = sorted(next(iter(sorted(folder.iterdir()))).iterdir())[1:]
    kept = folder.parent / "kept"
    one.rename(kept)
    other.rename(one)
    kept.rename(other)
    return one, other


@pytest.mark.parametrize("form", [as_folder, as_tar])
def test_images_that_changed_places_are_refused_and_back_again_they_are_not(
    world: World, folder: Path, tmp_path: Path, form: Form
) -> None:
    settings = world.settings(tmp_path / "out", images=str(form(folder, tmp_path)))
    build_all_but_the_end(settings)
    swapped = swap(folder)
    form(folder, tmp_path)
    with pytest.raises(BuildError, match="is not the one that finished work was made from") as said:
        build(settings, Quiet())
    assert any(f"The image {path.stem} is not" in str(said.value) for path in swapped)
    assert f"or remove {settings.out / '.build' / 'train'} to begin anew." in str(said.value)
    swap(folder)
    form(folder, tmp_path)
    assert build(settings, Quiet()).images == 0


def test_of_a_dataset_one_image_of_each_shard_is_compared(
    world: World, folder: Path, tmp_path: Path
) -> None:
    settings = world.settings(tmp_path / "out", images=str(as_dataset(folder, tmp_path)))
    build_all_but_the_end(settings)
    for path in folder.glob("*/*"):
        path.write_bytes(path.read_bytes() + b"\0")
    as_dataset(folder, tmp_path)
    with pytest.raises(BuildError, match=r"The image \w+ is not the one that"):
        build(settings, Quiet())


def test_files_that_are_only_newer_are_read_and_those_that_are_not_are_not(
    world: World,
    planted: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = world.settings(tmp_path / "out", images=str(folder))
    build_all_but_the_end(settings)
    newer = sorted(folder.glob("*/*"))[:5]
    for path in newer:
        os.utime(path, ns=(0, 1))
    read, found = FolderImages.read, []

    def noted(images: FolderImages, index: int) -> bytes:
        found.append(folder / images.paths[index].as_py())
        return read(images, index)

    monkeypatch.setattr(FolderImages, "read", noted)
    build(settings, Quiet())
    assert sorted(found) == newer
    train = {name: digest for name, digest in hashes(settings.out).items() if "train" in name}
    assert train.items() <= hashes(planted).items()


def test_shards_of_an_earlier_release_tell_nothing_and_go_on(
    world: World, planted: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = world.settings(tmp_path / "out", images=str(folder))
    with monkeypatch.context() as patch:
        patch.setattr("builder.shards.shard._content_columns", lambda contents: {})
        build_all_but_the_end(settings)
    swap(folder)
    build(settings, Quiet())
    found = hashes(settings.out)
    assert not any(name.startswith("contents/") for name in found)
    masks: dict[str, Any] = {n: d for n, d in found.items() if n.startswith("masks/")}
    assert masks.items() <= hashes(planted).items()


def test_a_damaged_shard_accuses_no_image(
    world: World, planted: Path, folder: Path, tmp_path: Path
) -> None:
    settings = world.settings(tmp_path / "out", images=str(folder))
    build_all_but_the_end(settings)
    for number, path in enumerate(sorted((settings.out / ".build/train/shards").iterdir())[:3]):
        content = bytearray(path.read_bytes())
        content[100 * number] ^= 1
        path.write_bytes(content if number else b"")
    build(settings, Quiet())
    train = {name: digest for name, digest in hashes(settings.out).items() if "train" in name}
    assert train.items() <= hashes(planted).items()
