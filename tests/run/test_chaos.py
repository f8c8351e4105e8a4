"""The short form of tests/chaos.py."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from tests.chaos import Arena, children, kill_often, survive


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    return Arena(tmp_path_factory.mktemp("arena"))


def test_killed_20_times_at_random_moments_it_ends_with_the_same_bytes(
    arena: Arena, tmp_path: Path
) -> None:
    kills = builds = 0
    while kills < 20:  # A fast machine may be done before.
        kills += kill_often(arena, tmp_path / f"out-{builds}", kills=20 - kills, seed=builds)
        builds += 1
    assert builds <= 4


def test_faults_of_every_kind_are_survived(
    arena: Arena, capsys: pytest.CaptureFixture[str]
) -> None:
    builds, survived = survive(arena, lambda lives: lives >= 15, seed=0)
    with capsys.disabled():
        print(f"\n{builds} builds survived {sum(survived.values())} faults: {dict(survived)}")
    assert survived["SIGKILL"] + survived["SIGTERM"] + survived["SIGTERM twice"]
    assert survived["read error that goes away"]
    assert survived["damaged shard"]
    assert survived["damaged index"]
    assert survived["damaged note of the inputs"] + survived["damaged sign of life"]


def test_the_processes_that_a_process_began_are_found() -> None:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    assert process.pid in children(os.getpid())
    process.kill()
    process.join()
    assert process.pid not in children(os.getpid())
