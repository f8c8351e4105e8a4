"""Releases of object masks, made from the planted world, go into a data set and out of it."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from builder.checks.verify import verify
from builder.cli import main
from builder.dataset.manifest import Manifest
from builder.demo.world import Truth, read_truth
from builder.errors import BuildError
from builder.run.build import build
from builder.run.workspace import Workspace
from builder.segmentations.release import open_release
from builder.segmentations.segmentations import add_segmentations
from builder.settings.segmentation import Segmentation
from builder.storage.remote import parse_location
from tests.built import hashes, load
from tests.conftest import World
from tests.quiet import Quiet
from tests.releases import object_of, write_folder, write_rival10

SPLITS = ("train", "validation")


@pytest.fixture(scope="module")
def truth(planted_world: World) -> Truth:
    return read_truth(planted_world.root.parent)


@pytest.fixture
def data(planted: Path, tmp_path: Path) -> Path:
    """Return a copy of a data set without object masks."""
    return shutil.copytree(planted, tmp_path / "data")


@pytest.fixture
def release(hard_imagenet: Path, tmp_path: Path) -> Path:
    """Return a copy of a good release, to be spoilt."""
    return shutil.copytree(hard_imagenet, tmp_path / "hardImageNet")


def problems(data: Path) -> dict[str, list[str]]:
    return {check.name: check.problems for check in verify(data) if not check.passed}


def check_masks(data: Path, truth: Truth) -> None:
    """Every image has its own object, to the pixel."""
    for split in SPLITS:
        images = [row["image_id"] for row in load(data, "masks", split)]
        rows = load(data, "segmentations", split)
        assert [row["image_id"] for row in rows] == images
        for row in rows:
            is_object = object_of(truth, row["image_id"])
            assert np.array_equal(np.asarray(row["object_mask"]), is_object)
            assert row["area"] == is_object.mean()
            assert row["label"] == truth.rows[row["image_id"]]["label"]


def test_hard_imagenet_goes_in_with_masks_and_ranks(segmented: Path, truth: Truth) -> None:
    check_masks(segmented, truth)
    assert problems(segmented) == {}
    rows = load(segmented, "segmentations", "train")
    strengths = {row["image_id"]: sum(truth.strengths(row["image_id"]).values()) for row in rows}
    for label in {row["label"] for row in rows}:
        own = sorted(
            (row for row in rows if row["label"] == label), key=lambda row: row["release_rank"]
        )
        assert [row["release_rank"] for row in own] == list(range(len(own)))
        # 0 is the most spurious, as in spuriosity_rank, though the release begins with the least.
        ordered = [strengths[row["image_id"]] for row in own]
        assert ordered == sorted(ordered, reverse=True)
    assert all(
        row["release_rank"] is None for row in load(segmented, "segmentations", "validation")
    )


def test_what_is_said_of_it(segmented: Path, planted: Path) -> None:
    manifest, before = Manifest.load(segmented), Manifest.load(planted)
    assert manifest
    assert before
    told = manifest.additions["segmentations"]
    assert (told["source"], told["licence"]) == ("Hard ImageNet", "CC0 1.0")
    assert (told["given"], told["set_aside"]) == (51, {})
    assert {split: part["rows"] for split, part in told["splits"].items()} == {
        "train": 36,
        "validation": 15,
    }
    card = (segmented / "README.md").read_text()
    assert "**Object masks** of Hard ImageNet: CC0 1.0." in card
    assert f"AUROC of its pixels | {told['splits']['train']['truth']['core']['auroc']:.3f}" in card
    assert (
        "segmentations/train-00000-of-00001.parquet" in (segmented / "croissant.json").read_text()
    )
    # All else is as it was, but for the pages.
    pages = {"README.md", "croissant.json"}
    kept = {name: file for name, file in before.files.items() if name not in pages}
    assert kept.items() <= manifest.files.items()
    assert b"additions" not in before.as_bytes()


@pytest.mark.parametrize(("write", "option"), [(write_rival10, "rival10"), (write_folder, "masks")])
def test_other_layouts_come_to_the_same(
    write: Callable[[Path, Truth], None], option: str, data: Path, truth: Truth, tmp_path: Path
) -> None:
    root = tmp_path / "others"
    write(root, truth)
    options: dict[str, Any] = {option: root}
    told = add_segmentations(Segmentation(data, **options), Quiet())
    assert (told["given"], told["set_aside"]) == (51, {})
    check_masks(data, truth)
    assert problems(data) == {}


@dataclass(frozen=True)
class Fault:
    """How a mask is spoilt, and why it is then set aside."""

    spoil: Callable[[Path], object]
    reason: str


def rename(path: Path, old: str, new: str) -> Path:
    return path.rename(path.with_name(path.name.replace(old, new)))


FAULTS = {
    "cut": Fault(lambda path: path.write_bytes(path.read_bytes()[:200]), "unreadable"),
    "no picture": Fault(lambda path: path.write_text("mask"), "unreadable"),
    "another size": Fault(lambda path: Image.new("L", (9, 9), 255).save(path), "wrong_size"),
    "no object": Fault(lambda path: resave(path, 0), "empty"),
    "another class": Fault(
        lambda path: path.rename(path.with_name(f"n90000009_{path.name.partition('_')[2]}")),
        "other_class",
    ),
    "no such image": Fault(lambda path: rename(path, ".JPEG", "77.JPEG"), "unknown_image"),
    "another file of it": Fault(
        lambda path: shutil.copy(path, path.with_suffix(".png")), "duplicate"
    ),
    "a ranked image without": Fault(lambda path: path.unlink(), "no_mask"),
}


def resave(path: Path, value: int) -> None:
    with Image.open(path) as file:
        size = file.size
    Image.new("L", size, value).save(path)


def test_what_cannot_be_used_is_set_aside_each_with_its_reason(data: Path, release: Path) -> None:
    paths = sorted((release / "train").iterdir())
    for path, fault in zip(paths, FAULTS.values(), strict=False):
        fault.spoil(path)
    told = add_segmentations(Segmentation(data, hard_imagenet=release), Quiet())
    reasons = {fault.reason for fault in FAULTS.values()}
    assert told["set_aside"].keys() == reasons
    # An image whose mask is called otherwise lacks one; a copy is set aside, not both.
    assert told["set_aside"] == {
        **dict.fromkeys(reasons, 1),
        "unreadable": 2,
        "no_mask": 2,
    }
    aside = pq.read_table(data / "segmentations_set_aside.parquet").to_pylist()
    assert told["given"] == len(aside) + sum(part["rows"] for part in told["splits"].values())
    assert told["given"] == 51 + 2
    assert all(row["detail"] for row in aside)
    by_reason = {row["reason"]: row for row in aside}
    assert by_reason["wrong_size"]["path"] == f"train/{paths[2].name}"
    assert by_reason["wrong_size"]["detail"].startswith("it is 9 x 9 pixels, its image ")
    assert by_reason["unknown_image"]["split"] == ""
    assert problems(data) == {}
    card = (data / "README.md").read_text()
    assert "Of 53 masks, those that could not be used are in" in card


def test_with_images_masks_are_as_large_as_these(
    data: Path, hard_imagenet: Path, planted_world: World, tmp_path: Path
) -> None:
    images = shutil.copytree(planted_world.root, tmp_path / "images")
    first, second, *_ = sorted((images / "train").glob("*/*"))
    first.unlink()
    with Image.open(second) as image:
        larger = image.resize((200, 100))
    larger.save(second)
    settings = Segmentation(data, hard_imagenet=hard_imagenet, images=str(images))
    assert add_segmentations(settings, Quiet())["set_aside"] == {"no_image": 1, "wrong_size": 1}


def test_names_that_several_splits_have_need_a_folder_of_their_split(
    planted_world: World, tmp_path: Path
) -> None:
    """Ids of other images than ImageNet's may be the same in each split."""
    images = tmp_path / "images"
    for split in ("train", "val"):
        for place, wnid in enumerate(("n90000001", "n90000002", "n90000003")):
            folder = images / split / wnid
            folder.mkdir(parents=True)
            Image.new("RGB", (64, 64), (90 * place, 9, 9)).save(folder / "one.png")
    out = tmp_path / "out"
    for split in SPLITS:
        settings = planted_world.settings(out, images=str(images), split=split, source="mine")
        build(settings, Quiet())
    mask = Image.new("1", (64, 64), 1)
    masks = tmp_path / "masks"
    for folder in (masks / "val" / "n90000001", masks / "n90000002"):
        folder.mkdir(parents=True)
        mask.save(folder / "one.png")
    told = add_segmentations(Segmentation(out, masks=masks), Quiet())
    assert told["set_aside"] == {"ambiguous": 1}
    assert {split: part["rows"] for split, part in told["splits"].items()} == {"validation": 1}
    assert told["licence"] == ""
    assert "nobody said under which terms" in (out / "README.md").read_text()


