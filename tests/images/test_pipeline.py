from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builder.errors import BuildError
from builder.images.loader import Batch, LoadedBatch, Loader
from builder.images.loader_process import LoaderProcess
from builder.network.analysis import Analysis
from builder.shards.job import Job, open_job
from builder.shards.stop import DROPPED
from tests.conftest import World
from tests.quiet import Quiet


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    return open_job(world.settings(tmp_path / "out", batch_size=5), Quiet())


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def run(job: Job) -> list[Analysis]:
    batches = [batch for shard in range(job.plan.shards) for batch in job.batches(shard)]
    return list(job.analyse(batches))


def same(first: list[Analysis], second: list[Analysis]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(a.members, b.members)
        and np.array_equal(a.activations, b.activations)
        and np.array_equal(a.masks.grids, b.masks.grids)
        for a, b in zip(first, second, strict=True)
    )


def test_results_come_in_the_order_of_the_plan(job: Job) -> None:
    members = [member for analysis in run(job) for member in analysis.members]
    assert members == job.plan.order.tolist()


@pytest.mark.usefixtures("two_threads")
def test_threads_and_worker_processes_give_the_same_bits(job: Job) -> None:
    alone = [
        analysis
        for shard in range(job.plan.shards)
        for batch in job.batches(shard)
        for analysis in job.analyse([batch])
    ]
    assert same(run(job), alone)
    assert same(run(replace(job, workers=2)), alone)


@pytest.mark.usefixtures("two_threads")
def test_the_caller_s_threads_are_its_own_again(job: Job) -> None:
    run(job)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_thread_ends_the_run(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, batch: LoadedBatch) -> Analysis:
        raise BuildError("the network is on fire")

    monkeypatch.setattr("builder.network.analysis.Analyser.__call__", broken)
    with pytest.raises(BuildError, match="on fire"):
        run(job)


def test_a_loader_that_nobody_told_to_end_keeps_no_process_alive(job: Job) -> None:
    """It leaves SIGTERM to its parent, which would wait for it for ever."""

    def interrupted() -> None:
        loader = LoaderProcess(Loader(job.images, job.plan), job.batch_size)
        loader.give(job.batches(0)[0])
        assert loader.take().members.tolist() == job.batches(0)[0].members.tolist()
        raise SystemExit(DROPPED)

    process = multiprocessing.get_context("fork").Process(target=interrupted)
    process.start()
    # For ever, if it is not as it should be.
    process.join(120)
    code = process.exitcode
    process.kill()
    assert code == DROPPED


def test_a_run_that_is_dropped_leaves_no_process(job: Job) -> None:
    batches = [batch for shard in range(job.plan.shards) for batch in job.batches(shard)]
    results = replace(job, workers=2).analyse(batches)
    next(results)
    assert len(multiprocessing.active_children()) == 2
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, r"was lost \(exit status -9\): see that there is memory for that many"),
        (signal.SIGSTOP, "has said nothing for 0 seconds: see that --images can be read, and run"),
    ],
)
def test_a_process_that_is_lost_ends_the_run_with_a_sentence(
    job: Job, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, said: str
) -> None:
    load, parent = Loader.__call__, os.getpid()

    def struck(loader: Loader, batch: Batch, *room: Any) -> LoadedBatch:
        if batch.shard == 2:
            assert os.getpid() != parent
            os.kill(os.getpid(), number)
        return load(loader, batch, *room)

    monkeypatch.setattr(Loader, "__call__", struck)
    if number == signal.SIGSTOP:
        monkeypatch.setattr("builder.images.loader_process._PATIENCE_SECONDS", 0.3)
    with pytest.raises(BuildError, match=f"A process that loads images {said}"):
        run(replace(job, workers=2))
    assert not multiprocessing.active_children()


def test_an_error_in_a_process_is_raised_in_this_one(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(loader: Loader, batch: Batch, *room: Any) -> LoadedBatch:
        raise MemoryError(f"in shard {batch.shard}")

    monkeypatch.setattr(Loader, "__call__", broken)
    with pytest.raises(MemoryError, match="in shard 0") as caught:
        run(replace(job, workers=1))
    assert "in broken" in caught.value.__notes__[0]


def test_no_room_for_processes_is_a_sentence(job: Job) -> None:
    with pytest.raises(BuildError, match="There is no room for 1 processes that load"):
        run(replace(job, workers=1, batch_size=2**40))


def test_more_processes_than_batches(job: Job) -> None:
    batches = job.batches(0)[:1]
    assert same(list(replace(job, workers=3).analyse(batches)), list(job.analyse(batches)))
