"""Opening builds and joining them with images in every layout."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import logging
import shutil
import tarfile
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import PIL.Image
import pytest

import salient_imagenet_1m as si
from tests.loader.conftest import NAMES, WNIDS, World


def check(world: World, examples: list[dict[str, Any]], split: str = "train") -> None:
    """Each example is one of the build's rows, with its own image and its own masks."""
    rows = {row["image_id"]: row for row in world.rows[split]}
    for example in examples:
        row = rows[example["image_id"]]
        expected = PIL.Image.open(world.path(row, split)).convert("RGB")
        assert example["image"].tobytes() == expected.tobytes()
        for name in ("label", "features", "activation_ranks", "width", "spuriosity", "predicted"):
            assert example[name] == row[name], name
        assert example["activations"] == pytest.approx(row["activations"])
        for kind in si.KINDS:
            mask = example[f"{kind}_mask"]
            if kind not in row["kinds"]:
                assert mask is None
                continue
            assert mask.size == expected.size
            np.testing.assert_array_equal(np.asarray(mask), si.render(row, kind))


def ids(dataset: Any) -> list[str]:
    return [example["image_id"] for example in dataset]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("split", ["train", "val"])
def test_images(world: World, split: str, streaming: bool) -> None:
    dataset = si.load(world.build, images=world.images, split=split, streaming=streaming)
    published = {"val": "validation"}.get(split, split)
    assert ids(dataset) == world.ids(published)  # the build's order, which is mixed
    check(world, list(dataset), published)
    assert dataset.features["label"].names == NAMES
    assert isinstance(dataset.features["core_mask"], si.SoftMaskFeature)


def brightness(example: dict[str, Any]) -> dict[str, Any]:
    """Add a column that takes a look at a mask."""
    mask = example["core_mask"]
    example["brightness"] = 0.0 if mask is None else float(np.mean(mask))
    return example


@pytest.mark.parametrize("batched", [False, True])
def test_map_keeps_masks(world: World, batched: bool) -> None:
    dataset = si.load(world.build, images=world.images, split="train")
    unread = dataset.map(lambda rows: {**rows, "new": rows["label"]}, batched=batched)
    check(world, list(unread))
    mapped = dataset.map(brightness)
    check(world, list(mapped))
    shown = [example["core_mask"] is not None for example in dataset]
    np.testing.assert_array_equal(np.array(mapped["brightness"]) > 0, shown)


def test_streams_without_a_column_keep_masks(world: World) -> None:
    stream = si.load(world.build, images=world.images, split="train", streaming=True)
    check(world, list(stream.remove_columns(["grids", "peaks"])))


def test_stream_becomes_a_dataset(world: World) -> None:
    stream = si.load(world.build, images=world.images, split="train", streaming=True)
    features = stream.features
    dataset = datasets.Dataset.from_generator(lambda: iter(stream), features=features)
    check(world, list(dataset))


def test_all_splits(world: World) -> None:
    both = si.load(world.build, images=world.images, streaming=True)
    assert set(both) == {"train", "validation"}
    assert si.load(world.build, "rankings")["validation"].num_rows == 6


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("config", ["masks", "rankings", "features"])
def test_other_configs(world: World, config: str, streaming: bool) -> None:
    dataset = si.load(world.build, config, split="train", streaming=streaming)
    plain = datasets.load_dataset(
        "parquet", data_files=str(world.build / config / "train-*.parquet"), split="train"
    )
    assert dataset.features == plain.features
    without = [name for name in plain.column_names if not name.endswith("_mask")]
    left, right = dataset.select_columns(without), plain.select_columns(without)
    assert list(left) == list(right)


def test_columns(world: World) -> None:
    dataset = si.load(
        world.build, images=world.images, split="train", streaming=True, columns=["image", "label"]
    )
    assert list(next(iter(dataset))) == ["image", "label"]
    numbers = si.load(world.build, split="train", columns=["label"])
    assert numbers["label"][:] == [row["label"] for row in world.rows["train"]]
    with pytest.raises(si.SalientImageNetError, match="no column picture: use image, core_mask"):
        si.load(world.build, images=world.images, split="train", columns=["picture"])


