"""Where images come from: folders, tars, tars of tars, and anything that `datasets` opens."""

from __future__ import annotations

import errno
import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from builder.errors import BuildError
from builder.images.labels import label_classes
from builder.images.plan import make_plan
from builder.images.sources import (
    NO_LABEL,
    DatasetImages,
    FolderImages,
    Images,
    TarImages,
    find_images,
    open_images,
)
from salient_imagenet_1m import image_id

WNIDS = ("n00000001", "n00000002")
TRAIN = {
    f"{wnid}/{wnid}_{number}.JPEG": f"{wnid}, image {number}".encode() * 50
    for wnid in WNIDS
    for number in (1, 2, 10)
}
VALIDATION = {f"{WNIDS[0]}/ILSVRC2012_val_00000293.JPEG": b"validation"}


def open_split(source: Path, split: str = "train") -> Images:
    return open_images(str(source), split, lambda count: None)


def refuse(source: Path | str, split: str = "train") -> str:
    """Return the sentence with which a source is refused."""
    with pytest.raises(BuildError) as caught:
        open_images(str(source), split, lambda count: None)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(source) in sentence
    assert sentence.endswith(".")
    return sentence


def contents(images: Images) -> dict[str, bytes]:
    return {path: images.read(index) for index, path in enumerate(images.paths.to_pylist())}


def make_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def make_tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_tar_of_tars() -> bytes:
    """Return a tar like ILSVRC2012_img_train.tar."""
    return make_tar(
        {
            f"{wnid}.tar": make_tar(
                {name.split("/")[1]: data for name, data in TRAIN.items() if name.startswith(wnid)}
            )
            for wnid in WNIDS
        }
    )


# Folders


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "train"), ("val", "validation"), ("validation", "validation"), ("", "train")],
)
def test_a_folder_per_class_is_listed_by_name_and_read(
    tmp_path: Path, folder: str, split: str
) -> None:
    make_folder(tmp_path / folder, TRAIN)
    images = open_split(tmp_path, split)
    assert isinstance(images, FolderImages)
    assert contents(images) == TRAIN
    assert images.paths.to_pylist() == sorted(TRAIN)
    assert images.wnids.to_pylist() == [name.split("/")[0] for name in sorted(TRAIN)]
    assert images.labels.tolist() == [NO_LABEL] * len(TRAIN)


