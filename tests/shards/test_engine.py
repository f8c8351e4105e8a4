"""Whoever computes the shards makes the same bytes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuildError
from builder.run.build import build, run_task
from builder.settings.build import Settings
from builder.settings.task import Task
from builder.shards.processes import _Process
from builder.shards.shard import shard_path
from tests.built import hashes
from tests.conftest import World
from tests.quiet import Quiet


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the hash of each file of a build in one process."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    build(world.settings(out, shard_size=2), Quiet())
    return hashes(out)


def gain_whole_images(world: World, planted: Path, out: Path, **engine: Any) -> dict[str, str]:
    """Have a finished data set gain whole images; return the hashes of the files it got."""
    shutil.copytree(planted, out)
    settings = world.settings(out, whole_image=True, **engine)
    assert build(settings, Quiet()).images == 36  # None of the crops again.
    return hashes(out / "whole")


@pytest.fixture
def settings(world: World, tmp_path: Path) -> Callable[..., Settings]:
    return lambda **changes: world.settings(tmp_path / "out", **{"shard_size": 2, **changes})


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_tasks_in_any_order(
    settings: Callable[..., Settings], undisturbed: dict[str, str], order: tuple[int, ...]
) -> None:
    left = []
    for index in order:
        left.append(run_task(settings(task=Task(index, 3)), Quiet()).left)
    assert left == [12, 6, 0]
    final = settings(finalise_only=True)
    assert build(final, Quiet()).images == 0
    assert hashes(final.out) == undisturbed


def test_finalising_names_the_shards_that_are_missing_or_damaged(
    settings: Callable[..., Settings], undisturbed: dict[str, str]
) -> None:
    for index in (0, 2):
        run_task(settings(task=Task(index, 3)), Quiet())
    final = settings(finalise_only=True)
    with pytest.raises(BuildError, match=r"6 of 18 shards are not finished \(1, 4, 7, 10, 13, 16"):
        build(final, Quiet())
    run_task(settings(task=Task(1, 3)), Quiet())
    shard_path(final.out / ".build" / "train", 5).write_bytes(b"")
    with pytest.raises(BuildError, match=r"1 of 18 shards are not finished \(5\)"):
        build(final, Quiet())
    assert run_task(settings(task=Task(2, 3)), Quiet()).images == 2
    build(final, Quiet())
    assert hashes(final.out) == undisturbed


def test_finalising_before_anything_was_built_is_a_sentence(
    settings: Callable[..., Settings],
) -> None:
    with pytest.raises(BuildError, match="Nothing of the split train was built in"):
        build(settings(finalise_only=True), Quiet())
    assert not settings().out.exists()


def test_a_build_takes_over_from_tasks(
    settings: Callable[..., Settings], undisturbed: dict[str, str]
) -> None:
    run_task(settings(task=Task(1, 3)), Quiet())
    run_task(settings(task=Task(0, 2)), Quiet())
    assert build(settings(), Quiet()).images < 36
    assert hashes(settings().out) == undisturbed


def test_a_process_per_device(
    world: World, planted: Path, planted_whole: Path, tmp_path: Path
) -> None:
    """Of whole images; that processes agree on crops is seen where one of them is killed."""
    found = gain_whole_images(world, planted, tmp_path / "out", device="cpu,cpu")
    assert found.items() <= hashes(planted_whole / "whole").items()
    assert not multiprocessing.active_children()


def test_a_process_of_two_is_killed(
    settings: Callable[..., Settings],
    undisturbed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has just been given a shard, so that the build cannot end without anybody's notice."""
    two, reporter = settings(device="cpu,cpu"), Quiet()
    send, given = _Process.send, itertools.count(1)

    def send_and_kill(process: _Process, shard: int | None) -> None:
        send(process, shard)
        if next(given) == 5:
            os.kill(process._process.pid or 0, signal.SIGKILL)

    monkeypatch.setattr(_Process, "send", send_and_kill)
    assert build(two, reporter).images == 36
    assert reporter.lines.count("A worker is lost; its shards go to others.") == 1
    assert hashes(two.out) == undisturbed
    assert not multiprocessing.active_children()


