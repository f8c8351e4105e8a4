"""`build`: every bad input is one sentence, exit status 2 and nothing written."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import timm
import torch
from torch import nn

from builder.cli import main
from builder.dataset.votes import COLUMNS
from builder.run.build import build
from builder.shards.shard import write_shard
from builder.storage.files import exclusive
from tests.conftest import NETWORK, World
from tests.forked import Command
from tests.quiet import Quiet

ROOT = Path(__file__).parents[2]

Options = dict[str, object]
Rows = list[list[str]]


@dataclass(frozen=True)
class Ran:
    """What a command said, and its exit status."""

    status: int
    stdout: str
    stderr: str


class Terminal:
    """Runs ``salient-imagenet build`` on the world's inputs, but for the options given."""

    def __init__(
        self, world: World, out: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.world, self.out = world, out
        self._patch, self._capsys = patch, capsys

    def arguments(self, options: Options) -> list[str]:
        given: Options = {
            "images": self.world.root,
            "votes": self.world.votes,
            "checkpoint": self.world.checkpoint,
            "network": NETWORK,
            "out": self.out,
            "device": "cpu",
            "batch-size": 4,
            "allow-mismatch": True,
            **options,
        }
        arguments = ["build"]
        for name, value in given.items():
            if value is True:
                arguments.append(f"--{name}")
            elif value is not None:
                arguments += [f"--{name}", str(value)]
        return arguments

    def run(self, **options: object) -> Ran:
        """Run in this process."""
        names = {name.replace("_", "-"): value for name, value in options.items()}
        self._patch.setattr("sys.argv", ["salient-imagenet", *self.arguments(names)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        status = caught.value.code
        return Ran(status if isinstance(status, int) else 1, *self._capsys.readouterr())

    def run_apart(self, **options: object) -> Ran:
        """Run in a process of its own: ``python -m builder``."""
        ran = subprocess.run(
            [sys.executable, "-m", "builder", *self.arguments(options)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=self.world.root,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def run_forked(self, prepare: Callable[[], None] | None = None, **options: object) -> Ran:
        """Run in a process that has imported everything already."""
        command = Command(self.arguments(options), self.out.parent, prepare)
        return Ran(command.wait(), command.stdout, command.stderr)


@pytest.fixture
def terminal(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Terminal:
    return Terminal(world, tmp_path / "out", monkeypatch, capsys)


def tree(directory: Path) -> dict[str, bytes] | None:
    """Return all files below a directory, hidden ones too; None where it does not exist."""
    if not directory.exists():
        return None
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b""
        for path in directory.rglob("*")
    }


def sentence_of(ran: Ran) -> str:
    """Return the one sentence with which bad input was refused."""
    assert ran.status == 2, ran
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    assert ran.stderr.count("Error: ") == 1
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("Error: "), f"broken over lines: {ran.stderr}"
    assert last.endswith(".")
    return last.removeprefix("Error: ")


def vote_rows(world: World) -> Rows:
    with world.votes.open(newline="") as file:
        return list(csv.reader(file))


def changed_votes(change: Callable[[Rows], Any]) -> Callable[[World, Path], Options]:
    """Return options with votes that are the world's but for a change of their rows."""

    def make(world: World, directory: Path) -> Options:
        rows = vote_rows(world)
        change(rows)
        path = directory / "changed.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return {"votes": path}

    return make


def set_all(column: str, old: str, new: str) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        place = COLUMNS.index(column)
        for row in rows[1:]:
            if row[place] == old:
                row[place] = new

    return change


def set_one(line: int, column: str, value: str) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[line - 1][COLUMNS.index(column)] = value

    return change


def saved(content: Any) -> Callable[[World, Path], Options]:
    """Return options with a checkpoint of this content, which bytes are as they are."""

    def make(world: World, directory: Path) -> Options:
        path = directory / "network.pt"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        return {"checkpoint": path}

    return make


def empty_directory(world: World, directory: Path) -> Options:
    (directory / "empty").mkdir()
    return {"images": directory / "empty"}


def only_validation(world: World, directory: Path) -> Options:
    (directory / "images").mkdir()
    (directory / "images" / "val").symlink_to(world.root / "val")
    return {"images": directory / "images"}


def other_classes(world: World, directory: Path) -> Options:
    (directory / "images").mkdir()
    (directory / "images" / "n99999999").symlink_to(world.root / "train" / "n90000001")
    return {"images": directory / "images"}


def half_a_tar(world: World, directory: Path) -> Options:
    path = directory / "train.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(world.root / "train", ".")
    path.write_bytes(path.read_bytes()[:20_000])
    return {"images": path}


def vision_transformer(world: World, directory: Path) -> Options:
    torch.save(timm.create_model("test_vit3").state_dict(), directory / "vit.pt")
    return {"network": "timm:test_vit3", "checkpoint": directory / "vit.pt"}


def out_is_a_file(world: World, directory: Path) -> Options:
    (directory / "file").touch()
    return {"out": directory / "file"}


def out_is_below_a_file(world: World, directory: Path) -> Options:
    (directory / "file").touch()
    return {"out": directory / "file" / "out"}


def out_is_not_empty(world: World, directory: Path) -> Options:
    (directory / "full").mkdir()
    (directory / "full" / "thesis.tex").write_text("text")
    return {"out": directory / "full"}


def out_is_among_images(world: World, directory: Path) -> Options:
    return {"out": world.root / "train" / "n90000001" / "out"}


def give(**options: object) -> Callable[[World, Path], Options]:
    return lambda world, directory: dict(options)


def classes(*names: str) -> Callable[[World, Path], Options]:
    def make(world: World, directory: Path) -> Options:
        path = directory / "classes.txt"
        path.write_text("\n".join(names))
        return {"classes": path}

    return make


BAD_INPUT = [
    pytest.param(give(classes="nowhere.txt"), "The file of classes nowhere.txt cannot be read"),
    pytest.param(classes("n90000001"), "has 1 classes and the network 3 outputs"),
    pytest.param(
        classes("n90000002", "n90000001", "n90000003"),
        "The votes give the class n90000001 the index 0, but line 1 of",
    ),
    pytest.param(give(title=""), "--title '' is no text: give a line of letters"),
    pytest.param(give(source="two\nlines"), r"--source 'two\nlines' is no text"),
    pytest.param(give(licence=" "), "--licence ' ' is no text"),
    pytest.param(give(images="nowhere"), "There is no file, directory or dataset nowhere"),
    pytest.param(empty_directory, "in class folders: --images takes ROOT/train/<wnid>/*"),
    pytest.param(other_classes, "None of the 12 images of"),
    pytest.param(half_a_tar, "is no whole tar"),
    pytest.param(give(split="test"), "There is no split test: "),
    pytest.param(only_validation, "has no folder for the split train, only val"),
    pytest.param(give(checkpoint="nowhere.pt"), "The checkpoint nowhere.pt cannot be read"),
    pytest.param(saved(b""), "is no PyTorch checkpoint"),
    pytest.param(saved(b"<!DOCTYPE html>"), "is no PyTorch checkpoint"),
    pytest.param(saved(nn.Linear(2, 2)), "can only be read by running code that it brings"),
    pytest.param(
        saved(nn.Linear(2, 2).state_dict()), "is of another architecture than timm:test_resnet"
    ),
    pytest.param(give(network="otternet"), "There is no network otternet: use madry-resnet50,"),
    pytest.param(give(network="timm:otternet"), "timm has no model otternet"),
    pytest.param(give(network="madry-resnet50"), "is no checkpoint of the robustness library"),
    pytest.param(
        give(network="madry-resnet50", checkpoint=None), "give --checkpoint imagenet_l2_3_0.pt"
    ),
    pytest.param(vision_transformer, "does not end in conv map, spatial mean, linear head"),
    pytest.param(give(votes="nowhere.csv"), "The votes file nowhere.csv cannot be read"),
    pytest.param(
        changed_votes(lambda rows: [row.pop(6) for row in rows]),
        "lacks the column Answer.confidence",
    ),
    pytest.param(
        changed_votes(set_one(9, "Answer.main", "animal")),
        "changed.csv:9 has the unknown answer 'animal'",
    ),
    pytest.param(
        changed_votes(lambda rows: rows.__delitem__(slice(1, 4))),
        "The pair class n90000001, feature 1 in",
    ),
    pytest.param(
        changed_votes(set_all("Input.class_index", "1", "0")),
        "Class index 0 has contradicting wnids",
    ),
    pytest.param(
        changed_votes(set_all("Input.feature_index", "1", "96")),
        "has votes on feature 96 of class n90000001, but timm:test_resnet has features 0 to 95",
    ),
    pytest.param(
        changed_votes(set_all("Input.class_index", "2", "3")),
        "has votes on class index 3, but timm:test_resnet has classes 0 to 2",
    ),
    pytest.param(
        changed_votes(lambda rows: rows.extend(rows[1:])),
        "changed.csv:77 is a second vote of the worker 0 on class n90000001, feature 1, after",
    ),
    pytest.param(out_is_among_images, "lies in the folder of the images, "),
    pytest.param(out_is_a_file, "is a file: give --out a directory."),
    pytest.param(out_is_below_a_file, "--out"),
    pytest.param(out_is_not_empty, "is not empty and holds no build: use an empty or new --out."),
    pytest.param(give(device="tpu"), "There is no device tpu: use --device auto, cpu, cuda"),
    pytest.param(give(device="mps"), "There is no device mps: use --device auto, cpu, cuda"),
    pytest.param(give(device="cuda:99"), "The device cuda:99 is not there"),
    pytest.param(give(precision="float8"), "There is no precision float8: "),
]


@pytest.mark.parametrize(("make", "said"), BAD_INPUT)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    terminal: Terminal, tmp_path: Path, make: Callable[[World, Path], Options], said: str
) -> None:
    options = make(terminal.world, tmp_path)
    before = tree(tmp_path)
    ran = terminal.run(**options)
    assert said in sentence_of(ran)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("make", [empty_directory, out_is_not_empty, out_is_below_a_file])
def test_a_dry_run_refuses_the_same_bad_input(
    terminal: Terminal, tmp_path: Path, make: Callable[[World, Path], Options]
) -> None:
    options = make(terminal.world, tmp_path)
    before = tree(tmp_path)
    sentence_of(terminal.run(**options, dry_run=True))
    assert tree(tmp_path) == before


class Intruder:
    """An object whose unpickling makes a directory."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.proof,)


def test_in_a_process_of_its_own_bad_input_is_all_that_is_said(
    terminal: Terminal, tmp_path: Path
) -> None:
    path, proof = tmp_path / ("long-name-" * 15 + ".pt"), tmp_path / "was-run"
    path.write_bytes(pickle.dumps({"model": Intruder(proof)}, protocol=4))
    ran = terminal.run_apart(checkpoint=path)
    assert sentence_of(ran).startswith(f"The checkpoint {path} can only be read by running code")
    assert len(ran.stderr.splitlines()) == 1
    assert not proof.exists()
    assert not terminal.out.exists()


@pytest.fixture(scope="module")
def built(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    build(world.settings(out, shard_size=None, allow_mismatch=True), Quiet())
    return out


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (give(seed=1), "its seed is 0, this command's is 1"),
        (give(batch_size=5), "its batch_size is 4, this command's is 5"),
        (give(shard_size=9), "its shard_size is 16, this command's is 9"),
        (give(precision="bfloat16"), "its precision is float32, this command's is bfloat16"),
        (give(keep_embeddings=True), "its keep_embeddings is False, this command's is True"),
        (changed_votes(set_one(2, "Answer.reasons", "other")), "its votes_sha256 is"),
        (give(limit=20), "its limit is None, this command's is 20"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_directory_that_holds_another_build_is_refused_with_what_differs(
    terminal: Terminal,
    tmp_path: Path,
    built: Path,
    make: Callable[[World, Path], Options],
    said: str,
    dry_run: bool,
) -> None:
    before = tree(built)
    options = {**make(terminal.world, tmp_path), "out": built, "dry_run": dry_run or None}
    sentence = sentence_of(terminal.run(**options))
    assert sentence.startswith(f"{built} holds another build: ")
    assert said in sentence
    assert "use another --out, or the same inputs." in sentence
    assert tree(built) == before


def test_the_same_command_again_has_nothing_to_do(terminal: Terminal, built: Path) -> None:
    before = tree(built)
    ran = terminal.run(out=built)
    assert ran.status == 0
    assert f"Nothing to do: {built} already holds this very build." in ran.stderr.replace("\n", " ")
    assert tree(built) == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("limit", -1),
        ("limit", 0),
        ("batch_size", 0),
        ("workers", -1),
        ("shard_size", 0),
        ("shard_size", "many"),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_option(
    terminal: Terminal, option: str, value: object
) -> None:
    ran = terminal.run(**{option: value})
    assert ran.status == 2
    assert f"Invalid value for '--{option.replace('_', '-')}': " in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not terminal.out.exists()


@pytest.mark.parametrize("option", ["images", "votes", "out"])
def test_a_missing_option_is_named(terminal: Terminal, option: str) -> None:
    ran = terminal.run(**{option: None})
    assert ran.status == 2
    assert f"Missing option '--{option}'" in ran.stderr
    assert not terminal.out.exists()


def test_an_unknown_option_is_named(terminal: Terminal) -> None:
    ran = terminal.run(otter="wet")
    assert ran.status == 2
    assert "No such option: --otter" in ran.stderr


def value_of(ran: Ran, name: str) -> str:
    """Return the right column of the row of the closing table that begins with a name."""
    for line in ran.stderr.splitlines():
        cells = [cell.strip() for cell in re.split("[│|┃]", line)]
        if len(cells) > 2 and cells[1].startswith(name):
            return cells[2]
    pytest.fail(f"no row {name} in {ran.stderr}")


@pytest.mark.parametrize(("split", "images"), [("train", 36), ("validation", 15)])
def test_a_dry_run_tells_counts_size_and_time_and_writes_nothing(
    terminal: Terminal, tmp_path: Path, split: str, images: int
) -> None:
    ran = terminal.run(dry_run=True, split=split)
    assert ran.status == 0
    assert "Nothing was written" in ran.stderr
    assert value_of(ran, "images in") == value_of(ran, "rows out, at most") == str(images)
    assert value_of(ran, "set aside by name") == "0"
    assert value_of(ran, "time, about").endswith(" s")
    assert value_of(ran, "size, about").endswith(" MB")
    assert tree(tmp_path) == {}


def test_a_dry_run_counts_what_names_alone_set_aside(terminal: Terminal, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for wnid in ("n90000001", "n90000002"):
        (images / wnid).symlink_to(terminal.world.root / "train" / wnid)
    (images / "n99999999").mkdir()
    (images / "n99999999" / "n99999999_1.JPEG").write_bytes(b"no votes")
    ran = terminal.run(dry_run=True, images=images, limit=None)
    assert value_of(ran, "images in") == "25"
    assert value_of(ran, "rows out, at most") == "24"
    assert value_of(ran, "set aside by name") == "1"


def test_a_limit_is_the_number_of_images(terminal: Terminal) -> None:
    assert value_of(terminal.run(dry_run=True, limit=10), "images in") == "10"


def test_a_build_ends_with_a_table_that_reconciles(terminal: Terminal, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "n90000001").symlink_to(terminal.world.root / "train" / "n90000001")
    (images / "n99999999").mkdir()
    (images / "n99999999" / "n99999999_1.JPEG").write_bytes(b"no votes")
    (images / "n90000002").mkdir()
    (images / "n90000002" / "n90000002_1.JPEG").write_bytes(b"")
    (images / "n90000002" / "n90000002_2.JPEG").write_bytes(b"What a nice otter.")
    ran = terminal.run_forked(images=images)
    assert ran.status == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    numbers = {
        name: int(value_of(ran, name))
        for name in ("images in", "rows out", "set aside", "empty", "not_an_image", "no_votes")
    }
    assert numbers == {
        "images in": 15,
        "rows out": 12,
        "set aside": 3,
        "empty": 1,
        "not_an_image": 1,
        "no_votes": 1,
    }
    assert value_of(ran, "masks") == "60"
    assert float(value_of(ran, "bytes per mask")) > 0
    for stage in ("read", "decode", "network", "masks", "write", "whole run"):
        float(value_of(ran, f"{stage}, seconds"))
    pages = {"README.md", "croissant.json", "plots", "preview"}
    data = {"masks", "rankings", "features", "contents", "set_aside.parquet"}
    assert {path.name for path in terminal.out.iterdir()} == {*pages, *data, "manifest.json"}


@pytest.mark.parametrize("labels_look_wrong", [False, True])
def test_the_closing_table_tells_how_many_are_predicted_as_labelled(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, labels_look_wrong: bool
) -> None:
    monkeypatch.setattr(
        "builder.run.build.labels_look_wrong", lambda counts, classes: labels_look_wrong
    )
    ran = terminal.run()
    counts = json.loads((terminal.out / "manifest.json").read_text())["splits"]["train"]["counts"]
    share = 100 * counts["predicted_as_labelled"] / counts["rows"]
    assert value_of(ran, "predicted as labelled") == f"{share:.1f} %"
    said = " ".join(ran.stderr.split())
    assert ("hardly any image as it is labelled: check that" in said) == labels_look_wrong


def test_a_disk_that_fills_up_is_a_sentence_and_nothing_half_written_is_seen(
    terminal: Terminal,
) -> None:
    ran = terminal.run_forked(allow_small_files_alone)
    assert f"The disk of {terminal.out} is full: free some space" in sentence_of(ran)
    files = tree(terminal.out) or {}
    assert files
    assert all(name.startswith(".build") for name in files)
    assert not any(name.endswith(".tmp") for name in files)


def allow_small_files_alone() -> None:
    """Have the system refuse to let any file of this process grow beyond some size."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))


def test_a_second_build_into_the_directory_of_a_running_one_is_refused(
    terminal: Terminal, built: Path
) -> None:
    before = tree(built)
    with exclusive(built):
        ran = terminal.run(out=built)
    assert (
        f"Another build, evaluation or publication is at work in {built}: wait until it has ended."
        in sentence_of(ran)
    )
    assert tree(built) == before


def test_a_build_that_is_told_to_stop_finishes_its_shards(terminal: Terminal) -> None:
    ran = terminal.run_forked(stop_at_the_first_shard, **{"shard-size": 2})
    assert ran.status == 3
    assert "Stopping when the shards under way are finished." in ran.stderr
    last = ran.stderr.splitlines()[-1]
    images = re.fullmatch(r"Stopped after (\d+) images; run the same command again to go on.", last)
    assert images
    assert 2 <= int(images[1]) < 36
    again = terminal.run(shard_size=2)
    assert again.status == 0
    assert f"where an earlier run stopped, after {images[1]} images" in again.stderr


def stop_at_the_first_shard() -> None:
    """Have this process told to stop when it writes a shard."""

    def write_and_stop(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        patch.stop()
        return write_shard(*arguments, **options)

    patch = mock.patch("builder.shards.worker.write_shard", write_and_stop)
    patch.start()


def test_tasks_and_finalising(terminal: Terminal) -> None:
    for index, left in ((1, "3 shards of other tasks are left"), (0, "it was the last")):
        ran = terminal.run(shard_size=7, task=f"{index}/2")
        assert ran.status == 0
        assert f"Task {index}/2 is done: {left}" in ran.stderr
    ran = terminal.run(shard_size=7, finalise_only=True)
    assert ran.status == 0
    assert "rows out" in ran.stderr
    assert (terminal.out / "manifest.json").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"task": "2/2"}, "There is no task 2/2: use --task I/N with I from 0 to N - 1."),
        ({"task": "0/2", "finalise_only": True}, "--finalise-only is for after all tasks"),
        ({"engine": "slurm"}, "There is no engine slurm: use --engine local or ray."),
        ({"address": "10.0.0.1:6379"}, "use it with --engine ray."),
        ({"finalise_only": True}, "Nothing of the split train was built"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    terminal: Terminal, options: Options, sentence: str
) -> None:
    assert sentence in sentence_of(terminal.run(**options))


def test_an_interrupted_build_says_how_to_go_on(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("builder.run.build.build", interrupt)
    monkeypatch.setattr("sys.argv", ["salient-imagenet", *terminal.arguments({})])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert "Stopped. Run the same command again to go on" in capsys.readouterr().err