def test_the_same_again_is_left_alone_and_others_take_its_place(
    data: Path, release: Path, hard_imagenet: Path, segmented: Path, reporter: Quiet
) -> None:
    add_segmentations(Segmentation(data, hard_imagenet=hard_imagenet), reporter)
    assert hashes(data) == hashes(segmented)
    add_segmentations(Segmentation(data, hard_imagenet=hard_imagenet), reporter)
    assert "already holds these very masks" in reporter.lines[-1]
    assert hashes(data) == hashes(segmented)
    for path in (release / "train").iterdir():
        path.unlink()
    told = add_segmentations(Segmentation(data, hard_imagenet=release), reporter)
    assert told["set_aside"] == {"no_mask": 36}
    assert not list((data / "segmentations").glob("train*"))
    assert problems(data) == {}
    add_segmentations(Segmentation(data, hard_imagenet=hard_imagenet), reporter)
    assert hashes(data) == hashes(segmented)


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_killed_run_shows_nothing_and_goes_on_to_the_same_bytes(
    at: int,
    data: Path,
    hard_imagenet: Path,
    segmented: Path,
    planted: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, moved = hashes(planted), []

    def stop(self: Workspace, path: Path) -> None:
        moved.append(path)
        if len(moved) > at:
            raise KeyboardInterrupt
        install(self, path)

    install = Workspace._install
    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "_install", stop)
        with pytest.raises(KeyboardInterrupt):
            add_segmentations(Segmentation(data, hard_imagenet=hard_imagenet), Quiet())
    # Card and manifest come last: until then nothing that is listed has changed.
    left = hashes(data)
    assert left["manifest.json"] == before["manifest.json"]
    assert left["README.md"] == before["README.md"]
    add_segmentations(Segmentation(data, hard_imagenet=hard_imagenet), Quiet())
    assert hashes(data) == hashes(segmented)


