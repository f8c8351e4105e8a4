"""Whoever runs the shards of an evaluation, and whatever ends it: the bytes are the same."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from builder.errors import BuildError, Stopped
from builder.evaluate.claim import EVALUATION_FILE, WORK
from builder.evaluate.evaluation import evaluate, evaluate_task
from builder.evaluate.evaluator import Evaluator
from builder.evaluate.models import load_classifier, model_list
from builder.evaluate.worker import EvaluationWorker, shard_path
from builder.settings.evaluation import Evaluation
from builder.settings.task import Task
from builder.shards.stop import Stop
from tests.built import hashes
from tests.conftest import NETWORK, World
from tests.evaluate.conftest import TrueMasks, write_data
from tests.killed import KilledError
from tests.quiet import Quiet

SHARDS = 7


@pytest.fixture(scope="module")
def base(
    true_masks: TrueMasks, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Evaluation:
    """Return an evaluation of many shards, on images with true masks."""
    root = tmp_path_factory.mktemp("evaluated")
    return Evaluation(
        data=str(write_data(root / "data", true_masks.rows, files=SHARDS)),
        images=str(true_masks.images),
        model=[f"{NETWORK}={world.checkpoint}"],
        out=root / "undisturbed",
        k=3,
        draws=2,
        device="cpu",
        batch_size=4,
    )


@pytest.fixture(scope="module")
def undisturbed(base: Evaluation) -> dict[str, str]:
    """Return the hash of each file of an evaluation in one process."""
    evaluate(base, Quiet())
    return hashes(base.out)


@pytest.fixture
def settings(base: Evaluation, tmp_path: Path) -> Callable[..., Evaluation]:
    return lambda **changes: replace(base, out=tmp_path / "out", **changes)


def shards_in(out: Path) -> int:
    return len(list((out / WORK).glob("*.parquet")))


def test_shards_are_those_of_the_data_and_leave_nothing(
    base: Evaluation, undisturbed: dict[str, str]
) -> None:
    noted = json.loads((base.out / EVALUATION_FILE).read_text())
    assert noted["shards"] == SHARDS
    assert not [name for name in undisturbed if WORK in name]


@pytest.mark.parametrize("changes", [{"workers": 2}, {"device": "cpu,cpu"}])
def test_threads_that_load_and_processes_make_the_same_bytes(
    settings: Callable[..., Evaluation], undisturbed: dict[str, str], changes: dict[str, object]
) -> None:
    other = settings(**changes)
    evaluate(other, Quiet())
    assert hashes(other.out) == undisturbed
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_tasks_in_any_order(
    settings: Callable[..., Evaluation], undisturbed: dict[str, str], order: tuple[int, ...]
) -> None:
    left = [evaluate_task(settings(task=Task(index, 3)), Quiet()) for index in order]
    assert left == [
        SHARDS - len(Task(order[0], 3).shards(SHARDS)),
        len(Task(order[2], 3).shards(SHARDS)),
        0,
    ]
    final = settings(finalise_only=True)
    with patch.object(EvaluationWorker, "run", side_effect=KilledError):
        evaluate(final, Quiet())
    assert hashes(final.out) == undisturbed
    assert evaluate_task(settings(task=Task(0, 3)), Quiet()) == 0
    assert hashes(final.out) == undisturbed


def test_a_whole_run_takes_over_from_a_task(
    settings: Callable[..., Evaluation], undisturbed: dict[str, str]
) -> None:
    evaluate_task(settings(task=Task(1, 3)), Quiet())
    reporter = Quiet()
    evaluate(settings(), reporter)
    assert "Going on where an earlier run stopped, after 10 images." in reporter.lines
    assert hashes(settings().out) == undisturbed


def test_finalising_names_the_shards_that_are_missing(
    settings: Callable[..., Evaluation],
) -> None:
    final = settings(finalise_only=True)
    with pytest.raises(BuildError, match="Nothing was evaluated in"):
        evaluate(final, Quiet())
    assert not final.out.exists()
    evaluate_task(settings(task=Task(1, 3)), Quiet())
    with pytest.raises(BuildError, match=r"5 of 7 shards are not finished \(0, 2, 3, 5, 6\)"):
        evaluate(final, Quiet())


def test_two_ray_workers(settings: Callable[..., Evaluation], undisturbed: dict[str, str]) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        evaluate(settings(engine="ray"), Quiet())
    finally:
        ray.shutdown()
    assert hashes(settings().out) == undisturbed


def test_a_worker_with_other_inputs_is_a_sentence(base: Evaluation, tmp_path: Path) -> None:
    entries = model_list(base)
    evaluator = Evaluator([load_classifier(*entry) for entry in entries], base)
    orders = EvaluationWorker(evaluator, entries, tmp_path).elsewhere("cpu", 1, 0)
    orders.open()
    for changed, said in (("sigma", "its sigma is 0.25"), (f"model {NETWORK}", "its model timm")):
        other = replace(orders, identity={**orders.identity, changed: "another"})
        with pytest.raises(BuildError, match=f"The worker on .* differs: {said}"):
            other.open()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"models": 3}', b"\xff"])
def test_a_damaged_note_is_a_sentence(settings: Callable[..., Evaluation], content: bytes) -> None:
    settings().out.mkdir()
    (settings().out / EVALUATION_FILE).write_bytes(content)
    with pytest.raises(BuildError, match=f"{EVALUATION_FILE} is damaged .*: use another --out"):
        evaluate(settings(), Quiet())


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_a_shard_that_was_cut_is_a_sentence(
    settings: Callable[..., Evaluation], undisturbed: dict[str, str], kept: float
) -> None:
    evaluate_task(settings(task=Task(0, 7)), Quiet())
    path = shard_path(settings().out / WORK, 0)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(BuildError, match=f"{path} is damaged .* remove it and run the same"):
        evaluate(settings(), Quiet())
    path.unlink()
    evaluate(settings(), Quiet())
    assert hashes(settings().out) == undisturbed


def test_told_to_stop_it_finishes_what_it_has_begun(
    settings: Callable[..., Evaluation], undisturbed: dict[str, str]
) -> None:
    stop, reporter = Stop(), Quiet()
    write = EvaluationWorker._write

    def write_and_stop(*arguments: object) -> int:
        stop._asked.set()
        return write(*arguments)  # type: ignore[arg-type]

    with patch.object(EvaluationWorker, "_write", write_and_stop), pytest.raises(Stopped):
        evaluate(settings(), reporter, stop)
    assert "Stopping when the shards under way are finished." in reporter.lines
    assert 0 < shards_in(settings().out) < SHARDS
    evaluate(settings(), Quiet())
    assert hashes(settings().out) == undisturbed


@pytest.mark.parametrize(
    "where",
    ["evaluation.merge_predictions", "salient_imagenet.scores_of", "salient_imagenet.Report"],
)
def test_it_dies_at_its_end(
    settings: Callable[..., Evaluation], undisturbed: dict[str, str], where: str
) -> None:
    dies = patch(f"builder.evaluate.{where}", side_effect=KilledError)
    with dies, pytest.raises(KilledError):
        evaluate(settings(), Quiet())
    # What was finished before is not computed again.
    with patch.object(EvaluationWorker, "_write", side_effect=AssertionError):
        evaluate(settings(), Quiet())
    assert hashes(settings().out) == undisturbed


def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    settings: Callable[..., Evaluation], undisturbed: dict[str, str]
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.evaluate.conftest", "builder.evaluate.output"])
    dice, kills = random.Random(0), 0
    for goal in moments(dice):
        process = context.Process(target=evaluate, args=(settings(), Quiet()))
        process.start()
        while process.is_alive() and shards_in(settings().out) < goal:
            time.sleep(0.001)
        process.join(dice.uniform(0, 0.02))
        kills += process.is_alive()
        process.kill()
        process.join()
    assert kills
    evaluate(settings(), Quiet())
    assert hashes(settings().out) == undisturbed
    assert not shard_path(settings().out / WORK, 0).exists()


def moments(dice: random.Random) -> Iterator[int]:
    """Yield how many shards there are when a process is killed."""
    yield from sorted(dice.sample(range(1, SHARDS), 2))