def test_devices_of_two_kinds_are_refused(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(BuildError, match="mixes kinds"):
        build(settings(device="cpu,cuda:0"), Quiet())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes with a CPU each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    # A short path of its own: the default is shared, and the length of sockets' paths is limited.
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", directory)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        (Path(directory) / "ray").mkdir()
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


def test_ray_actors_share_the_cpus_of_nodes_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an actor could be too large for any node, and wait for room for ever."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    from builder.shards.ray_actors import _cpus_beside_a_gpu  # noqa: PLC0415

    nodes = [
        {"Alive": True, "Resources": {"CPU": 64.0}},
        {"Alive": True, "Resources": {"CPU": 33.0, "GPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 24.0, "GPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 1.0, "GPU": 1.0}},
    ]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    assert _cpus_beside_a_gpu() == 4


def test_two_ray_workers(
    world: World, planted: Path, planted_whole: Path, tmp_path: Path, cluster: Any
) -> None:
    """Of whole images; that workers agree on crops is seen where one of them is killed."""
    engine = {"engine": "ray", "address": cluster.address}
    found = gain_whole_images(world, planted, tmp_path / "out", **engine)
    assert found.items() <= hashes(planted_whole / "whole").items()


def test_an_error_in_a_ray_worker_is_the_same_sentence(
    settings: Callable[..., Settings],
    cluster: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The plan of the process that keeps the ledger is not the workers'."""
    monkeypatch.setattr("builder.shards.job.Job.identity", lambda job: {"images": 7})
    with pytest.raises(BuildError, match=r"The worker on .* sees other images"):
        build(settings(engine="ray", address=cluster.address), Quiet())


def test_a_ray_worker_is_killed_and_then_one_of_two_nodes(
    settings: Callable[..., Settings],
    undisturbed: dict[str, str],
    cluster: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each has just been given a shard, so that the build cannot end without anybody's notice."""
    import ray  # noqa: PLC0415
    from ray.exceptions import RayError  # noqa: PLC0415

    from builder.shards.ray_actors import _Actor  # noqa: PLC0415

    whole, reporter = settings(engine="ray", address=cluster.address), Quiet()
    (node,) = cluster.worker_nodes
    deaths = ["of a worker of the other node", "of the node"]
    given, held = Counter[int](), list[tuple[_Actor, int | None]]()
    send = _Actor.send

    def whereabouts(_actor: object) -> tuple[int, str]:
        return os.getpid(), ray.get_runtime_context().get_node_id()

    def send_and_kill(actor: _Actor, shard: int | None) -> None:
        with suppress(RayError):  # Of one that is dead.
            pid, place = ray.get(actor._actor.__ray_call__.remote(whereabouts))
            given[pid] += 1
            if deaths and given[pid] > 2:
                kill_or_hold(actor, shard, pid, place == node.node_id)
                return
        send(actor, shard)

    def kill_or_hold(actor: _Actor, shard: int | None, pid: int, is_on_node: bool) -> None:
        if is_on_node != (deaths[0] == "of the node"):
            # There must be shards left when the one who is to die has opened the job.
            held.append((actor, shard))
            return
        send(actor, shard)
        if is_on_node:
            cluster.remove_node(node, allow_graceful=False)
        else:
            os.kill(pid, signal.SIGKILL)
        del deaths[0]
        while held:
            send(*held.pop())

    monkeypatch.setattr(_Actor, "send", send_and_kill)
    assert build(whole, reporter).images == 36
    assert not deaths
    assert reporter.lines.count("A worker is lost; its shards go to others.") == 2
    assert hashes(whole.out) == undisturbed


def test_no_cluster_at_the_address_is_a_sentence(settings: Callable[..., Settings]) -> None:
    with pytest.raises(BuildError, match=r"No Ray cluster answers at 127\.0\.0\.1:1 "):
        build(settings(engine="ray", address="127.0.0.1:1"), Quiet())


def test_without_ray_a_sentence_says_how_to_install_it(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "builder.shards.ray_actors", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BuildError, match=r"pip install -e '\.\[ray\]'"):
        build(settings(engine="ray"), Quiet())