def test_slices(world: World) -> None:
    arguments: dict[str, Any] = {"images": world.images}
    assert ids(si.load(world.build, split="train[:7]", **arguments)) == world.ids()[:7]
    arguments |= {"streaming": True, "transform": si.CenterCrop()}
    both = si.load(world.build, split="train+validation", **arguments)
    assert ids(both) == world.ids() + world.ids("validation")
    for streamed in ({}, {"streaming": True}, arguments):
        options: dict[str, Any] = {"images": world.images, **streamed}
        parts = ids(si.load(world.build, split="val+train", **options))
        assert sorted(parts) == sorted(world.ids("validation") + world.ids())
        val = si.load(world.build, split=datasets.Split.VALIDATION, **options)
        assert ids(val) == world.ids("validation")
        if streamed:
            with pytest.raises(
                si.SalientImageNetError, match=r"no split train\[:7\]: use train, and"
            ):
                si.load(world.build, split="train[:7]", **options)


def test_undecoded_images_are_bytes_or_paths(world: World, official_tar: Path) -> None:
    arguments: dict[str, Any] = {"split": "train", "streaming": True, "decode": False}
    row = world.rows["train"][0]
    from_folder = next(iter(si.load(world.build, images=world.images, **arguments)))["image"]
    assert (from_folder["bytes"], from_folder["path"]) == (None, str(world.path(row)))
    from_tar = next(iter(si.load(world.build, images=official_tar, **arguments)))["image"]
    assert from_tar["bytes"] == world.path(row).read_bytes()


# Layouts


def layouts(world: World, target: Path, name: str) -> tuple[Path, str]:
    """Lay the images out in another way; return images= and the split."""
    if name == "class folders":
        return world.images / "train", "train"
    if name == "kaggle":
        shutil.copytree(world.images, target / "ILSVRC" / "Data" / "CLS-LOC")
        return target, "validation"
    if name == "val by class":
        for row in world.rows["validation"]:
            folder = target / "val" / WNIDS[row["label"]]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(world.path(row, "validation"), folder)
        return target, "validation"
    for row in world.rows["train"]:
        wnid = WNIDS[row["label"]]
        path = {
            "hub names": target / "train" / wnid / f"{row['image_id']}_{wnid}.JPEG",
            "lower case": target / "train" / wnid / f"{row['image_id']}.jpg",
            "named folders": target / NAMES[row["label"]] / f"{row['image_id']}.JPEG",
            "flat": target / f"{row['image_id']}.JPEG",
        }[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.path(row), path)
    return target, "train"


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    "name",
    ["class folders", "kaggle", "val by class", "hub names", "lower case", "named folders", "flat"],
)
def test_folders(world: World, tmp_path: Path, name: str, streaming: bool) -> None:
    root, split = layouts(world, tmp_path, name)
    dataset = si.load(world.build, images=root, split=split, streaming=streaming)
    assert ids(dataset) == world.ids(split)
    check(world, list(dataset)[:5], split)


def test_official_tar(world: World, official_tar: Path) -> None:
    for images in (official_tar, official_tar.parent):
        for streaming in (True, False):
            dataset = si.load(world.build, images=images, split="train", streaming=streaming)
            assert ids(dataset) == world.ids()
            check(world, list(dataset))
    # Without split=, what the archive does not hold is left out.
    assert set(si.load(world.build, images=official_tar, streaming=True)) == {"train"}


@pytest.mark.parametrize("damage", ["cut at a member's header", "cut in a member", "compressed"])
def test_damaged_tar(world: World, official_tar: Path, tmp_path: Path, damage: str) -> None:
    content = official_tar.read_bytes()
    *_, last = si.ImageTar(str(official_tar)).listing()
    cut = last.offset - tarfile.BLOCKSIZE * (damage == "cut at a member's header")
    path = tmp_path / "images.tar"
    path.write_bytes(gzip.compress(content) if damage == "compressed" else content[:cut])
    with pytest.raises(si.SalientImageNetError, match="is no whole tar, or compressed"):
        next(iter(si.load(world.build, images=path, split="train", streaming=True)))


