from __future__ import annotations

import csv
import errno
import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import timm
import torch
from datasets import load_dataset
from torch import Tensor

import salient_imagenet_1m as si
from builder.checks.verify import verify
from builder.dataset import votes as votes_module
from builder.dataset.votes import Validation, Vote
from builder.errors import BuildError
from builder.images.sources import FolderImages
from builder.run.build import build, run_task
from builder.run.estimate import estimate
from builder.settings.task import WHOLE, Task
from tests.built import check_build, hashes
from tests.conftest import CLASSES, FEATURES, NETWORK, World, write_votes
from tests.faults import Faults, run, shrink_shared_memory
from tests.forked import PROCESSES, Command, run_command
from tests.killed import build_all_but_the_end
from tests.quiet import Quiet


@pytest.mark.parametrize(("split", "folder"), [("train", "train"), ("validation", "val")])
def test_every_column_is_the_reference_s(
    planted: Path, world: World, split: str, folder: str
) -> None:
    model = timm.create_model("test_resnet", num_classes=len(CLASSES)).eval()
    model.load_state_dict(torch.load(world.checkpoint, weights_only=True))

    def forward(image: Tensor) -> tuple[Tensor, Tensor]:
        return model.forward_features(image), model(image)

    config = model.pretrained_cfg
    labels = {wnid: label for label, wnid in enumerate(CLASSES)}
    check_build(
        planted,
        split,
        world.root / folder,
        world.votes,
        labels,
        forward,
        config["mean"],
        config["std"],
    )


def test_the_directory_is_the_data_set_and_nothing_else(planted: Path) -> None:
    assert sorted(path.name for path in planted.iterdir()) == [
        "README.md",
        "contents",
        "croissant.json",
        "features",
        "manifest.json",
        "masks",
        "plots",
        "preview",
        "rankings",
    ]


def test_the_manifest_knows_every_file(planted: Path) -> None:
    manifest = json.loads((planted / "manifest.json").read_text())
    found = hashes(planted)
    del found["manifest.json"]
    assert {name: file["sha256"] for name, file in manifest["files"].items()} == found


def test_contents_are_the_hashes_of_the_files(planted: Path, world: World) -> None:
    for split, folder in (("train", "train"), ("validation", "val")):
        masks = load_dataset(str(planted), "masks", split=split, streaming=True)
        rows = list(load_dataset(str(planted), "contents", split=split, streaming=True))
        assert [row["image_id"] for row in rows] == [row["image_id"] for row in masks]
        files = {path.stem: path.read_bytes() for path in (world.root / folder).glob("*/*")}
        for row in rows:
            file = files[row["image_id"]]
            assert row["content"] == hashlib.sha256(file).hexdigest()[:16]
            assert row["bytes"] == len(file)


def test_the_manifest_counts_images_that_are_predicted_as_labelled(planted: Path) -> None:
    splits = json.loads((planted / "manifest.json").read_text())["splits"]
    for split in ("train", "validation"):
        rows = load_dataset(str(planted), "masks", split=split, streaming=True)
        agreeing = sum(row["predicted"] == row["label"] for row in rows)
        assert splits[split]["counts"]["predicted_as_labelled"] == agreeing