def test_only_the_folder_of_the_split_is_listed(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", TRAIN)
    make_folder(tmp_path / "val", VALIDATION)
    assert contents(open_split(tmp_path, "train")) == TRAIN
    assert contents(open_split(tmp_path, "validation")) == VALIDATION


def test_files_beside_the_class_folders_are_no_images(tmp_path: Path) -> None:
    make_folder(tmp_path, {**TRAIN, "LOC_synset_mapping.txt": b"text", "n00000001/more/x": b""})
    assert contents(open_split(tmp_path)) == TRAIN


def listed(images: Images) -> dict[str, str]:
    return {path: reason for path, reason, _ in images.unlisted}


def test_what_lies_in_class_folders_and_is_no_file_is_told(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path, {**TRAIN, "n00000001/more/deep/x.JPEG": b"", "n00000002/more/y.JPEG": b""}
    )
    (folder / "elsewhere").mkdir()
    (folder / "n00000001" / "gone.JPEG").symlink_to("nowhere")
    (folder / "n00000001" / "loop.JPEG").symlink_to("loop.JPEG")
    (folder / "n00000001" / "up").symlink_to("..")
    (folder / "n00000001" / "more" / "up").symlink_to("../..")
    (folder / "n00000003").symlink_to("n00000003")
    os.mkfifo(folder / "n00000002" / "pipe")
    (folder / "README.md").write_text("beside the class folders")
    images = open_split(folder)
    assert contents(images) == TRAIN
    assert listed(images) == {
        "n00000001/gone.JPEG": "dangling_link",
        "n00000001/loop.JPEG": "dangling_link",
        "n00000001/up": "not_a_file",
        "n00000001/more/up": "nested",
        "n00000001/more/deep/x.JPEG": "nested",
        "n00000002/more/y.JPEG": "nested",
        "n00000002/pipe": "not_a_file",
        "n00000003": "dangling_link",
    }


def test_flat_images_have_no_class_folders(tmp_path: Path) -> None:
    make_folder(tmp_path, {"ILSVRC2012_val_00000293.JPEG": b"flat", "thumbnails/small/x.png": b""})
    (tmp_path / "ILSVRC2012_val_00000294.JPEG").symlink_to("nowhere")
    images = open_split(tmp_path)
    assert images.paths.to_pylist() == ["ILSVRC2012_val_00000293.JPEG"]
    assert listed(images) == {"ILSVRC2012_val_00000294.JPEG": "dangling_link"}


def test_a_folder_that_cannot_be_listed_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(folder: str) -> Iterator[os.DirEntry[str]]:
        raise OSError(errno.ESTALE, "Stale file handle", folder)

    make_folder(tmp_path, TRAIN)
    with monkeypatch.context() as patch:
        patch.setattr("salient_imagenet_1m.is_dataset", lambda *names: False)
        patch.setattr("builder.images.sources.is_dataset", lambda *names: False)
        patch.setattr("os.scandir", gone)
        assert "cannot be listed (Stale file handle): check --images." in refuse(tmp_path)


def test_class_folders_may_be_links(tmp_path: Path) -> None:
    make_folder(tmp_path / "elsewhere", TRAIN)
    (tmp_path / "root").mkdir()
    for wnid in WNIDS:
        (tmp_path / "root" / wnid).symlink_to(tmp_path / "elsewhere" / wnid)
    assert contents(open_split(tmp_path / "root")) == TRAIN


def test_the_listing_tells_how_far_it_is(tmp_path: Path) -> None:
    counts: list[int] = []
    open_images(str(make_folder(tmp_path, TRAIN)), "train", counts.append)
    assert counts == [3, 3]


def test_a_name_that_is_no_utf8_does_not_stop_the_listing(tmp_path: Path) -> None:
    odd = os.fsdecode(bytes([255]))
    files = {**TRAIN, f"{WNIDS[0]}/{odd}.JPEG": b"data"}
    (tmp_path / "train.tar").write_bytes(make_tar(files))
    for source in (make_folder(tmp_path / "root", files), tmp_path / "train.tar"):
        images = open_split(source)
        assert len(images.paths) == len(files)
        assert set(TRAIN) < set(images.paths.to_pylist())


def test_a_file_that_vanished_raises_oserror(tmp_path: Path) -> None:
    images = open_split(make_folder(tmp_path, TRAIN))
    (tmp_path / images.paths[0].as_py()).unlink()
    with pytest.raises(OSError, match="No such file"):
        images.read(0)


def test_a_split_without_a_folder_is_refused_with_those_that_have_one(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", TRAIN)
    said = "has no folder for the split validation, only train: check --images and --split."
    assert said in refuse(tmp_path, "validation")


@pytest.mark.parametrize("folders", [(), ("train",), ("train/n00000001",), ("n00000001",)])
def test_an_empty_directory_is_refused(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    sentence = refuse(tmp_path)
    assert "holds no images of the split train in class folders" in sentence
    assert "--images takes ROOT/train/<wnid>/* or ROOT/<wnid>/*" in sentence


def test_flat_images_that_nothing_tells_the_classes_of_are_refused_where_these_are_needed(
    tmp_path: Path,
) -> None:
    make_folder(tmp_path, {"ILSVRC2012_val_00000293.JPEG": b"flat"})
    images = open_split(tmp_path)
    said = "Nothing tells the classes of the images, such as of ILSVRC2012_val_00000293.JPEG: sort"
    with pytest.raises(BuildError, match=said):
        make_plan(images, {WNIDS[0]: 0}, "validation", seed=0, limit=None, shard_size=None)
    with pytest.raises(BuildError, match=said):
        label_classes(images, classes=1000)


@pytest.mark.parametrize(
    "content",
    [b"", b"ImageId,PredictionString\nILSVRC2012_val_00000293\n", bytes(range(256)), b"a,b\n"],
)
def test_a_list_of_classes_that_is_none_tells_nothing(tmp_path: Path, content: bytes) -> None:
    make_folder(
        tmp_path, {"ILSVRC2012_val_00000293.JPEG": b"flat", "LOC_val_solution.csv": content}
    )
    assert open_split(tmp_path).wnids.to_pylist() == [None]


def test_only_files_that_imagenet_named_are_listed_where_there_are_no_class_folders(
    tmp_path: Path,
) -> None:
    names = ["ILSVRC2012_val_00000293.JPEG", "n00000001_2.png", "n00000001_3_n00000001.JPEG"]
    others = ["LOC_val_solution.csv", "README.md", ".DS_Store"]
    make_folder(tmp_path / "val", dict.fromkeys((*names, *others), b""))
    images = open_split(tmp_path, "validation")
    assert images.paths.to_pylist() == names
    assert images.wnids.to_pylist() == [None, "n00000001", "n00000001"]


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    said = "There is no file, directory or dataset"
    assert said in refuse(tmp_path / "none")
    assert said in refuse("none")


# Tars


@pytest.fixture(params=["tar of tars", "flat tar of folders"])
def tar(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "ILSVRC2012_img_train.tar"
    path.write_bytes(make_tar_of_tars() if request.param == "tar of tars" else make_tar(TRAIN))
    return path


def test_a_tar_is_read_where_it_lies(tar: Path) -> None:
    images = open_split(tar)
    assert isinstance(images, TarImages)
    assert contents(images) == TRAIN
    assert images.wnids.to_pylist() == [path.split("/")[0] for path in images.paths.to_pylist()]
    assert images.labels.tolist() == [NO_LABEL] * len(TRAIN)
    assert os.listdir(tar.parent) == [tar.name]  # noqa: PTH208 (nothing was unpacked)


def test_a_tar_is_read_by_several_threads_at_a_time(tar: Path) -> None:
    images = open_split(tar)
    paths = images.paths.to_pylist()
    order = np.random.default_rng(0).integers(0, len(paths), 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(images.read, order)) == [TRAIN[paths[index]] for index in order]


def test_folders_and_other_members_of_a_tar_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "train.tar"
    with tarfile.open(path, "w") as file:
        file.add(make_folder(tmp_path / "root", TRAIN), ".")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"n00000001/link{kind.decode()}.JPEG")
            link.type, link.linkname = kind, "n00000001_1.JPEG"
            file.addfile(link)
    images = open_split(path)
    assert {name.removeprefix("./"): data for name, data in contents(images).items()} == TRAIN
    assert listed(images) == {
        "n00000001/link2.JPEG": "not_a_file",
        "n00000001/link1.JPEG": "not_a_file",
    }


def test_long_names_in_a_tar_are_kept(tmp_path: Path) -> None:
    files = {f"{'a' * 150}/n00000001/n00000001_1.JPEG": b"data"}
    path = tmp_path / "train.tar"
    path.write_bytes(make_tar(files))
    images = open_split(path)
    assert contents(images) == files
    assert images.wnids.to_pylist() == ["n00000001"]


@pytest.mark.parametrize("make", [make_tar_of_tars, lambda: make_tar(TRAIN)])
def test_a_truncated_tar_is_refused_wherever_it_ends(tmp_path: Path, make: Any) -> None:
    data = make()
    path = tmp_path / "train.tar"
    end = len(data.rstrip(b"\0"))
    for length in range(0, end, 256):
        path.write_bytes(data[:length])
        try:
            images = open_split(path)
        except BuildError as error:
            assert f"{path} is no whole tar" in str(error)
        else:
            pytest.fail(f"a tar cut at {length} of {end} gave {len(images.paths)} images")


def test_a_truncated_tar_of_classes_inside_a_whole_tar_is_refused(tmp_path: Path) -> None:
    inner = make_tar(TRAIN)
    path = tmp_path / "train.tar"
    path.write_bytes(make_tar({"n00000001.tar": inner[:2100], "n00000002.tar": inner}))
    assert "is no whole tar" in refuse(path)


@pytest.mark.parametrize("data", [b"", b"What a nice otter.\n", bytes(range(256)) * 40])
def test_a_file_that_is_no_tar_is_refused_in_one_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "train.tar"
    path.write_bytes(data)
    sentence = refuse(path)
    assert f"{path} is no whole tar" in sentence
    assert "give --images a directory, " in sentence


def test_a_compressed_tar_is_refused_since_it_cannot_be_read_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "train.tar.gz"
    path.write_bytes(gzip.compress(make_tar(TRAIN)))
    assert "is no whole tar" in refuse(path)


def test_an_empty_tar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.tar"
    path.write_bytes(make_tar({}))
    assert "holds no images of the split train" in refuse(path)


# Datasets


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `datasets` cache what it reads in a directory of the test."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), level).save(file, "JPEG")
    return file.getvalue()


HUB = {
    "n01440764_10026_n01440764.JPEG": jpeg(10),
    "n01440764_18_n01440764.JPEG": jpeg(20),
    "n01443537_2_n01443537.JPEG": jpeg(30),
}
HUB_VALIDATION = {"ILSVRC2012_val_00000293_n01440764.JPEG": jpeg(40)}


def write_parquet(
    path: Path, files: dict[str, bytes], *, names: bool = True, **columns: list[Any]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": data, "path": name if names else None} for name, data in files.items()]
    features = {"image": datasets.Image()}
    if "label" in columns:
        features["label"] = datasets.ClassLabel(names=["tench", "goldfish", "shark"])
    features |= {name: datasets.Value("string") for name in columns if name != "label"}
    rows = {"image": images, **columns}
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).to_parquet(path)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Return a directory in the layout of the Hub's ImageNet."""
    data = tmp_path / "imagenet-1k" / "data"
    write_parquet(data / "train-00000-of-00001.parquet", HUB, label=[0, 0, 1])
    write_parquet(data / "validation-00000-of-00001.parquet", HUB_VALIDATION, label=[0])
    return tmp_path / "imagenet-1k"


def test_parquet_in_the_hubs_layout_gives_bytes_names_wnids_and_labels(hub: Path) -> None:
    images = open_split(hub)
    assert isinstance(images, DatasetImages)
    assert contents(images) == HUB
    assert images.wnids.to_pylist() == ["n01440764", "n01440764", "n01443537"]
    assert images.labels.tolist() == [0, 0, 1]


def test_the_hubs_names_become_canonical_image_ids(hub: Path) -> None:
    train, validation = open_split(hub), open_split(hub, "validation")
    assert [image_id(path) for path in train.paths.to_pylist()] == [
        "n01440764_10026",
        "n01440764_18",
        "n01443537_2",
    ]
    assert [image_id(path) for path in validation.paths.to_pylist()] == ["ILSVRC2012_val_00000293"]
    assert validation.wnids.to_pylist() == ["n01440764"]


def test_a_dataset_is_read_by_several_threads_at_a_time(hub: Path) -> None:
    images = open_split(hub)
    order = np.random.default_rng(0).integers(0, len(HUB), 300).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(images.read, order))
    assert found == [list(HUB.values())[index] for index in order]


@pytest.mark.parametrize("column", ["file_name", "filename", "__key__"])
def test_names_may_stand_in_a_column_of_their_own(tmp_path: Path, column: str) -> None:
    names = [f"n01440764/{name}" for name in HUB]
    write_parquet(tmp_path / "train.parquet", HUB, names=False, **{column: names})
    images = open_split(tmp_path)
    assert images.paths.to_pylist() == names
    assert images.labels.tolist() == [NO_LABEL] * len(HUB)


def test_a_name_without_a_folder_lies_in_that_of_its_class(tmp_path: Path) -> None:
    files = {"photo 1.jpg": jpeg(10), "photo 2.jpg": jpeg(20), "zoo/photo 1.jpg": jpeg(30)}
    write_parquet(tmp_path / "train.parquet", files | HUB, label=[0, None, 1, 0, 0, 1])
    images = open_split(tmp_path)
    assert images.paths.to_pylist() == ["tench/photo 1.jpg", *[*files][1:], *HUB]
    assert images.wnids.to_pylist()[:3] == ["tench", None, "zoo"]
    assert images.labels.tolist() == [0, NO_LABEL, 1, 0, 0, 1]


def test_a_dataset_that_keeps_no_file_names_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", HUB, names=False, label=[0, 0, 1])
    said = (
        "does not tell the file names of its images, by which masks are joined: use a copy whose "
        "column image keeps its path, or add a column file_name."
    )
    assert said in refuse(tmp_path)


def test_a_dataset_without_the_split_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", HUB)
    sentence = refuse(tmp_path, "validation")
    assert f"The split validation of the dataset {tmp_path} cannot be opened" in sentence
    assert "check --images and --split." in sentence


def test_a_dataset_without_a_column_of_images_is_refused(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["otter"]}).to_parquet(tmp_path / "train.parquet")
    assert "has 0 image columns, expected one" in refuse(tmp_path)


def test_parquet_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"What a nice otter.\n")
    assert f"The split train of the dataset {tmp_path} cannot be opened" in refuse(tmp_path)