def parquet(world: World, target: Path, names: str = "{id}_{wnid}.JPEG") -> Path:
    """Write the images as the Hub's ImageNet comes: Parquet with bytes, path and label."""
    rows = sorted(world.rows["train"], key=lambda row: row["image_id"])  # an order of its own
    columns = {
        "image": [
            {
                "bytes": world.path(row).read_bytes(),
                "path": names.format(id=row["image_id"], wnid=WNIDS[row["label"]]),
            }
            for row in rows
        ],
        "label": [row["label"] for row in rows],
        "note": [f"note of {row['image_id']}" for row in rows],
    }
    features = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=NAMES),
        note=datasets.Value("string"),
    )
    (target / "data").mkdir()
    dataset = datasets.Dataset.from_dict(columns, features)
    for index in range(3):
        part = dataset.shard(3, index)
        part.to_parquet(target / "data" / f"train-{index:05d}-of-00003.parquet")
    return target


@pytest.mark.parametrize("streaming", [True, False])
def test_hub_parquet(world: World, tmp_path: Path, streaming: bool) -> None:
    root = parquet(world, tmp_path)
    dataset = si.load(world.build, images=root, split="train", streaming=streaming)
    assert list(dataset.features)[:3] == ["image", "core_mask", "spurious_mask"]
    examples = list(dataset)
    check(world, examples)
    assert sorted(example["image_id"] for example in examples) == sorted(world.ids())
    assert all(example["note"] == f"note of {example['image_id']}" for example in examples)


def test_webdataset(world: World, tmp_path: Path) -> None:
    for shard in range(2):
        with tarfile.open(tmp_path / f"train-{shard:03d}.tar", "w") as tar:
            for row in world.rows["train"][shard::2]:
                tar.add(world.path(row), f"{row['image_id']}.jpg")
                label = str(row["label"]).encode()
                info = tarfile.TarInfo(f"{row['image_id']}.cls")
                info.size = len(label)
                tar.addfile(info, io.BytesIO(label))
    for streaming in (True, False):
        dataset = si.load(world.build, images=tmp_path, split="train", streaming=streaming)
        examples = list(dataset)
        check(world, examples)
        assert len(examples) == len(world.ids())


@pytest.mark.parametrize("streaming", [True, False])
def test_join_imagefolder(world: World, streaming: bool) -> None:
    folder = datasets.load_dataset(
        "imagefolder", data_dir=str(world.images / "train"), split="train", streaming=streaming
    )
    joined = si.join(folder, world.build)
    examples = list(joined)
    check(world, examples)
    assert sorted(example["image_id"] for example in examples) == sorted(world.ids())


def test_join_after_select_and_shuffle(world: World, tmp_path: Path) -> None:
    whole = datasets.load_dataset(
        "parquet", data_files=str(parquet(world, tmp_path) / "data" / "*.parquet"), split="train"
    )
    some = whole.shuffle(seed=1).select(range(10))
    joined = si.join(some, world.build)
    assert [example["note"][8:] for example in joined] == ids(joined)
    check(world, list(joined))


# What is missing or does not fit