def test_it_loads_without_our_code(planted: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from datasets import load_dataset\n"
        f"for split in ('train', 'validation'):\n"
        f"    for config in ('masks', 'rankings', 'features'):\n"
        f"        for streaming in (True, False):\n"
        f"            rows = load_dataset({str(planted)!r}, config, split=split, "
        f"streaming=streaming, cache_dir={str(tmp_path)!r})\n"
        f"            print(config, split, sum(1 for _ in rows))\n"
        "assert 'salient_imagenet_1m' not in sys.modules and 'builder' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = result.stdout.splitlines()
    assert lines.count("masks train 36") == 2
    assert lines.count("masks validation 15") == 2
    assert lines.count("rankings train 24") == 2
    assert lines.count("features validation 15") == 2


def test_masks_is_the_default_config(planted: Path) -> None:
    row = next(iter(load_dataset(str(planted), split="train", streaming=True)))
    assert {"image_id", "grids"} <= row.keys()


def test_rows_are_mixed_over_classes(planted: Path) -> None:
    rows = load_dataset(str(planted), "masks", split="train", streaming=True)
    assert len({row["label"] for row in rows.take(8)}) == len(CLASSES)


def test_storage_that_goes_away_stops_a_build_and_no_image_is_lost(
    world: World, reporter: Quiet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = world.settings(tmp_path / "out", batch_size=16, shard_size=16)
    undisturbed = replace(settings, out=tmp_path / "undisturbed")
    read, reads = FolderImages.read, itertools.count()

    def gone(images: FolderImages, index: int) -> bytes:
        if next(reads) >= 20:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return read(images, index)

    with monkeypatch.context() as patch:
        patch.setattr(FolderImages, "read", gone)
        with pytest.raises(BuildError, match="Of 16 images in a row 12 cannot be read, such as"):
            build(settings, reporter)
    assert build(settings, reporter).split["counts"]["set_aside"] == {}
    build(undisturbed, reporter)
    assert hashes(settings.out) == hashes(undisturbed.out)


def test_the_same_command_again_changes_nothing(
    planted: Path, world: World, reporter: Quiet
) -> None:
    before = hashes(planted)
    outcome = build(world.settings(planted), reporter)
    assert outcome.images == 0
    assert hashes(planted) == before
    assert "Nothing to do" in reporter.lines[-1]


def test_worker_processes_give_the_same_bytes(
    planted_whole: Path, world: World, tmp_path: Path, reporter: Quiet
) -> None:
    build(world.settings(tmp_path / "out", workers=2, whole_image=True), reporter)
    train = {name: digest for name, digest in hashes(tmp_path / "out").items() if "train" in name}
    assert {"masks", "whole"} <= {name.partition("/")[0] for name in train}
    assert train.items() <= hashes(planted_whole).items()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"limit": 20}, "limit"),
        ({"batch_size": 3}, "batch_size"),
        ({"shard_size": 5}, "shard_size"),
        ({"precision": "bfloat16"}, "precision"),
        ({"keep_embeddings": True}, "keep_embeddings"),
    ],
)
def test_another_build_is_refused_with_the_name_of_what_changed(
    planted: Path, world: World, reporter: Quiet, change: dict[str, Any], name: str
) -> None:
    before = hashes(planted)
    with pytest.raises(BuildError, match=f"holds another build: its {name}"):
        build(world.settings(planted, **change), reporter)
    assert hashes(planted) == before