# Image ids


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("n01440764/n01440764_10026.JPEG", "n01440764_10026"),
        ("n01440764_10026_n01440764.JPEG", "n01440764_10026"),
        ("val/n01440764/ILSVRC2012_val_00000293.JPEG", "ILSVRC2012_val_00000293"),
        ("ILSVRC2012_val_00000293_n01440764.JPEG", "ILSVRC2012_val_00000293"),
        ("train\\n01440764\\n01440764_18.jpeg", "n01440764_18"),
        ("n01440764_tench.JPEG", "n01440764_tench"),
        ("birds/train/robin/photo 1.jpg", "robin/photo 1"),
        ("./photo 1.jpg", "photo 1"),
        ("n01440764_18", "n01440764_18"),
    ],
)
def test_an_image_id_is_the_canonical_stem_in_every_layout(name: str, expected: str) -> None:
    assert image_id(name) == expected


def test_images_are_found_by_their_ids_and_by_stems_as_formerly(tmp_path: Path) -> None:
    files = {**TRAIN, "robin/photo 1.jpg": b"a", "wren/photo 1.jpg": b"b", "wren/photo 2.jpg": b"c"}
    images = open_split(make_folder(tmp_path, files))
    paths = images.paths.to_pylist()
    wanted = {"n00000001_1", "wren/photo 1", "photo 2", "kite/photo 2"}
    found = find_images(images, wanted)
    assert {name: paths[place] for name, place in found.items()} == {
        "n00000001_1": "n00000001/n00000001_1.JPEG",
        "wren/photo 1": "wren/photo 1.jpg",
        "photo 2": "wren/photo 2.jpg",
    }


