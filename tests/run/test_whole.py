"""Masks of whole images: what a build adds, and what it leaves as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from torchvision.transforms.functional import normalize

from builder.errors import BuildError, Stopped
from builder.network.architectures import Architecture
from builder.network.network import Network
from builder.reporter import Reporter
from builder.run.build import build, run_task
from builder.run.estimate import estimate
from builder.run.status import read_status
from builder.settings.task import Task
from builder.shards.stop import Stop
from salient_imagenet_1m import encode_grids, image_id, unpack_grids, whole_box
from tests import reference
from tests.built import ONE_LEVEL, as_float32, check_union, hashes, load
from tests.conftest import CLASSES, World
from tests.quiet import Quiet

CHANGED = {"README.md", "croissant.json", "manifest.json"}
"""What tells of the new config."""

PLOTS = {"plots/kinds.svg", "plots/masks.svg", "plots/spuriosity.svg"}
"""Written again, to the same bytes."""


class AfterOneShard(Stop):
    def until_asked(self, shards: Iterable[int]) -> Iterator[int]:
        for shard in super().until_asked(shards):
            yield shard
            self.ask()


class OfOneSize(torch.nn.Module):
    """A network that adds something of its own to each of 7 x 7 cells."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 32, 32)
        self.place = torch.nn.Parameter(torch.rand(4, 7, 7))
        self.added = torch.nn.ReLU()
        self.head = torch.nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.added(self.convolution(images) + self.place)
        logits: torch.Tensor = self.head(maps.mean((2, 3)))
        return logits


def test_rows_are_those_of_masks_and_grids_the_reference_s(
    planted_whole: Path, planted_world: World
) -> None:
    model = timm.create_model("test_resnet", num_classes=len(CLASSES)).eval()
    model.load_state_dict(torch.load(planted_world.checkpoint, weights_only=True))
    config = model.pretrained_cfg
    folder = planted_world.root / "val"
    paths = {image_id(path.relative_to(folder).as_posix()): path for path in folder.glob("*/*")}
    rows = load(planted_whole, "whole", "validation")
    masks = load(planted_whole, "masks", "validation")
    shapes = set()
    for row, crop in zip(rows, masks, strict=True):
        for name in ("image_id", "label", "width", "height", "features", "kinds"):
            assert row[name] == crop[name]
        with Image.open(paths[row["image_id"]]) as file:
            seen = reference.whole_pixels(file.convert("RGB"), 32, 640)
        image = torch.from_numpy(seen).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            maps = model.forward_features(normalize(image, config["mean"], config["std"]))[0]
        expected, peaks = encode_grids(maps[row["features"]].numpy())
        grids = unpack_grids(row["grids"], row["grid_height"], row["grid_width"])
        assert np.abs(grids.astype(int) - expected).max() <= ONE_LEVEL
        assert row["peaks"] == as_float32(peaks.tolist(), float(peaks.max()))
        assert row["box"] == list(whole_box(row["width"], row["height"], 32, 640))
        check_union(row["core_mask"], grids, row["kinds"], "core")
        check_union(row["spurious_mask"], grids, row["kinds"], "spurious")
        shapes.add(grids.shape[1:])
    assert len(shapes) > 2


def test_a_later_run_leaves_all_else_as_it_was(planted: Path, planted_whole: Path) -> None:
    before, after = hashes(planted), hashes(planted_whole)
    new = {
        f"{config}/{split}-00000-of-00001.parquet"
        for config in ("whole", "preview_whole")
        for split in ("train", "validation")
    }
    assert after.keys() - before.keys() == new
    assert {name for name in before if before[name] != after[name]} == CHANGED
    written = [
        name
        for name in before
        if (planted / name).stat().st_mtime_ns != (planted_whole / name).stat().st_mtime_ns
    ]
    assert written == sorted(CHANGED | PLOTS)


