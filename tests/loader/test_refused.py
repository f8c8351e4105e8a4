"""Wrong options, and builds and images that name what they must not: one sentence each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import salient_imagenet_1m as si
from tests.loader.conftest import WNIDS, World
from tests.without import run_without

# Options


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        ("transform", [224, "crop", (1, 2)], "give a function of an example"),
        ("threads", [-1, "2", 1.5, True], "give a number of threads, 0 or more"),
        ("num_proc", [0, -1, "2", 1.0], "give a number of processes, 1 or more"),
        ("columns", [5, [1], ["image", None], iter(["image"]), b"image"], "give a list of names"),
        ("split", [5, ["train"], b"train"], "give the name of a split, such as 'train'"),
        ("cache_dir", [5, b"cache"], "give a path"),
        ("streaming", ["no", 1, None], "give True or False"),
        ("render", ["no", 1], "give True or False"),
        ("decode", ["no", None], "give True or False"),
        ("threads", [10**30], "give a number of threads"),
    ],
)
def test_options_of_load(world: World, name: str, values: list[Any], wanted: str) -> None:
    for value in values:
        with pytest.raises(si.SalientImageNetError, match=rf"^{name} cannot be .*: {wanted}"):
            si.load(world.build, **{"split": "train", name: value})


@pytest.mark.parametrize("mask_size", [0, -5, "a", 1.5, (56, 56)])
def test_mask_size(world: World, mask_size: Any) -> None:
    with pytest.raises(si.SalientImageNetError, match=r"mask_size cannot be .*: give a"):
        si.load(world.build, split="train", transform=si.CenterCrop(), mask_size=mask_size)


@pytest.mark.parametrize("directory", [5, None, b"build", ["build"]])
def test_directories(world: World, directory: Any) -> None:
    for call in (si.load, si.Build.open, lambda at: si.join(datasets.Dataset.from_dict({}), at)):
        with pytest.raises(si.SalientImageNetError, match=r"directory cannot be .*: give a path"):
            call(directory)


@pytest.mark.parametrize("name", ["image_column", "id_column", "split", "cache_dir", "decode"])
def test_options_of_join(world: World, name: str) -> None:
    dataset = datasets.Dataset.from_dict({"image": ["a"]})
    for value in (5, ["image"]):
        options: dict[str, Any] = {name: value}
        with pytest.raises(si.SalientImageNetError, match=f"{name} cannot be"):
            si.join(dataset, world.build, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"size": "a"},
        {"size": 0},
        {"size": None},
        {"size": (224, 224)},
        {"scale": 0.5},
        {"scale": (0.5, 0.1)},
        {"scale": (0, 1)},
        {"scale": ("a", "b")},
        {"ratio": (1,)},
        {"ratio": (0.75, float("inf"))},
        {"flip": 2},
        {"flip": "yes"},
        {"flip": float("nan")},
        {"seed": "a"},
        {"seed": -1},
        {"mask_size": -1},
    ],
    ids=str,
)
def test_options_of_crops(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(si.SalientImageNetError, match=f"^{name} cannot be .*: give "):
        si.RandomResizedCrop(**{"size": 224, **options})
    if name in ("size", "mask_size"):
        with pytest.raises(si.SalientImageNetError, match=f"^{name} cannot be .*: give "):
            si.CenterCrop(**options)


def test_numbers_of_numpy_are_numbers() -> None:
    crop = si.RandomResizedCrop(np.int64(8), scale=(np.float32(0.5), 1), flip=np.float64(0.5))  # type: ignore[arg-type]
    assert crop.size == 8
    assert si.Selection(most_spurious=np.int32(3)).most_spurious == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -1, "a", (3,), (3, 4, 5), (3, "a"), 1.5])
def test_sizes_of_render(world: World, size: Any) -> None:
    with pytest.raises(si.SalientImageNetError, match=r"size cannot be .*: give pixels"):
        si.render(world.rows["train"][0], size=size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"example": [1]}, "takes an example, a dict of columns, not list"),
        ({"window": "abcd"}, "window or flip cannot be used .*: give left, top, right"),
        ({"window": 5}, "window or flip cannot be used"),
        ({"window": (1, 2, 3)}, "window or flip cannot be used"),
        ({"flip": [True, False, True]}, "window or flip cannot be used"),
        ({"geometry": ["aligned"]}, "no geometry .'aligned'.: use aligned or upstream"),
    ],
    ids=str,
)
def test_options_of_render(world: World, options: dict[str, Any], message: str) -> None:
    with pytest.raises(si.SalientImageNetError, match=message):
        si.render(**{"example": world.rows["train"][0], **options})


@pytest.mark.parametrize(
    "path", ["a\0b", "a" * 5000, "a/" * 5000, "b/\ud800"], ids=lambda path: ascii(path)[:9]
)
@pytest.mark.parametrize("name", ["directory", "cache_dir", "images"])
def test_paths_that_no_system_has(world: World, name: str, path: str) -> None:
    with pytest.raises(si.SalientImageNetError, match=f"^{name} cannot be '.*: give a path"):
        load: Any = si.load
        load(**{"directory": world.build, "split": "train", name: path})


def test_selections(world: World) -> None:
    for labels in (5, 2.5, object()):
        with pytest.raises(si.SalientImageNetError, match="labels is a list"):
            si.Selection(labels=labels)  # type: ignore[arg-type]
    for zone in (["validated"], {"validated"}, 5):
        with pytest.raises(si.SalientImageNetError, match="There is no zone"):
            si.Selection(zone=zone)  # type: ignore[arg-type]
    for label in (2.5, None, ["n01440764"]):
        with pytest.raises(si.SalientImageNetError, match="is no class: use labels or wnids"):
            si.Selection(labels=[0, label])  # type: ignore[list-item]
    with pytest.raises(si.SalientImageNetError, match="ranked cannot be 'yes': give True or False"):
        si.Selection(ranked="yes")  # type: ignore[arg-type]
    for ids in ("n01440764_10026", [3], 5):
        with pytest.raises(si.SalientImageNetError, match=r"ids cannot be .*: give a list"):
            si.Selection(ids=ids)  # type: ignore[arg-type]
    with pytest.raises(si.SalientImageNetError, match="validated cannot be 1: give True or False"):
        si.Selection(validated=1)  # type: ignore[arg-type]
    for same in (-0.1, 80, "most", float("nan")):
        with pytest.raises(si.SalientImageNetError, match=r"same cannot be .*: give a share"):
            si.Selection(same=same)  # type: ignore[arg-type]


@pytest.mark.parametrize("split", ["train[:1000%]", "train[:abc]", "train["])
def test_parts_of_splits(world: World, split: str) -> None:
    with pytest.raises(si.SalientImageNetError, match=r"no split train\[.*use one such as train\["):
        si.load(world.build, split=split)


WITHOUT_TORCH = """
import salient_imagenet_1m as si