def test_a_tar_and_a_folder_give_the_same_ids_and_wnids(tmp_path: Path) -> None:
    (tmp_path / "train.tar").write_bytes(make_tar_of_tars())
    sources = [tmp_path / "train.tar", make_folder(tmp_path / "root", TRAIN)]
    found = [
        sorted(zip(map(image_id, images.paths.to_pylist()), images.wnids.to_pylist(), strict=True))
        for images in map(open_split, sources)
    ]
    assert found[0] == found[1]


def test_a_row_without_an_image_is_unreadable_and_stops_nothing(tmp_path: Path) -> None:
    table = {
        "image": [{"bytes": b"x", "path": None}, None],
        "file_name": ["n90000001_1.JPEG", "n90000001_2.JPEG"],
    }
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "file_name": datasets.Value("string")}
    )
    (tmp_path / "data").mkdir()
    made = datasets.Dataset.from_dict(table, features=features)
    made.to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    images = open_images(str(tmp_path / "data"), "train", lambda count: None)
    assert images.read(0) == b"x"
    with pytest.raises(OSError, match="holds no image"):
        images.read(1)


@pytest.mark.parametrize("path", ["/etc/hostname", "{root}/../secret.JPEG", "{root}/inside.JPEG"])
def test_rows_name_no_file_outside_of_their_source(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "inside.JPEG").write_bytes(b"mine")
    (tmp_path / "secret.JPEG").write_bytes(b"secret")
    named = path.format(root=root)
    images = pa.array(
        [{"bytes": None, "path": named}], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    table = pa.table({"image": images, "label": [0]}).cast(features.arrow_schema)
    pq.write_table(table, root / "train-00000-of-00001.parquet")
    if "inside" in path:
        assert open_images(str(root), "train", lambda _count: None).read(0) == b"mine"
        return
    with pytest.raises(BuildError, match=r"names the file .*, which is not below .*: use a copy"):
        open_images(str(root), "train", lambda _count: None)