def test_a_split_may_be_added_afterwards(
    planted_world: World, hard_imagenet: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    build(planted_world.settings(out), Quiet())
    add_segmentations(Segmentation(out, hard_imagenet=hard_imagenet), Quiet())
    build(planted_world.settings(out, split="validation"), Quiet())
    assert problems(out) == {}
    assert len(load(out, "segmentations", "train")) == 36


def test_a_release_that_would_run_code_is_refused(
    data: Path, release: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Code:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.system, (f"touch {release / 'run'}",)

    (release / "meta" / "paths_by_rank.pkl").write_bytes(pickle.dumps({0: [Code()]}))
    before = hashes(data)
    assert run(monkeypatch, data, "--hard-imagenet", release) == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert "others may run code" in said
    assert not (release / "run").exists()
    assert hashes(data) == before


def test_a_ranking_of_another_kind_is_a_sentence(release: Path, tmp_path: Path) -> None:
    path = release / "meta" / "paths_by_rank.pkl"
    for content in ([1, 2], {0: "train"}, {0: [1]}):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(BuildError, match="is no dict of lists of paths"):
            open_release(Segmentation(tmp_path, hard_imagenet=release))
    path.unlink()
    assert open_release(Segmentation(tmp_path, hard_imagenet=release)).ranks == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one of --hard-imagenet, --rival10 and --masks"),
        (["--masks", "a", "--rival10", "b"], "give one of"),
        (["--hard-imagenet", "nowhere"], "has no folder train or val of masks"),
        (["--rival10", "nowhere"], "has no folder entire_object_masks"),
        (["--masks", "nowhere"], "There is no directory nowhere"),
        (["--masks", "."], "holds no files of masks"),
        (["--masks", "strange"], "None of the 1 masks can be used: the first is a.png"),
        (["--masks", "strange", "--licence", " "], "is no text"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str],
    says: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "here"
    (place / "strange").mkdir(parents=True)
    if arguments[1:] != ["."]:
        (place / "strange" / "a.png").write_bytes(b"")
    monkeypatch.chdir(place)
    before = hashes(data)
    assert run(monkeypatch, data, *arguments) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert hashes(data) == before


def test_no_data_set_is_a_sentence(hard_imagenet: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="holds no finished build"):
        add_segmentations(Segmentation(tmp_path, hard_imagenet=hard_imagenet), Quiet())
    settings = Segmentation(parse_location("memory://data"), hard_imagenet=hard_imagenet)
    with pytest.raises(BuildError, match="is a URL, and masks are added to a local directory"):
        add_segmentations(settings, Quiet())


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Any:
    words = ["salient-imagenet", "segmentations", *map(str, arguments)]
    monkeypatch.setattr("sys.argv", words)
    try:
        main()
    except SystemExit as ended:
        return ended.code
    return 0