for call in (
    lambda: si.load(sys.argv[1], split="train", streaming=True, format="torch"),
    lambda: si.V2(lambda pictures: pictures),
):
    try:
        call()
    except si.SalientImageNetError as error:
        print(error)
"""


def test_tensors_without_torch(world: World) -> None:
    ran = run_without({"torch", "torchvision"}, WITHOUT_TORCH, world.build)
    assert ran.stdout.splitlines() == [
        "format='torch' needs the package torch: pip install torch.",
        "V2 needs the package torchvision: pip install torchvision.",
    ]


# Builds


def rewrite(world: World, change: Callable[[dict[str, Any]], Any]) -> None:
    path = world.build / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


SHARD = "masks/train-00000-of-00006.parquet"


@pytest.mark.parametrize(
    "name",
    [
        "masks/train-../../../etc/passwd",
        "masks/train-00000-of-00006.py",
        "masks/train-00000-of-00006.parquet/../x.parquet",
        "masks/train-0-of-1.parquet",
        "masks/train-00000-of-00006.parquet\n",
    ],
)
def test_files_that_no_build_has(world: World, tmp_path: Path, name: str) -> None:
    other = world.copy(tmp_path)
    rewrite(other, lambda manifest: manifest["files"].update({name: {}}))
    with pytest.raises(si.SalientImageNetError, match=r"lists 'masks/train-.*no.* name of a file"):
        si.load(other.build, split="train", streaming=True)


def test_a_split_that_climbs(world: World, tmp_path: Path) -> None:
    other = world.copy(tmp_path)
    name = "../x-00000-of-00001.parquet"
    rewrite(other, lambda m: (m["splits"].update({"../x": {}}), m["files"].update({name: {}})))
    rewrite(other, lambda m: m["files"].update({f"masks/{name}": {}}))
    with pytest.raises(si.SalientImageNetError, match=r"lists 'masks/\.\./x-0.*not the name of a"):
        si.load(other.build, split="../x", streaming=True)


def change_rows(path: Path, column: str, value: str) -> None:
    """Give all rows of a Parquet file another text."""
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    texts = pa.array([value] * len(table))
    pq.write_table(table.set_column(place, table.schema.field(place), texts), path)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("way", ["the image id", "a wnid"])
def test_images_whose_names_climb(world: World, tmp_path: Path, way: str, streaming: bool) -> None:
    """What lies beside the images is not theirs, though a build may name it."""
    other = world.copy(tmp_path)
    outside = other.images / "private"
    shutil.copytree(other.images / "train" / WNIDS[0], outside)
    name = next(outside.iterdir()).stem
    if way == "the image id":
        change_rows(other.build / SHARD, "image_id", f"../private/{name}")
    else:
        change_rows(other.build / SHARD, "image_id", name)
        change_rows(other.build / "features/train-00000-of-00001.parquet", "wnid", "../private")
    sentence = rf"an image {name} in the folder \.\./private, which may lie outside of .*/train: "
    with pytest.raises(si.SalientImageNetError, match=sentence):
        next(iter(si.load(other.build, images=other.images, split="train", streaming=streaming)))


@pytest.mark.parametrize("name", [SHARD, "manifest.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_opened(world: World, tmp_path: Path, name: str, kind: str) -> None:
    other = world.copy(tmp_path)
    path = other.build / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null")
    with pytest.raises(si.SalientImageNetError, match=r"cannot be read .it is a directory, a pipe"):
        si.load(other.build, split="train", streaming=True)


def test_files_behind_links_are_opened(world: World, tmp_path: Path) -> None:
    """As the cache of the Hub has them."""
    other = world.copy(tmp_path)
    path = other.build / SHARD
    path.rename(tmp_path / "blob")
    path.symlink_to(tmp_path / "blob")
    assert len(list(si.load(other.build, split="train", streaming=True))) == 40


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "[]",
        "7",
        "null",
        '{"format_version": 1}',
        '{"format_version": 1e999, "files": {}, "splits": {}}',
        '{"format_version": null, "files": {}, "splits": {}}',
        '{"format_version": 1, "files": [], "splits": {}}',
        '{"format_version": 1, "files": {}, "splits": []}',
        '{"format_version": 1, "files": {}, "splits": {"train": []}}',
        '{"format_version": 1, "files": {}, "splits": {"train": {"counts": 7}}}',
        '{"format_version": 1, "files": {}, "splits": {"a": {"counts": {"images_by_label": [1]}}}}',
    ],
    ids=lambda content: content[:60],
)
def test_manifests_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(si.SalientImageNetError, match=r"no valid manifest.json: give the"):
        si.load(tmp_path)


def test_damaged_shards(world: World, tmp_path: Path) -> None:
    """Whatever bytes are turned: the rows, or one sentence that names the file and the reason."""
    other = world.copy(tmp_path)
    path = other.build / SHARD
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    reasons = set()
    for _ in range(60):
        damaged = bytearray(content)
        start = int(rng.integers(4, len(content) - 40))
        damaged[start : start + 40] = rng.bytes(40)
        path.write_bytes(damaged)
        try:
            stream = si.load(other.build, images=other.images, split="train", streaming=True)
            list(stream.select_columns(["image_id", "kinds", "core_mask"]))
        except si.SalientImageNetError as error:
            reasons.add(str(error).partition("(")[0])
    assert f"{path} is corrupt " in reasons


# Images


def rows_with(world: World, target: Path, path_of: Callable[[str], str], form: str) -> Path:
    """Write a source whose rows name files and hold none."""
    rows = world.rows["train"]
    paths = [path_of(f"{WNIDS[row['label']]}/{row['image_id']}.JPEG") for row in rows]
    image = pa.StructArray.from_arrays(
        [pa.nulls(len(rows), pa.binary()), pa.array(paths)], ["bytes", "path"]
    )
    features = datasets.Features(image=datasets.Image())
    table = pa.table({"image": image}).cast(features.arrow_schema)
    target.mkdir(exist_ok=True)
    if form == "parquet":
        pq.write_table(table, target / "train-00000-of-00001.parquet")
    else:
        file = str(target / "train-00000.arrow")
        with pa.ipc.new_stream(file, features.arrow_schema) as writer:
            writer.write_table(table)
    return target


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("way", ["absolute", "climbing", "relative", "url"])
def test_rows_that_name_files_elsewhere(
    world: World, tmp_path: Path, way: str, form: str, streaming: bool
) -> None:
    outside = world.images / "train"
    at = tmp_path / "source"
    base = {
        "absolute": f"{outside}/",
        "climbing": f"{at}/{os.path.relpath(outside, at)}/",
        "relative": "",
        "url": f"file://{outside}/",
    }[way]
    source = rows_with(world, at, lambda name: base + name, form)
    options: dict[str, Any] = {"images": source, "split": "train", "streaming": streaming}
    with pytest.raises(si.SalientImageNetError, match=f"names the file {base}.*not below {source}"):
        next(iter(si.load(world.build, **options)))


@pytest.mark.parametrize("streaming", [True, False])
def test_rows_that_name_files_below_the_source(
    world: World, tmp_path: Path, streaming: bool
) -> None:
    at = tmp_path / "source"
    shutil.copytree(world.images / "train", at / "files")
    source = rows_with(world, at, lambda name: f"{at}/files/{name}", "parquet")
    loaded = si.load(world.build, images=source, split="train", streaming=streaming)
    assert {row["image_id"] for row in loaded} == set(world.ids())


@pytest.mark.parametrize("streaming", [True, False])
def test_rows_that_the_user_has_opened(world: World, tmp_path: Path, streaming: bool) -> None:
    source = rows_with(world, tmp_path, lambda name: f"{world.images}/train/{name}", form="parquet")
    mine = datasets.load_dataset("parquet", data_dir=source, split="train", streaming=streaming)
    loaded = si.load(world.build, images=mine, split="train")
    assert {row["image_id"] for row in loaded} == set(world.ids())