def test_a_build_that_finished_nothing_binds_nobody(
    world: World, tmp_path: Path, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(self: object, pixels: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("builder.network.network.Network.__call__", out_of_memory)
        with pytest.raises(BuildError, match="use a smaller --batch-size"):
            build(world.settings(tmp_path / "out", batch_size=36), reporter)
    build(world.settings(tmp_path / "out", batch_size=4), reporter)


def test_other_inputs_are_refused_while_unfinished_work_lies_there(
    world: World, tmp_path: Path, reporter: Quiet
) -> None:
    build_all_but_the_end(world.settings(tmp_path / "out"))
    with pytest.raises(BuildError, match=r"its seed is 0, .* to begin anew"):
        build(world.settings(tmp_path / "out", seed=1), reporter)


NOTES = [b"", b'{"seed": 0', b"[]", b"\xff", b"[" * 100_000, b"{}"]


@pytest.fixture
def all_but_published(world: World, tmp_path: Path) -> Path:
    """Return the output of a build that died when all its shards were finished."""
    build_all_but_the_end(world.settings(tmp_path / "out"))
    return tmp_path / "out"


@pytest.mark.parametrize("note", NOTES[:-1])
def test_a_damaged_note_of_the_inputs_heals(
    world: World, planted: Path, all_but_published: Path, reporter: Quiet, note: bytes
) -> None:
    out = all_but_published
    (out / ".build" / "train" / "inputs.json").write_bytes(note)
    # The ledger tells as well whose the work is.
    for task in (WHOLE, Task(0, 2)):
        with pytest.raises(BuildError, match=r"ledger\.npz is of another build: remove"):
            (build if task.is_whole else run_task)(world.settings(out, seed=1, task=task), reporter)
    assert build(world.settings(out), reporter).images == 0
    built = {name: digest for name, digest in hashes(out).items() if "train" in name}
    assert built.items() <= hashes(planted).items()


@pytest.mark.parametrize("note", NOTES)
def test_finalising_alone_says_how_a_damaged_note_heals(
    world: World, all_but_published: Path, reporter: Quiet, note: bytes
) -> None:
    path = all_but_published / ".build" / "train" / "inputs.json"
    path.write_bytes(note)
    with pytest.raises(BuildError, match=f"{path} is damaged: run the same command without"):
        build(world.settings(all_but_published, finalise_only=True), reporter)


def test_the_same_images_are_refused_as_another_split(
    world: World, tmp_path: Path, reporter: Quiet
) -> None:
    images = str(world.root / "train")
    build(world.settings(tmp_path / "out", images=images), reporter)
    with pytest.raises(BuildError, match="All images have the ids of the split train, which"):
        build(world.settings(tmp_path / "out", images=images, split="validation"), reporter)


def test_other_votes_are_refused_for_another_split(
    world: World, tmp_path: Path, reporter: Quiet
) -> None:
    build(world.settings(tmp_path / "out"), reporter)
    write_votes(tmp_path / "votes.csv", {(0, 1): ["background"] * 5})
    with pytest.raises(BuildError, match="its votes_sha256 is"):
        build(
            world.settings(tmp_path / "out", split="validation", votes=tmp_path / "votes.csv"),
            reporter,
        )


def test_a_validation_study_is_in_the_config_features(
    world: World, planted: Path, tmp_path: Path, reporter: Quiet
) -> None:
    with world.votes.open(newline="") as file:
        rows = list(csv.DictReader(file))
    votes = [
        Vote(
            row["WorkerId"],
            row["Input.wordnet_id"],
            int(row["Input.class_index"]),
            int(row["Input.feature_index"]),
            int(row["Input.feature_rank"]),
            row["Answer.main"],
            float(row["Answer.confidence"]),
            row["Answer.reasons"],
        )
        for row in rows
    ]
    found = {(votes[0].wnid, votes[0].feature): Validation(validated=True, same=0.8)}
    votes_module.write_votes(tmp_path / "votes.csv", votes, found)
    out = tmp_path / "out"
    for split in ("train", "validation"):
        build(world.settings(out, votes=tmp_path / "votes.csv", split=split), reporter)
    pairs = list(load_dataset(str(out), "features", split="train", streaming=True))
    assert [(pair["validated"], pair["same"]) for pair in pairs[:2]] == [(True, 0.8), (None, None)]
    assert all(check.passed for check in verify(out))
    told = " ".join((out / "README.md").read_text().split())
    pairs_with_votes = len(CLASSES) * FEATURES
    assert f"of 1 of {pairs_with_votes} pairs within the top 20 % of a class" in told
    assert "and validated 1; the columns `validated`" in told
    # Data sets without a study lack the columns, as older ones do.
    assert "validated" not in pq.read_schema(next(planted.glob("features/train-*"))).names


def test_embeddings_are_the_pooled_features(world: World, tmp_path: Path, reporter: Quiet) -> None:
    out = tmp_path / "out"
    build(world.settings(out, keep_embeddings=True), reporter)
    masks = {row["image_id"]: row for row in load_dataset(str(out), split="train", streaming=True)}
    rows = list(load_dataset(str(out), "embeddings", split="train", streaming=True))
    assert len(rows) == len(masks)
    for row in rows:
        mask = masks[row["image_id"]]
        picked = [row["embedding"][feature] for feature in mask["features"]]
        assert picked == pytest.approx(mask["activations"], rel=2e-3, abs=1e-4)


def test_odd_images_are_used_and_broken_ones_set_aside(
    world: World, tmp_path: Path, reporter: Quiet
) -> None:
    root = tmp_path / "images"
    shutil.copytree(world.root, root)
    folder = root / "train" / CLASSES[0]
    good = (folder / f"{CLASSES[0]}_0.JPEG").read_bytes()
    (folder / "empty.JPEG").write_bytes(b"")
    (folder / "text.JPEG").write_text("no image")
    (folder / "half.JPEG").write_bytes(good[: len(good) // 2])
    (folder / "twice.JPEG").write_bytes(good)
    (folder / "twice.png").write_bytes(good)
    (root / "train" / "n99999999").mkdir()
    (root / "train" / "n99999999" / "n99999999_1.JPEG").write_bytes(good)
    (folder / "gone.JPEG").symlink_to(tmp_path / "nowhere")
    (folder / "gone.JPEG").unlink()
    outcome = build(world.settings(tmp_path / "out", images=str(root)), reporter)
    counts = outcome.split["counts"]
    assert counts["set_aside"] == {
        "duplicate_id": 2,
        "empty": 1,
        "no_votes": 1,
        "not_an_image": 1,
        "truncated": 1,
    }
    assert counts["images"] == counts["rows"] + 6 == 42
    table = pq.read_table(tmp_path / "out" / "set_aside.parquet").to_pylist()
    assert {row["image_id"]: row["reason"] for row in table} == {
        f"{CLASSES[0]}/twice": "duplicate_id",
        f"{CLASSES[0]}/empty": "empty",
        "n99999999_1": "no_votes",
        f"{CLASSES[0]}/text": "not_an_image",
        f"{CLASSES[0]}/half": "truncated",
    }
    assert "set_aside.parquet" in (tmp_path / "out" / "README.md").read_text()


def test_a_build_with_links_to_nowhere_and_nested_files_verifies(
    world: World, tmp_path: Path, reporter: Quiet
) -> None:
    """A nested copy has the name of an image that has a row."""
    root = tmp_path / "images"
    shutil.copytree(world.root / "train", root)
    folder = root / CLASSES[0]
    copied = min(folder.glob("*.JPEG"))
    (folder / "copies").mkdir()
    shutil.copy(copied, folder / "copies")
    (folder / "gone.JPEG").symlink_to("nowhere")
    (folder / "loop.JPEG").symlink_to("loop.JPEG")
    outcome = build(world.settings(tmp_path / "out", images=str(root)), reporter)
    counts = outcome.split["counts"]
    assert counts["set_aside"] == {"dangling_link": 2, "nested": 1}
    assert counts["images"] == counts["rows"] + 3 == 39
    table = pq.read_table(tmp_path / "out" / "set_aside.parquet").to_pylist()
    assert {row["image_id"]: row["reason"] for row in table} == {
        f"{CLASSES[0]}/copies/{copied.stem}": "nested",
        f"{CLASSES[0]}/gone": "dangling_link",
        f"{CLASSES[0]}/loop": "dangling_link",
    }
    assert all(check.passed for check in verify(tmp_path / "out", str(root)))


def test_a_shard_may_lose_all_its_images(world: World, tmp_path: Path, reporter: Quiet) -> None:
    root = tmp_path / "images"
    shutil.copytree(world.root / "train", root)
    for path in sorted(root.glob("*/*"))[:-1]:
        path.write_bytes(b"")
    outcome = build(world.settings(tmp_path / "out", images=str(root), shard_size=2), reporter)
    assert outcome.split["counts"]["rows"] == 1


def test_no_usable_image_is_a_sentence(world: World, tmp_path: Path, reporter: Quiet) -> None:
    root = tmp_path / "images"
    shutil.copytree(world.root / "train", root)
    for path in root.glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(BuildError, match="None of the 36 images can be used: 36 empty"):
        build(world.settings(tmp_path / "out", images=str(root)), reporter)


def test_a_dry_run_writes_nothing(world: World, tmp_path: Path, reporter: Quiet) -> None:
    found = estimate(world.settings(tmp_path / "out"), reporter)
    assert (found.images, found.rows, found.shards) == (36, 36, 6)
    assert found.seconds > 0
    assert found.bytes > FEATURES * 36
    assert not (tmp_path / "out").exists()


def command(world: World, out: Path | str) -> list[str]:
    """Return the arguments of ``salient-imagenet`` that build a world."""
    options = {
        "--images": world.root,
        "--votes": world.votes,
        "--checkpoint": world.checkpoint,
        "--network": NETWORK,
        "--out": out,
        "--batch-size": 4,
        "--shard-size": 7,
        "--device": "cpu",
    }
    return [
        "build",
        "--allow-mismatch",
        *(str(part) for option in options.items() for part in option),
    ]


def test_processes_that_load_need_no_shared_memory_of_the_system(
    planted: Path, world: World, tmp_path: Path
) -> None:
    """Docker gives 64 MB; here a batch is more than there is."""
    arguments = [*command(world, tmp_path / "out"), "--workers", "2"]
    started = Command(arguments, tmp_path, in_little_shared_memory)
    status = started.wait()
    if status == MAY_NOT_MOUNT:
        pytest.skip("this user may not mount a small /dev/shm")
    assert status == 0, started.stderr
    assert_same_train(tmp_path / "out", planted)


MAY_NOT_MOUNT = 77


def in_little_shared_memory() -> None:
    if not shrink_shared_memory():
        sys.exit(MAY_NOT_MOUNT)


def test_killed_anywhere_it_resumes_to_the_same_bytes(
    planted: Path, world: World, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kills = 0
    for shards in range(1, 6):
        process = PROCESSES.Process(
            target=run, args=(world.settings(out), Faults(0, tmp_path / "log"))
        )
        process.start()
        while process.is_alive():
            if len(list(out.glob(".build/train/shards/*.parquet"))) >= shards:
                process.kill()
                kills += 1
                break
            time.sleep(0.002)
        process.join()
    assert kills
    run_command(command(world, out), tmp_path)
    assert_same_train(out, planted)
    assert not (out / ".build").exists()


def test_killed_at_any_file_it_shows_nothing_half_and_resumes_to_the_same_bytes(
    world: World, tmp_path: Path, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what lies there before each rename: of shards, sums, published files, card, manifest."""
    out = tmp_path / "out"
    # With more images and shards it would only take longer.
    settings = world.settings(out, limit=8, shard_size=4)
    rename, lock = Path.replace, threading.Lock()
    left: list[Path] = []

    def keep_and_rename(self: Path, target: Path) -> Path:
        with lock:
            left.append(tmp_path / f"killed-{len(left)}")
            shutil.copytree(out, left[-1])
            return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", keep_and_rename)
        build(settings, reporter)
    undisturbed = hashes(out)
    for killed in left:
        assert_nothing_half_is_visible(killed, images=8)
        build(replace(settings, out=killed), reporter)
        assert hashes(killed) == undisturbed
    assert len(left) > 2 * 2 + 8


def assert_same_train(out: Path, planted: Path) -> None:
    train = {name: digest for name, digest in hashes(out).items() if "train" in name}
    assert train
    assert train.items() <= hashes(planted).items()


def assert_nothing_half_is_visible(out: Path, images: int) -> None:
    if (out / "manifest.json").exists():
        raise AssertionError("the manifest comes last")
    try:
        rows = list(load_dataset(str(out), "masks", split="train", streaming=True))
    except (ValueError, FileNotFoundError):
        return
    assert len(rows) == images


def test_the_manifest_tells_how_many_images_each_class_has(planted: Path) -> None:
    build_ = si.Build.open(planted)
    assert build_.images_by_label("train") == {0: 12, 1: 12, 2: 12}
    assert build_.images_by_label("validation") == {0: 5, 1: 5, 2: 5}
    del build_.manifest["splits"]["train"]["counts"]
    assert build_.images_by_label("train") == {0: 12, 1: 12, 2: 12}
