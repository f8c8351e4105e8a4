"""Images that ImageNet did not name: found by folder and stem, and by the stem as formerly."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from datasets.table import embed_table_storage

import salient_imagenet_1m as si
from builder.dataset.manifest import Manifest
from builder.hub.images import PrivateImages
from tests.loader.conftest import World, write_build
from tests.loader.test_layouts import in_builder, in_loader, write_tar
from tests.quiet import Quiet

RAW = datasets.Image(decode=False)
CLASSES = ["barn owl", "red kite", "robin, v1.0", "wren"]
ENDINGS = (".jpg", ".JPEG", ".png")


def renamed(world: World, target: Path, own_folders: bool) -> World:
    """Return the world's training images under ordinary names, and a build of them.

    With `own_folders` all classes have the same names, and ids have their folder; without, each
    name is there once, and ids are bare stems, as builds had them before.
    """
    made = World(target / "build", target / "images", {"train": []})
    counts = [0] * len(CLASSES)
    for index, row in enumerate(world.rows["train"]):
        folder = CLASSES[row["label"]]
        number = counts[row["label"]] if own_folders else index
        counts[row["label"]] += 1
        stem = f"photo v1.{number}"
        path = made.images / "train" / folder / f"{stem}{ENDINGS[number % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.path(row), path)
        name = f"{folder}/{stem}" if own_folders else stem
        made.rows["train"].append({**row, "image_id": name})
    rows = {"train": made.rows["train"]}
    write_build(made.build, rows, CLASSES, CLASSES)
    return made


@pytest.fixture(scope="module", params=[True, False], ids=["folder and stem", "stem alone"])
def own(
    request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory
) -> World:
    return renamed(world, tmp_path_factory.mktemp("own"), request.param)


def files(own: World) -> dict[str, bytes]:
    """Return the bytes of each image by its path below the root of the split."""
    root = own.images / "train"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.glob("*/*")}


def folders(own: World, target: Path) -> Path:
    return own.images


def class_folders(own: World, target: Path) -> Path:
    return own.images / "train"


def deep_folders(own: World, target: Path) -> Path:
    shutil.copytree(own.images / "train", target / "some" / "where")
    return target


def tar_of_folders(own: World, target: Path) -> Path:
    return write_tar(target / "birds.tar", files(own))


def tar_of_tars(own: World, target: Path) -> Path:
    inner = {}
    for folder in CLASSES:
        of_class = {n: data for n, data in files(own).items() if n.startswith(f"{folder}/")}
        members = {name.rpartition("/")[2]: data for name, data in of_class.items()}
        inner[f"{folder}.tar"] = write_tar(target / "inner.tar", members).read_bytes()
    (target / "inner.tar").unlink()
    return write_tar(target / "birds.tar", inner)


def parquet(own: World, target: Path) -> Path:
    pictures = [{"bytes": data, "path": name} for name, data in files(own).items()]
    features = datasets.Features(image=datasets.Image())
    table = datasets.Dataset.from_dict({"image": pictures}, features)
    table.to_parquet(target / "train-00000-of-00001.parquet")
    return target


LAYOUTS = [folders, class_folders, deep_folders, tar_of_folders, tar_of_tars, parquet]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_finds_them(
    own: World, tmp_path: Path, layout: Callable[[World, Path], Path]
) -> None:
    images = layout(own, tmp_path)
    contents = {si.image_id(name): data for name, data in files(own).items()}
    if layout is not deep_folders:  # Which have no folder per class where the builder looks.
        assert in_builder(images, "train") == contents
    by_stem = {name.rpartition("/")[2]: data for name, data in contents.items()}
    expected = {name: (contents | by_stem)[name] for name in own.ids()}
    for streaming in (True, False):
        assert in_loader(own, images, "train", streaming) == expected


@pytest.mark.parametrize("streaming", [True, False])
def test_a_dataset_is_joined_by_folder_and_stem(own: World, streaming: bool) -> None:
    folder = str(own.images / "train")
    mine = datasets.load_dataset("imagefolder", data_dir=folder, split="train", streaming=streaming)
    joined = list(si.join(mine, own.build))
    assert sorted(row["image_id"] for row in joined) == sorted(own.ids())
    labels = {row["image_id"]: row["label"] for row in own.rows["train"]}
    assert all(row["label"] == labels[row["image_id"]] for row in joined)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_dataset_that_keeps_no_folders_tells_them_by_its_classes(
    own: World, tmp_path: Path, streaming: bool
) -> None:
    folder = str(own.images / "train")
    mine = datasets.load_dataset("imagefolder", data_dir=folder, split="train")
    whole = mine.with_format("arrow").map(embed_table_storage, batched=True).with_format(None)
    whole.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    contents = {si.image_id(name): data for name, data in files(own).items()}
    assert in_builder(tmp_path, "train") == contents
    loaded = si.load(own.build, images=tmp_path, split="train", streaming=streaming)
    labels = {row["image_id"]: row["label"] for row in own.rows["train"]}
    assert {row["image_id"]: row["label"] for row in loaded} == labels


def test_published_with_them_they_are_found_again(own: World, tmp_path: Path) -> None:
    manifest = Manifest(**json.loads((own.build / "manifest.json").read_text()))
    private = PrivateImages(own.build, manifest, str(own.images))
    paths = [str(part.source) for part in private.write(tmp_path, Quiet())]
    mine = datasets.load_dataset("parquet", data_files={"train": paths}, split="train")
    contents = {si.image_id(name): data for name, data in files(own).items()}
    stems = {name.rpartition("/")[2]: data for name, data in contents.items()}
    published = {row["image_id"]: row["image"] for row in mine.cast_column("image", RAW)}
    assert {name: image["bytes"] for name, image in published.items()} == {
        name: (contents | stems)[name] for name in own.ids()
    }
    assert all(si.image_id(image["path"]).endswith(name) for name, image in published.items())
    joined = si.join(mine, own.build)
    assert joined["image_id"][:] == mine["image_id"][:]


def test_a_column_of_ids_is_taken_at_its_word(own: World) -> None:
    pixel = io.BytesIO(next(iter(files(own).values()))).getvalue()
    ids = own.ids()[:3]
    columns = {"image_id": ids, "picture": [{"bytes": pixel, "path": None}] * 3}
    features = datasets.Features(image_id=datasets.Value("string"), picture=datasets.Image())
    mine = datasets.Dataset.from_dict(columns, features)
    joined = si.join(mine, own.build, on_mismatch="warn", decode=False)
    assert joined["image_id"][:] == ids


def test_an_image_of_another_folder_is_not_taken_for_it(world: World, tmp_path: Path) -> None:
    own = renamed(world, tmp_path, own_folders=True)
    moved = own.images / "train" / CLASSES[0]
    moved.rename(moved.with_name("kestrel"))
    with pytest.raises(si.SalientImageNetError, match="images that masks were made from are not"):
        list(si.load(own.build, images=own.images, split="train", streaming=True))
