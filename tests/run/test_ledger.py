from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builder.errors import BuildError
from builder.network.importance import Importance
from builder.run.ledger import (
    Ledger,
    LedgerFile,
    ledger_path,
    merge_ledgers,
    read_ledgers,
    take_over,
)
from builder.settings.task import Task
from builder.shards.job import Job, open_job
from builder.shards.worker import ShardResult
from builder.stages import Stages
from tests.conftest import CHANNELS, CLASSES, World
from tests.quiet import Quiet


@pytest.fixture(scope="module")
def job(world: World, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return open_job(world.settings(tmp_path_factory.mktemp("ledger") / "out"), Quiet())


def pooled(shard: int) -> np.ndarray:
    return np.random.default_rng(shard).random((4, CHANNELS), np.float32)


def result(shard: int, sha256: str = "") -> ShardResult:
    importance = Importance.empty(len(CLASSES), CHANNELS)
    importance.add(pooled(shard), np.array([0, 1, 1, shard % 3]))
    sha256 = sha256 or f"{shard:064x}"
    return ShardResult(
        shard=shard,
        images=4,
        sha256=sha256,
        contribution=importance.contribution(),
        stages=Stages(),
    )


def ledger_of(job: Job, *shards: int) -> Ledger:
    ledger = Ledger.empty(job)
    for shard in shards:
        ledger.add(result(shard))
    return ledger


def same(first: Ledger, second: Ledger) -> bool:
    return (
        first.sha256 == second.sha256
        and np.array_equal(first.importance.sums, second.importance.sums)
        and np.array_equal(first.importance.counts, second.importance.counts)
    )


def write(directory: Path, job: Job, ledgers: dict[Task, Ledger]) -> None:
    for task, ledger in ledgers.items():
        ledger.save(ledger_path(directory, task), job.fingerprint)


def test_a_shard_that_is_run_again_counts_once_and_has_its_new_hash(job: Job) -> None:
    ledger = ledger_of(job, 1, 2)
    ledger.add(result(1, "f" * 64))
    assert ledger.importance.counts.sum() == 8
    assert ledger.sha256[1] == "f" * 64


def test_a_ledger_survives_on_disk(job: Job, tmp_path: Path) -> None:
    ledger = ledger_of(job, 5, 0)
    ledger.save(tmp_path / "drivers" / "a" / "ledger.npz", job.fingerprint)
    loaded = Ledger.load(tmp_path / "drivers" / "a" / "ledger.npz", job)
    assert loaded is not None
    assert same(loaded, ledger)


def test_the_ledger_of_another_build_is_refused(job: Job, tmp_path: Path) -> None:
    write(tmp_path, job, {Task(): ledger_of(job, 1)})
    other = replace(job, settings=replace(job.settings, seed=1))
    with pytest.raises(BuildError, match=r"is of another build: remove"):
        Ledger.load(ledger_path(tmp_path, Task()), other)


def test_a_damaged_ledger_is_told_and_left_out(job: Job, tmp_path: Path) -> None:
    write(tmp_path, job, {Task(0, 2): ledger_of(job, 0), Task(1, 2): ledger_of(job, 1)})
    path = ledger_path(tmp_path, Task(0, 2))
    path.write_bytes(path.read_bytes()[:-30])
    reporter = Quiet()
    assert set(read_ledgers(tmp_path, job, reporter)) == {ledger_path(tmp_path, Task(1, 2))}
    assert reporter.lines == [f"{path} is damaged: its shards are run again."]


def test_whatever_byte_of_a_ledger_flips_it_is_damaged_or_as_it_was(
    job: Job, tmp_path: Path
) -> None:
    ledger, path = ledger_of(job, 0, 1), tmp_path / "ledger.npz"
    ledger.save(path, job.fingerprint)
    content = path.read_bytes()
    damaged = 0
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 0xFF
        path.write_bytes(flipped)
        loaded = Ledger.load(path, job)
        damaged += loaded is None
        assert loaded is None or same(loaded, ledger)
    assert damaged > len(content) / 2


def test_wherever_a_ledger_is_cut_it_is_damaged(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "ledger.npz"
    ledger_of(job, 0, 1).save(path, job.fingerprint)
    content = path.read_bytes()
    for length in range(0, len(content), 11):
        path.write_bytes(content[:length])
        assert Ledger.load(path, job) is None


def take_over_all(directory: Path, job: Job, reporter: Quiet) -> Ledger:
    merged = merge_ledgers(read_ledgers(directory, job, reporter).values(), job)
    take_over(directory, merged, job.fingerprint)
    return merged


def test_taking_over_makes_one_ledger_of_all(job: Job, tmp_path: Path) -> None:
    write(tmp_path, job, {Task(index, 3): ledger_of(job, index, index + 3) for index in range(3)})
    merged = take_over_all(tmp_path, job, Quiet())
    assert same(merged, ledger_of(job, 0, 1, 2, 3, 4, 5))
    assert list(tmp_path.glob("drivers/*/*")) == [ledger_path(tmp_path, Task())]
    assert same(take_over_all(tmp_path, job, Quiet()), merged)


def test_taking_over_may_die_before_it_has_removed_the_parts(job: Job, tmp_path: Path) -> None:
    parts = {Task(index, 3): ledger_of(job, index, index + 3) for index in range(3)}
    write(tmp_path, job, parts)
    merged = take_over_all(tmp_path, job, Quiet())
    write(tmp_path, job, parts)
    assert same(take_over_all(tmp_path, job, Quiet()), merged)


def test_a_shard_in_two_ledgers_counts_once(job: Job, tmp_path: Path) -> None:
    write(tmp_path, job, {Task(0, 2): ledger_of(job, 0, 2, 4), Task(1, 3): ledger_of(job, 1, 4)})
    reporter = Quiet()
    assert same(take_over_all(tmp_path, job, reporter), ledger_of(job, 0, 2, 4))
    assert "has shards of other tasks" in reporter.lines[0]


def test_saving_takes_little_time_and_nothing_is_forgotten(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time here is what saving takes, a second each, and what lies between, a second each."""
    clock = 0.0
    saved: list[int] = []

    def save(self: Ledger, path: Path, fingerprint: str) -> None:
        nonlocal clock
        clock += 1
        saved.append(len(self.sha256))

    monkeypatch.setattr("builder.run.ledger.time.monotonic", lambda: clock)
    monkeypatch.setattr(Ledger, "save", save)
    file = LedgerFile(Ledger.empty(job), tmp_path / "ledger.npz", job.fingerprint)
    for shard in range(30):
        clock += 1
        file.add(result(shard))
    file.save()
    file.save()
    assert saved == [1, 21, 30]
