"""Manifests and what they list: nobody opens what no build writes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.checks.verify import verify
from builder.dataset.layout import is_published
from builder.dataset.manifest import Manifest
from builder.errors import BuildError
from builder.hub.publish import plan_publication, publish
from builder.pages.gallery import make_gallery
from builder.run.status import read_status
from builder.settings.gallery import GallerySettings
from builder.settings.publication import Publication
from tests.conftest import World
from tests.quiet import Quiet

NAME = "org/salient-imagenet-1m"
MASKS = "masks/train-00000-of-00001.parquet"

READERS: dict[str, Callable[[Path, World], object]] = {
    "verify": lambda data, world: verify(data, str(world.root)),
    "publish": lambda data, world: publish(Publication(data, NAME), Quiet()),
    "publish --dry-run": lambda data, world: plan_publication(Publication(data, NAME), Quiet()),
    "gallery": lambda data, world: make_gallery(
        GallerySettings(data, str(world.root), data.with_name("pages")), Quiet()
    ),
    "status": lambda data, world: read_status(data),
    "build": lambda data, world: Manifest.load(data),
}


@pytest.fixture
def data(planted: Path, tmp_path: Path) -> Path:
    """Return a copy of a good data set, to be spoilt."""
    return shutil.copytree(planted, tmp_path / "data")


def change(data: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = data / "manifest.json"
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(content))


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def test_all_that_a_build_writes_may_be_listed(planted: Path) -> None:
    manifest = Manifest.load(planted)
    assert manifest
    assert all(map(is_published, manifest.files))
    assert is_published("images/validation-00012-003.parquet")
    assert is_published("set_aside.parquet")


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "/dev/zero", "../../x", "masks/../../x", "./README.md", "..", ".", ""),
        *("helper.py", "masks/helper.py", ".publish/x.parquet", "manifest.json", "readme.md"),
        *("masks", "masks/", "masks/train.parquet", "masks/test-00000-of-00001.parquet"),
        *(f"{MASKS}\n", f"{MASKS}/x", f" {MASKS}", f"x/{MASKS}", "README.md\0", "plots/x.svg"),
        *("masks/train-0000\u0660-of-00001.parquet", "images/train-00000-of-00001.parquet"),
    ],
)
def test_other_names_may_not_be_listed(data: Path, name: str) -> None:
    assert not is_published(name)
    entry = {"bytes": 0, "sha256": "00" * 32}
    change(data, lambda content: content["files"].update({name: entry}))
    with pytest.raises(BuildError) as caught:
        Manifest.load(data)
    assert str(caught.value) == (
        f"{data}/manifest.json lists the file {name}, unlike any that a build writes: use another "
        "copy."
    )


@pytest.mark.parametrize("reader", READERS)
def test_whoever_reads_a_data_set_refuses_a_name_that_no_build_writes(
    data: Path, world: World, reader: str
) -> None:
    (data / "helper.py").write_text("print()")
    entry = {"bytes": 7, "sha256": "00" * 32}
    change(data, lambda content: content["files"].update({"helper.py": entry}))
    with pytest.raises(BuildError, match=r"lists the file helper\.py, unlike any that a build"):
        READERS[reader](data, world)


def masks_elsewhere(data: Path) -> None:
    shutil.move(data / "masks", data.parent / "elsewhere")
    (data / "masks").symlink_to(data.parent / "elsewhere")


def unlisted_pipe(data: Path) -> None:
    change(data, lambda content: content["files"].pop("README.md"))
    replace(data / "README.md", os.mkfifo)


def first(data: Path) -> Path:
    return min((data / "masks").iterdir())


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (lambda data: replace(first(data), os.mkfifo), "is a directory, a pipe or a device"),
    "a device": (
        lambda data: replace(first(data), lambda path: path.symlink_to("/dev/zero")),
        "is a directory, a pipe or a device",
    ),
    "a directory": (
        lambda data: replace(first(data), Path.mkdir),
        "is a directory, a pipe or a device",
    ),
    "a manifest that is a pipe": (
        lambda data: replace(data / "manifest.json", os.mkfifo),
        r"manifest\.json is a directory, a pipe or a device",
    ),
    "a manifest without end": (
        lambda data: replace(data / "manifest.json", lambda path: path.symlink_to("/dev/zero")),
        r"manifest\.json is a directory, a pipe or a device",
    ),
    "a card that is a pipe and not listed": (
        unlisted_pipe,
        r"README\.md is a directory, a pipe or a device",
    ),
    "a link to a directory": (masks_elsewhere, "masks is a link, where a build writes a directory"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_reads_a_data_set_opens_nothing_but_files(
    data: Path, world: World, reader: str, kind: str
) -> None:
    spoil, said = KINDS[kind]
    spoil(data)
    with pytest.raises(BuildError, match=said):
        READERS[reader](data, world)


def test_links_to_files_will_do_as_in_the_hub_s_cache(data: Path) -> None:
    for number, path in enumerate(sorted(data.rglob("*"))):
        if path.is_file():
            path.rename(data.parent / f"blob-{number}")
            path.symlink_to(data.parent / f"blob-{number}")
    assert [check for check in verify(data) if not check.passed] == []


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda content: content["splits"].clear(), "lists no split"),
        (lambda content: content["splits"]["train"].clear(), "lacks inputs in the split train"),
        (lambda content: content["splits"].update(train=[]), "lacks inputs in the split train"),
        (lambda content: content["splits"].update({"../x": {}}), r"lists the split \.\./x"),
        (
            lambda content: content["splits"]["train"]["counts"].update(rows="36"),
            "lacks rows in the counts of train",
        ),
        (lambda content: content["origin"].pop("grid"), "lacks grid in its origin"),
        (lambda content: content["origin"].update(channels=None), "lacks channels in its origin"),
        (lambda content: content["files"].update({MASKS: 3}), f"lacks bytes in {MASKS}"),
        (lambda content: content.update(format_version=0.5), "has the format version 0.5"),
        (lambda content: content.update(files=[]), "is no manifest of this program, or damaged"),
        (lambda content: content.update(more=1), "is no manifest of this program, or damaged"),
    ],
)
def test_a_manifest_that_lacks_what_readers_need_is_refused(
    data: Path, edit: Callable[[dict[str, Any]], object], said: str
) -> None:
    change(data, edit)
    with pytest.raises(BuildError, match=said):
        Manifest.load(data)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"origin":' * 100_000, b"", b"[]", b"\xff"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BuildError, match="is no manifest of this program, or damaged"):
        Manifest.load(tmp_path)


def test_a_file_in_the_place_of_a_data_set_holds_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert Manifest.load(path) is None