def test_row_groups_are_those_of_masks(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.storage.parquet.ROW_GROUP", 5)
    monkeypatch.setattr("builder.images.plan.SMALLEST_FILE", 8)
    build(world.settings(tmp_path / "out", split="validation", whole_image=True), Quiet())
    groups = [
        [
            (file.name, metadata.row_group(group).num_rows)
            for file in sorted((tmp_path / "out" / config).iterdir())
            for metadata in [pq.read_metadata(file)]
            for group in range(metadata.num_row_groups)
        ]
        for config in ("masks", "whole")
    ]
    assert groups[0] == groups[1]


def test_at_once_or_in_tasks_or_stopped_it_has_the_same_bytes(
    world: World, planted_whole: Path, tmp_path: Path
) -> None:
    settings = world.settings(tmp_path / "out", split="validation", whole_image=True)
    with pytest.raises(Stopped):
        build(settings, Quiet(), AfterOneShard())
    for index in (1, 0):
        run_task(replace(settings, task=Task(index, 2)), Quiet())
    assert [split.split for split in read_status(settings.out).unfinished] == [
        "validation",
        "validation-whole",
    ]
    build(replace(settings, finalise_only=True), Quiet())
    found, expected = hashes(settings.out), hashes(planted_whole)
    ours = [name for name in expected if name.startswith(("masks/validation", "whole/validation"))]
    assert len(ours) == 2
    assert [found[name] for name in ours] == [expected[name] for name in ours]
    assert not (settings.out / ".build").exists()


def test_killed_before_it_is_published_it_runs_no_shard_again(
    world: World,
    planted: Path,
    planted_whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = shutil.copytree(planted, tmp_path / "out")
    settings = world.settings(out, split="validation", whole_image=True)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("builder.run.workspace.Workspace.install", killed)
        with pytest.raises(KeyboardInterrupt):
            build(settings, Quiet())
    assert json.loads((out / "manifest.json").read_text()) == json.loads(
        (planted / "manifest.json").read_text()
    )
    assert build(settings, Quiet()).images == 0
    name = "whole/validation-00000-of-00001.parquet"
    assert hashes(out)[name] == hashes(planted_whole)[name]


def test_the_same_command_again_changes_nothing(world: World, planted_whole: Path) -> None:
    before, reporter = hashes(planted_whole), Quiet()
    build(world.settings(planted_whole, whole_image=True), reporter)
    build(world.settings(planted_whole), reporter)
    assert hashes(planted_whole) == before
    assert [line.startswith("Nothing to do") for line in reporter.lines] == [True, True]


def test_other_ways_to_run_it_are_noted_and_other_rows_refused(
    world: World, planted: Path, planted_whole: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(planted, tmp_path / "out")
    settings = world.settings(out, split="validation", whole_image=True, batch_size=3, longest=300)
    for other, what in (
        (replace(settings, limit=3), "limit"),
        (replace(settings, shard_size=5), "shard_size"),
    ):
        with pytest.raises(BuildError, match=f"its {what} is .*, this command's is"):
            build(other, Quiet())
    build(settings, Quiet())
    made = json.loads((out / "manifest.json").read_text())["splits"]["validation"]
    assert (made["inputs"]["batch_size"], made["whole"]["inputs"]["batch_size"]) == (4, 3)
    with pytest.raises(BuildError, match="its longest is 640, this command's is 300"):
        build(replace(settings, out=planted_whole, batch_size=4), Quiet())


def test_an_image_that_is_another_now_is_named(world: World, planted: Path, tmp_path: Path) -> None:
    images = shutil.copytree(world.root, tmp_path / "images")
    out = shutil.copytree(planted, tmp_path / "out")
    path = min((images / "val").glob("*/*"))
    Image.new("RGB", (70, 70)).save(path, "JPEG")
    settings = world.settings(out, images=str(images), split="validation", whole_image=True)
    with pytest.raises(BuildError, match=f"The image {path.stem} is not the one that its masks"):
        build(settings, Quiet())
    path.write_bytes(b"broken")
    shutil.rmtree(out / ".build")
    with pytest.raises(BuildError, match=f"{path.stem} is not the one .*not_an_image"):
        build(settings, Quiet())


def test_broken_images_have_a_row_in_neither(world: World, tmp_path: Path) -> None:
    images = shutil.copytree(world.root, tmp_path / "images")
    min((images / "val").glob("*/*")).write_bytes(b"")
    out = tmp_path / "out"
    settings = world.settings(out, images=str(images), split="validation", whole_image=True)
    build(settings, Quiet())
    assert len(load(out, "masks", "validation")) == len(load(out, "whole", "validation")) == 14


def test_a_dry_run_counts_both_passes(world: World, tmp_path: Path, reporter: Reporter) -> None:
    settings = world.settings(tmp_path / "out", split="validation")
    crops = estimate(settings, reporter)
    both = estimate(replace(settings, whole_image=True), reporter)
    assert both.sampled == crops.sampled == 15
    assert both.bytes > 1.5 * crops.bytes


def test_a_network_of_one_size_is_refused() -> None:
    network = Network(Architecture("own", OfOneSize()), torch.device("cpu"), "float32")
    with pytest.raises(BuildError, match=r"own does not take images of any size.*--whole-image"):
        network.stride()
