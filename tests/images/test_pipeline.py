from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from builder.errors import BuildError
from builder.images.loader import LoadedBatch, Loader
from builder.images.pipeline import _leave_signals_to_the_parent, _load_ahead
from builder.network.analysis import Analysis
from builder.run.stop import DROPPED
from builder.shards.job import Job, open_job
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
    fork = multiprocessing.get_context("fork")
    begun = fork.Event()

    def orphan() -> None:
        _leave_signals_to_the_parent(0)
        begun.set()
        parent = multiprocessing.parent_process()
        assert parent
        parent.join()

    def interrupted() -> None:
        _load_ahead([], Loader(job.images, job.plan), 1)
        fork.Process(target=orphan, daemon=True).start()
        begun.wait()
        raise SystemExit(DROPPED)

    process = fork.Process(target=interrupted)
    process.start()
    # For ever, if it is not as it should be.
    process.join(120)
    code = process.exitcode
    process.kill()
    assert code == DROPPED