def test_missing_images(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = world.copy(tmp_path)
    gone = [world.rows["train"][index] for index in (0, 5, 20)]
    for row in gone:
        other.path(row).unlink()
    arguments: dict[str, Any] = {"images": other.images, "split": "train"}
    for streaming in (True, False):
        with pytest.raises(si.SalientImageNetError, match=gone[0]["image_id"]):
            list(si.load(other.build, streaming=streaming, **arguments))
        before = si.skipped["missing"]
        with caplog.at_level(logging.WARNING):
            dataset = si.load(other.build, streaming=streaming, on_missing="skip", **arguments)
            found = ids(dataset)
        assert found == [name for name in world.ids() if name not in {r["image_id"] for r in gone}]
        assert si.skipped["missing"] - before == 3
        assert "were skipped: 2 missing" in caplog.text


def test_missing_masks(world: World, tmp_path: Path) -> None:
    root = parquet(world, tmp_path)
    extra = datasets.Dataset.from_dict(
        {"image": [{"bytes": b"", "path": "n01440764_999999.JPEG"}]},
        datasets.Features(image=datasets.Image(decode=False)),
    )
    whole = datasets.load_dataset(
        "parquet", data_files=str(root / "data" / "*.parquet"), split="train"
    ).select_columns(["image"])
    both = datasets.concatenate_datasets(
        [whole.cast_column("image", datasets.Image(decode=False)), extra]
    ).cast_column("image", datasets.Image())
    with pytest.raises(si.SalientImageNetError, match=r"no masks of 1 images, such as n01440764_9"):
        si.join(both, world.build, split="train")
    before = si.skipped["missing"]
    assert si.join(both, world.build, split="train", on_missing="skip").num_rows == len(world.ids())
    assert si.skipped["missing"] - before == 1
    stream = both.to_iterable_dataset(num_shards=2)
    with pytest.raises(si.SalientImageNetError, match="no masks of 1 images"):
        list(si.join(stream, world.build, split="train"))
    joined = si.join(stream, world.build, split="train", on_missing="skip")
    assert len(list(joined)) == len(world.ids())


def shrink(world: World) -> dict[str, Any]:
    row = world.rows["train"][3]
    path = world.path(row)
    PIL.Image.open(path).resize((row["width"] // 2, row["height"] // 2)).save(path, "JPEG")
    return row


def test_resized_copies(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = world.copy(tmp_path)
    row = shrink(other)
    arguments: dict[str, Any] = {"images": other.images, "split": "train"}
    for streaming in (True, False):
        with pytest.raises(si.SalientImageNetError, match="pixels, but masks were made from"):
            list(si.load(other.build, streaming=streaming, **arguments))
        with caplog.at_level(logging.WARNING):
            dataset = si.load(other.build, streaming=streaming, on_mismatch="warn", **arguments)
            example = next(e for e in dataset if e["image_id"] == row["image_id"])
        assert "but masks were made from" in caplog.text
        # A resized copy of the whole image: the mask follows it.
        whole = si.render(row, window=si.crop_box(row["width"], row["height"]), size=224)
        cropped = si.CenterCrop()(example)
        if cropped["core_mask"] is not None:
            assert np.abs(cropped["core_mask"].numpy().astype(int) - whole).mean() < 3
        dataset = si.load(other.build, streaming=streaming, on_mismatch="skip", **arguments)
        assert row["image_id"] not in ids(dataset)


def test_resized_copies_in_datasets(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = world.copy(tmp_path)
    row = shrink(other)
    for streaming in (True, False):
        folder = datasets.load_dataset(
            "imagefolder", data_dir=str(other.images / "train"), split="train", streaming=streaming
        )
        with pytest.raises(si.SalientImageNetError, match="but masks were made from"):
            [si.CenterCrop()(example) for example in si.join(folder, other.build)]
        before = si.skipped["mismatch"]
        joined = si.join(folder, other.build, on_mismatch="skip")
        assert sorted(ids(joined)) == sorted(set(other.ids()) - {row["image_id"]})
        assert si.skipped["mismatch"] == before + 1
    assert "the dataset were skipped: 1 mismatch" in caplog.text


def test_labels_in_another_order(world: World, tmp_path: Path) -> None:
    dataset = datasets.load_dataset(
        "parquet", data_files=str(parquet(world, tmp_path) / "data" / "*.parquet"), split="train"
    )
    devkit = dataset.map(lambda row: {"label": 3 - row["label"]})
    with pytest.raises(si.SalientImageNetError, match="indices of sorted wnids, not the devkit's"):
        si.join(devkit, world.build)
    with pytest.raises(si.SalientImageNetError, match="not the devkit's"):
        next(iter(si.join(devkit.to_iterable_dataset(), world.build, split="train")))
    assert si.join(devkit, world.build, on_mismatch="warn")[0]["label"] == 0


def test_exif_is_not_applied(world: World, tmp_path: Path) -> None:
    other = world.copy(tmp_path)
    row = other.rows["train"][0]
    image = PIL.Image.open(other.path(row))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(other.path(row), exif=exif)
    example = next(iter(si.load(other.build, images=other.images, split="train", streaming=True)))
    assert example["image"].size == (row["width"], row["height"])


def test_gray_and_cmyk_become_rgb(world: World, tmp_path: Path) -> None:
    other = world.copy(tmp_path)
    for row, mode in zip(other.rows["train"], ("L", "CMYK"), strict=False):
        PIL.Image.open(other.path(row)).convert(mode).save(other.path(row), "JPEG")
    stream = si.load(other.build, images=other.images, split="train", streaming=True)
    assert [example["image"].mode for example in itertools.islice(stream, 2)] == ["RGB", "RGB"]


# Bad input, one sentence each


def test_no_such_directory(world: World, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no directory .*nowhere: give the path"):
        si.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="check images="):
        si.load(world.build, images=tmp_path / "nowhere", split="train")


def test_no_build(world: World, tmp_path: Path) -> None:
    with pytest.raises(si.SalientImageNetError, match="is no build of Salient ImageNet-1M"):
        si.load(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(si.SalientImageNetError, match="no valid manifest"):
        si.load(tmp_path)


def test_newer_format(world: World, tmp_path: Path) -> None:
    manifest = json.loads((world.build / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(si.SalientImageNetError, match="format version 99, newer than"):
        si.load(tmp_path)


def test_no_such_config_split_or_format(world: World) -> None:
    with pytest.raises(si.SalientImageNetError, match="no config pictures: use images, masks"):
        si.load(world.build, "pictures")
    with pytest.raises(si.SalientImageNetError, match="no split test: use train or validation"):
        si.load(world.build, split="test")
    with pytest.raises(si.SalientImageNetError, match="Say images="):
        si.load(world.build, "images", split="train")
    with pytest.raises(si.SalientImageNetError, match="no format 'jax'"):
        si.load(
            world.build,
            images=world.images,
            split="train",
            streaming=True,
            format="jax",  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_missing": "ignore"}, "no on_missing 'ignore': use error or skip"),
        ({"on_mismatch": "ignore"}, "no on_mismatch 'ignore': use error or warn or skip"),
        ({"geometry": "public"}, "no geometry 'public': use aligned or upstream"),
        ({"select": "n01440764"}, "takes a Selection, such as"),
    ],
)
def test_no_such_option(world: World, options: dict[str, Any], message: str) -> None:
    with pytest.raises(si.SalientImageNetError, match=message):
        si.load(world.build, images=world.images, split="train", streaming=True, **options)
    folder = datasets.load_dataset("imagefolder", data_dir=world.images / "train", split="train")
    with pytest.raises(si.SalientImageNetError, match=message):
        si.join(folder, world.build, **options)


def test_one_name_for_a_list(world: World) -> None:
    with pytest.raises(si.SalientImageNetError, match=r"use columns=\['label'\]"):
        si.load(world.build, split="train", columns="label")
    for label in ("n01440764", 0):
        with pytest.raises(si.SalientImageNetError, match="labels is a list: use labels="):
            si.Selection(labels=label)  # type: ignore[arg-type]


def test_images_that_are_no_dataset(world: World) -> None:
    folders = datasets.load_dataset("imagefolder", data_dir=world.images / "train")
    for images, message in ((folders, "give one of 'train'"), ([1], "not list: open them with")):
        with pytest.raises(si.SalientImageNetError, match=message):
            si.join(images, world.build)
        with pytest.raises(si.SalientImageNetError, match=message):
            si.load(world.build, images=images, split="train")


@pytest.mark.parametrize("streaming", [True, False])
def test_columns_that_the_images_do_not_have(world: World, streaming: bool) -> None:
    data = world.images / "train"
    folder = datasets.load_dataset("imagefolder", data_dir=data, split="train", streaming=streaming)
    for name in ("image_column", "id_column"):
        with pytest.raises(si.SalientImageNetError, match="no column picture: use image, label"):
            si.join(folder, world.build, **cast(Any, {name: "picture"}))
    with pytest.raises(si.SalientImageNetError, match="does not tell the file names"):
        next(iter(si.join(folder, world.build, id_column="label")))


def test_nothing_left(world: World) -> None:
    none = si.Selection(labels=())
    folder = datasets.load_dataset("imagefolder", data_dir=world.images / "train", split="train")
    with pytest.raises(si.SalientImageNetError, match="No image is left: widen select="):
        si.join(folder, world.build, select=none)
    with pytest.raises(si.SalientImageNetError, match="No image is left: widen select="):
        si.load(world.build, images=world.images, split="train", select=none)


def test_images_without_the_split(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.images / "train", tmp_path / "train")
    with pytest.raises(si.SalientImageNetError, match="no folder for the split validation, only t"):
        si.load(world.build, images=tmp_path, split="val", streaming=True)


def test_images_of_something_else(world: World, tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    for name in ("felix.jpg", "tom.jpg"):
        (tmp_path / "cats" / name).write_bytes(b"")
    first = world.ids()[0]
    with pytest.raises(si.SalientImageNetError, match=rf"found cats/felix, cats/tom; .* {first}"):
        si.load(world.build, images=tmp_path, split="train", streaming=True)
    folder = datasets.Dataset.from_dict(
        {"image": [{"bytes": b"", "path": f"{i}.png"} for i in range(4)]},
        datasets.Features(image=datasets.Image()),
    )
    with pytest.raises(si.SalientImageNetError, match=r"None .*: 0, 1, 2; it has names such as n0"):
        si.join(folder, world.build, split="train")


def test_names_that_are_not_told(world: World) -> None:
    nameless = datasets.Dataset.from_dict(
        {"image": [{"bytes": b"x", "path": None}]}, datasets.Features(image=datasets.Image())
    )
    with pytest.raises(si.SalientImageNetError, match="does not tell the file names"):
        si.join(nameless, world.build, split="train")
    with pytest.raises(si.SalientImageNetError, match="does not tell its split"):
        si.join(nameless, world.build)
    with pytest.raises(si.SalientImageNetError, match="0 columns of images"):
        si.join(datasets.Dataset.from_dict({"a": [1]}), world.build, split="train")


def test_corrupt_and_missing_shards(world: World, tmp_path: Path) -> None:
    other = world.copy(tmp_path)
    second = other.build / "masks" / "train-00001-of-00006.parquet"
    second.write_bytes(second.read_bytes()[:500])
    for arguments in ({"streaming": True}, {}):
        with pytest.raises(si.SalientImageNetError, match=r"train-00001-of-00006.parquet is corr"):
            list(si.load(other.build, split="train", **arguments))  # type: ignore[arg-type]
    second.unlink()
    with pytest.raises(si.SalientImageNetError, match="is missing, though"):
        list(si.load(other.build, split="train", streaming=True))


def test_files_that_cannot_be_opened_are_not_called_corrupt(world: World, tmp_path: Path) -> None:
    other = world.copy(tmp_path)
    for name in ("masks/train-00001-of-00006.parquet", "manifest.json"):
        (other.build / name).unlink()
        (other.build / name).mkdir()
        with pytest.raises(si.SalientImageNetError, match=r"cannot be read .*directory"):
            list(si.load(other.build, split="train", streaming=True))


def test_truncated_image(world: World, tmp_path: Path) -> None:
    other = world.copy(tmp_path)
    path = other.path(other.rows["train"][0])
    path.write_bytes(path.read_bytes()[:400])
    stream = si.load(other.build, images=other.images, split="train", streaming=True)
    with pytest.raises(si.SalientImageNetError, match="cannot be decoded"):
        next(iter(stream))


def test_remote_build(world: World) -> None:
    """A build is read by fsspec, so it can lie anywhere; the Hub is one such place."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(f"{world.build}/", "/remote", recursive=True)
    stream = si.load("memory://remote", images=world.images, split="train", streaming=True)
    assert ids(stream) == world.ids()


def test_a_rebuilt_build_is_not_served_from_the_cache(world: World, tmp_path: Path) -> None:
    other = world.copy(tmp_path)
    assert si.load(other.build, split="train").num_rows == 40
    path = other.build / "manifest.json"
    manifest = json.loads(path.read_text())
    name = next(name for name in manifest["files"] if name.startswith("masks/train-00000"))
    del manifest["files"][name]
    path.write_text(json.dumps(manifest))
    assert si.load(other.build, split="train").num_rows == 29
