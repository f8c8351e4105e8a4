"""Every layout of ImageNet, made from one set of images: builder and loader read the same."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

import salient_imagenet_1m as si
from builder.errors import BuildError
from builder.images.plan import Plan, make_plan
from builder.images.sources import open_images
from tests.loader.conftest import NAMES, WNIDS, World

Layout = Callable[[World, Path, str], Path]

FOLDERS = {"train": "train", "validation": "val"}


def copy(world: World, root: Path, split: str, name: str) -> None:
    for row in world.rows[split]:
        path = root / name.format(id=row["image_id"], wnid=WNIDS[row["label"]])
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.path(row, split), path)


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def folders(name: str, given: str = ".", solution: str | None = None) -> Layout:
    """Return a layout of files; of what is made, the path `given` is given."""

    def make(world: World, target: Path, split: str) -> Path:
        copy(world, target, split, name.replace("{split}", FOLDERS[split]))
        if solution and split == "validation":
            lines = [f"{r['image_id']},{WNIDS[r['label']]} 1 2 3 4 " for r in world.rows[split]]
            content = "\n".join(["ImageId,PredictionString", *lines])
            (target / solution).write_text(content)
        return target / given.replace("{split}", FOLDERS[split])

    return make


def official(world: World, target: Path, split: str) -> Path:
    path = target / f"ILSVRC2012_img_{FOLDERS[split]}.tar"
    if split == "validation":
        files = [world.path(row, split) for row in world.rows[split]]
        return write_tar(path, {file.name: file.read_bytes() for file in files})
    classes = {}
    for wnid in WNIDS:
        images = sorted((world.images / "train" / wnid).iterdir())
        inner = write_tar(target / "inner.tar", {i.name: i.read_bytes() for i in images})
        classes[f"{wnid}.tar"] = inner.read_bytes()
        inner.unlink()
    return write_tar(path, classes)


def official_in_a_directory(world: World, target: Path, split: str) -> Path:
    return official(world, target, split).parent


def official_with_kaggles_list(world: World, target: Path, split: str) -> Path:
    folders("{split}/{id}.JPEG", solution="LOC_val_solution.csv")(world, target, split)
    shutil.rmtree(target / FOLDERS[split])
    return official(world, target, split)


def parquet(name: str) -> Layout:
    def make(world: World, target: Path, split: str) -> Path:
        rows = world.rows[split]
        names = [f"{row['image_id']}_{WNIDS[row['label']]}.JPEG" for row in rows]
        contents = [world.path(row, split).read_bytes() for row in rows]
        features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=NAMES))
        pictures = [{"bytes": c, "path": n} for c, n in zip(contents, names, strict=True)]
        columns = {"image": pictures, "label": [row["label"] for row in rows]}
        path = target / name.format(split=split)
        path.parent.mkdir(parents=True)
        datasets.Dataset.from_dict(columns, features).to_parquet(path)
        return target

    return make


def webdataset(name: str, ending: str = "jpg") -> Layout:
    def make(world: World, target: Path, split: str) -> Path:
        for shard in range(2):
            members = {}
            for row in world.rows[split][shard::2]:
                members[f"{row['image_id']}.{ending}"] = world.path(row, split).read_bytes()
                members[f"{row['image_id']}.cls"] = str(row["label"]).encode()
            write_tar(target / name.format(split=split, shard=shard), members)
        return target

    return make


LAYOUTS: dict[str, Layout] = {
    "a folder per split and class": folders("{split}/{wnid}/{id}.JPEG"),
    "a folder named validation": folders("validation/{wnid}/{id}.JPEG"),
    "a folder per class": folders("{wnid}/{id}.JPEG"),
    "the split's folder": folders("{split}/{wnid}/{id}.JPEG", given="{split}"),
    "names and endings of others": folders("{split}/{wnid}/{id}_{wnid}.jpg"),
    "tars beside the folders that they held": folders("{split}/{wnid}/{id}.JPEG"),
    "kaggle": folders(
        "ILSVRC/Data/CLS-LOC/{split}/{wnid}/{id}.JPEG", solution="LOC_val_solution.csv"
    ),
    "kaggle, flat": folders(
        "ILSVRC/Data/CLS-LOC/{split}/{id}.JPEG", solution="LOC_val_solution.csv"
    ),
    "kaggle, its inner folder": folders(
        "ILSVRC/Data/CLS-LOC/{split}/{id}.JPEG", "ILSVRC", solution="LOC_val_solution.csv"
    ),
    "kaggle, its innermost folder": folders(
        "ILSVRC/Data/CLS-LOC/{split}/{id}.JPEG",
        "ILSVRC/Data/CLS-LOC/{split}",
        solution="LOC_val_solution.csv",
    ),
    "flat in a folder per split": folders("{split}/{id}.JPEG"),
    "flat": folders("{id}.JPEG"),
    "official tar": official,
    "official tar in a directory": official_in_a_directory,
    "official tar with kaggle's list": official_with_kaggles_list,
    "parquet as on the hub": parquet("data/{split}-00000-of-00001.parquet"),
    "parquet in a folder per split": parquet("{split}/0.parquet"),
    "webdataset": webdataset("{split}-{shard:03d}.tar"),
    "webdataset, named as others do": webdataset("imagenet1k-{split}-{shard:04d}.tar", "JPEG"),
    "webdataset in a folder per split": webdataset("{split}/{shard:06d}.tar", "jpeg"),
}
FLAT = {"flat in a folder per split", "flat", "official tar", "official tar in a directory"}
"""Where nothing tells the classes of validation images."""
ASKED = r"Nothing tells the classes .* LOC_val_solution\.csv beside them\."


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FOLDERS)
def split(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def images(world: World, tmp_path: Path, layout: str, split: str) -> Path:
    if layout == "a folder named validation" and split == "train":
        pytest.skip("of validation images")
    made = LAYOUTS[layout](world, tmp_path, split)
    if layout == "tars beside the folders that they held":
        for name in (f"{split}.tar", f"{FOLDERS[split]}/{WNIDS[0]}.tar", "train.tar", "val.tar"):
            write_tar(tmp_path / name, {"x.txt": b""})
    return made


def expected(world: World, split: str) -> dict[str, bytes]:
    return {row["image_id"]: world.path(row, split).read_bytes() for row in world.rows[split]}


def in_builder(images: Path | str, split: str) -> dict[str, bytes]:
    listed = open_images(str(images), split, lambda count: None)
    return {si.image_id(str(path)): listed.read(place) for place, path in enumerate(listed.paths)}


def in_loader(world: World, images: Path | str, split: str, streaming: bool) -> dict[str, bytes]:
    loaded = si.load(world.build, images=images, split=split, streaming=streaming, decode=False)
    return {
        row["image_id"]: row["image"]["bytes"] or Path(row["image"]["path"]).read_bytes()
        for row in loaded
    }


def test_builder_and_loader_read_the_same(world: World, images: Path, split: str) -> None:
    there = expected(world, split)
    assert in_builder(images, split) == there
    for streaming in (True, False):
        assert in_loader(world, images, split, streaming) == there


def test_a_plan_is_the_same_or_asks_for_classes(
    world: World, images: Path, tmp_path: Path, layout: str, split: str
) -> None:
    wanted = {wnid: label for label, wnid in enumerate(WNIDS)}

    def plan_of(source: Path) -> Plan:
        listed = open_images(str(source), split, lambda count: None)
        return make_plan(listed, wanted, split, seed=0, limit=None, shard_size=None)

    if split == "validation" and layout in FLAT:
        with pytest.raises(BuildError, match=ASKED):
            plan_of(images)
        return
    plan = plan_of(images)
    found = dict(zip(plan.ids.to_pylist(), plan.labels.tolist(), strict=True))
    assert found == {row["image_id"]: row["label"] for row in world.rows[split]}
    assert not plan.set_aside
    usual = LAYOUTS["a folder per split and class"](world, tmp_path / "usual", split)
    assert plan.sha256 == plan_of(usual).sha256


def test_an_id_on_the_hub(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_hub = parquet("data/train-00000-of-00001.parquet")(world, tmp_path / "hub", "train")
    there = {"someone/imagenet": str(on_hub)}
    for name in ("load_dataset", "get_dataset_split_names"):
        real = getattr(datasets, name)
        monkeypatch.setattr(datasets, name, lambda at, real=real, **k: real(there[at], **k))
    assert in_builder("someone/imagenet", "train") == expected(world, "train")
    assert in_loader(world, "someone/imagenet", "train", True) == expected(world, "train")
    said = r"validation of the dataset someone/imagenet cannot be opened \(it has train\): check"
    with pytest.raises(BuildError, match=said):
        in_builder("someone/imagenet", "validation")
    with pytest.raises(si.SalientImageNetError, match=said):
        in_loader(world, "someone/imagenet", "validation", True)
