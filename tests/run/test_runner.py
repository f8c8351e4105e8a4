from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from builder.errors import BuildError, Stopped
from builder.run.ledger import Ledger, ledger_path
from builder.run.runner import Run, ShardRunner
from builder.settings.task import Task
from builder.shards.engine import InProcess
from builder.shards.job import Job, open_job
from builder.shards.shard import shard_path
from builder.shards.stop import Stop
from builder.shards.work import Result, Work
from tests.conftest import World
from tests.quiet import Quiet


@pytest.fixture(scope="module")
def job(world: World, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return open_job(world.settings(tmp_path_factory.mktemp("runner") / "out"), Quiet())


class Counting(InProcess):
    """Remembers which shards it computed, and does something after each."""

    def __init__(self, then: Callable[[int], None] = lambda shard: None) -> None:
        self.shards: list[int] = []
        self._then = then

    def run(
        self, work: Work[Result], shards: Iterable[int], advance: Callable[[int], None]
    ) -> Iterator[Result]:
        for result in super().run(work, shards, advance):
            self.shards.append(result.shard)
            self._then(result.shard)
            yield result


def run(job: Job, directory: Path, engine: Counting, task: Task | None = None) -> Run:
    return ShardRunner(job, directory, engine, Quiet(), task).run()


def contents(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(directory.glob("shards/*.parquet"))]


def ledger(job: Job, directory: Path) -> Ledger:
    found = Ledger.load(ledger_path(directory, Task()), job)
    assert found is not None
    return found


def test_a_second_run_has_nothing_to_do(job: Job, tmp_path: Path) -> None:
    assert run(job, tmp_path, Counting()).images == 36
    again = Counting()
    assert run(job, tmp_path, again).images == 0
    assert again.shards == []


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_shard_that_was_damaged_later_is_found_and_run_again(
    job: Job, tmp_path: Path, damage: str
) -> None:
    run(job, tmp_path, Counting())
    before, sums = contents(tmp_path), ledger(job, tmp_path).importance.sums
    path = shard_path(tmp_path, 3)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-9])
    if damage == "remove":
        path.unlink()
    engine = Counting()
    run(job, tmp_path, engine)
    assert engine.shards == [3]
    assert contents(tmp_path) == before
    assert np.array_equal(ledger(job, tmp_path).importance.sums, sums)


def test_a_shard_damaged_while_others_run_is_found(job: Job, tmp_path: Path) -> None:
    def damage(shard: int) -> None:
        if engine.shards.count(1) == 1:
            shard_path(tmp_path, 1).write_bytes(b"")

    engine = Counting(damage)
    run(job, tmp_path, engine)
    assert sorted(engine.shards) == [0, 1, 1, 2, 3, 4, 5]
    assert ledger(job, tmp_path).importance.counts.sum() == 36


def test_a_disk_that_keeps_nothing_is_a_sentence(job: Job, tmp_path: Path) -> None:
    def forget(shard: int) -> None:
        shard_path(tmp_path, shard).write_bytes(b"")

    with pytest.raises(BuildError, match="does not keep what is written there"):
        run(job, tmp_path, Counting(forget))


def test_tasks_run_their_own_shards_and_tell_what_is_left(job: Job, tmp_path: Path) -> None:
    engines = [Counting(), Counting()]
    assert run(job, tmp_path, engines[1], Task(1, 2)).left == 3
    assert run(job, tmp_path, engines[0], Task(0, 2)).left == 0
    assert [engine.shards for engine in engines] == [[0, 2, 4], [1, 3, 5]]
    whole = Counting()
    assert run(job, tmp_path, whole).images == 0
    run(job, tmp_path / "alone", Counting())
    merged, alone = ledger(job, tmp_path), ledger(job, tmp_path / "alone")
    assert merged.sha256 == alone.sha256
    assert np.array_equal(merged.importance.sums, alone.importance.sums)


def test_stopping_keeps_the_shards_under_way(job: Job, tmp_path: Path) -> None:
    stop = Stop()

    def ask(shard: int) -> None:
        if not stop.is_asked:
            stop.ask()

    engine = Counting(ask)
    with pytest.raises(Stopped, match="run the same command again"):
        ShardRunner(job, tmp_path, engine, Quiet(), stop=stop).run()
    assert 0 < len(engine.shards) < 6
    rest = Counting()
    run(job, tmp_path, rest)
    assert sorted(engine.shards + rest.shards) == list(range(6))
