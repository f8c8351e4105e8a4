from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from builder.cli.tables import status_tables
from builder.errors import BuildError
from builder.run.build import build, run_task
from builder.run.progress import FAILED, FINISHED, PROGRESS_NAME, Progress, ProgressFile
from builder.run.status import SplitStatus, read_status
from builder.settings.task import Task
from tests.conftest import CLASSES, World
from tests.quiet import Quiet


def shown(out: Path) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        for table in status_tables(read_status(out)):
            console.print(table)
    return capture.get()


def only_split(out: Path) -> SplitStatus:
    (split,) = read_status(out).unfinished
    return split


@pytest.fixture
def half(world: World, tmp_path: Path) -> Path:
    """The output of one task of two; an image of it is empty, another of no class with votes."""
    root = tmp_path / "images"
    for path in (world.root / "train").glob("*/*"):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        (root / path.parent.name / path.name).symlink_to(path)
    (root / "n99999999").mkdir()
    (root / "n99999999" / "n99999999_1.JPEG").write_bytes(b"")
    for number in range(6):
        (root / CLASSES[0] / f"empty_{number}.JPEG").write_bytes(b"")
    settings = world.settings(tmp_path / "out", images=str(root), shard_size=6, task=Task(0, 2))
    assert run_task(settings, Quiet()).left == 3
    return settings.out


def test_half_of_a_build(half: Path) -> None:
    split = only_split(half)
    assert (split.split, split.shards, split.shards_done, split.running) == ("train", 7, 4, 0)
    assert (split.rows, split.rows_done) == (42, 24)
    assert split.left == 3
    assert split.set_aside["no_votes"] == 1
    assert 0 < split.set_aside["empty"] < 6
    assert split.seconds_left is None
    (driver,) = split.drivers
    assert (driver.task, driver.state, driver.images, driver.done) == ("0/2", FINISHED, 24, 4)
    text = shown(half)
    assert "4 of 7" in text
    assert "nobody works on it" in text
    assert "finished after 24 images" in text


def test_drivers_that_live_and_that_are_silent(half: Path) -> None:
    (driver,) = only_split(half).drivers
    now = time.time()
    for index, age in ((1, 1.0), (2, 720.0)):
        path = Task(index, 3).directory(half / ".build" / "train") / PROGRESS_NAME
        path.parent.mkdir()
        other = replace(
            driver,
            task=f"{index}/3",
            state="running",
            begun=2,
            done=1,
            images=30,
            seconds=10.0,
            updated=now - age,
        )
        path.write_text(json.dumps(asdict(other)))
    split = only_split(half)
    assert split.rate == pytest.approx(3.0)
    assert (split.running, split.failed, split.left) == (1, 1, 1)
    assert split.seconds_left == pytest.approx(18 / 3)
    text = shown(half)
    assert "silent for 12 min" in text
    assert "3.0 images/s, 1 s ago" in text


def test_a_clock_that_was_set_back_makes_nothing_negative(half: Path) -> None:
    (driver,) = only_split(half).drivers
    assert replace(driver, updated=time.time() + 1e6).silence == 0.0


def test_a_damaged_shard_is_not_done(half: Path) -> None:
    path = next((half / ".build" / "train" / "shards").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-5])
    assert only_split(half).shards_done == 3


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b'{"task": "0/2"', b"[]", b"\xff", b"[" * 100_000, b"{}"),
        b'{"task": "0/2", "engine": "x", "host": "x", "pid": 1, "rows": "x", "shards": 1}',
        b'{"task": "0/2", "engine": "x", "host": "x", "pid": 1, "rows": 1, "shards": 1, '
        b'"set_aside": {"empty": "x"}}',
        b'{"task": "0/2", "engine": "x", "host": "x", "pid": 1, "rows": 1, "shards": 1, '
        b'"set_aside": [1]}',
    ],
)
def test_damaged_progress_is_none(half: Path, content: bytes) -> None:
    next((half / ".build" / "train").glob(f"drivers/*/{PROGRESS_NAME}")).write_bytes(content)
    split = only_split(half)
    assert (split.drivers, split.shards, split.shards_done) == ([], 0, 4)
    assert "4 of ?" in shown(half)


def test_a_shard_without_what_was_set_aside_is_not_done(half: Path) -> None:
    path = next((half / ".build" / "train" / "shards").glob("*.parquet"))
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert only_split(half).shards_done == 3


def test_what_is_no_file_and_no_split_is_not_looked_at(half: Path) -> None:
    os.mkfifo(half / ".build" / "train" / "shards" / "000009.parquet")
    (half / ".build" / "train" / "drivers" / "9-of-9").mkdir()
    os.mkfifo(half / ".build" / "train" / "drivers" / "9-of-9" / PROGRESS_NAME)
    (half / ".build" / "test\x1b[2J").mkdir()
    (half / ".build" / "validation").touch()
    split = only_split(half)
    assert (len(split.drivers), split.shards_done) == (1, 4)


def test_a_finished_data_set(planted: Path) -> None:
    status = read_status(planted)
    assert set(status.finished) == {"train", "validation"}
    assert not status.unfinished
    assert "train: finished" in shown(planted)


def test_a_build_that_failed_says_so(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, batch: object) -> None:
        raise BuildError("the network is on fire")

    monkeypatch.setattr("builder.network.analysis.Analyser.__call__", broken)
    with pytest.raises(BuildError, match="on fire"):
        build(world.settings(tmp_path / "out"), Quiet())
    (driver,) = only_split(tmp_path / "out").drivers
    assert driver.state == FAILED


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch])
def test_nothing_to_tell_of_is_a_sentence(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "out")
    with pytest.raises(BuildError, match="holds no data set and no build of one"):
        read_status(tmp_path / "out")


def test_a_sign_of_life_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("builder.run.progress.time.monotonic", lambda: now)
    path = tmp_path / "deep" / PROGRESS_NAME
    beacon = ProgressFile(Progress("0/1", "local", "here", 1, rows=9, shards=3), path)
    seen = []
    for _ in range(5):
        now += 0.5
        beacon.advance(2)
        found = Progress.load(path)
        assert found
        seen.append((found.images, found.seconds))
    assert seen == [(2, 0.5)] * 4 + [(10, 2.5)]
    assert found
    assert found.rate == 4.0
