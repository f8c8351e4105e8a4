"""Training from end to end: what it writes, how it goes on, and how processes share it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import datasets
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from builder.cli import main
from builder.errors import BuildError, Stopped
from builder.evaluate.models import load_classifier
from builder.mitigate.journal import read_journal
from builder.mitigate.training import WORK, Trained, train
from builder.network.checkpoint import read_state_dict
from builder.reporter import SilentReporter
from builder.settings.training import Training
from builder.shards.stop import Stop
from tests.forked import PROCESSES
from tests.killed import KilledError
from tests.mitigate.conftest import Options
from tests.mitigate.student import NAME, SIDE, student


@pytest.fixture
def trained(options: Options) -> Trained:
    return train(options("whole", ema=0.5), SilentReporter())


def in_all(trained: Trained) -> tuple[bytes, bytes]:
    """Return the bytes of weights and log."""
    return trained.weights.read_bytes(), trained.weights.with_name("log.csv").read_bytes()


class KillsAfter(SilentReporter):
    """A reporter that kills when so many steps are done."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    @contextmanager
    def track(
        self, title: str, total: int | None = None, done: int = 0
    ) -> Iterator[Callable[[int], None]]:
        def advance(_count: int) -> None:
            if not self._left:
                raise KilledError
            self._left -= 1

        yield advance


def test_what_is_written_can_be_read(trained: Trained) -> None:
    out = trained.weights.parent
    assert sorted(path.name for path in out.iterdir()) == [
        "log.csv",
        "model.safetensors",
        "report.html",
        "summary.json",
        "tensorboard",
        "training.json",
    ]
    lines = read_journal(out)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(
        {"loss", "saliency", "cam", "accuracy", "without_mask", "lr"} <= line.keys()
        for line in lines
    )
    assert ["validation_accuracy" in line for line in lines] == [False, False, False, True] * 2
    summary = json.loads((out / "summary.json").read_text())
    assert summary["lines"] == lines
    assert summary["order"]["images"] == 36
    # Each third of the images is of the class without a core mask, which leaves its crops alone.
    assert summary["without_mask"] > 0.25
    page = (out / "report.html").read_text()
    assert page.count("<figure") == 5
    assert "32 of the split's 36 images" in page.replace("&#39;", "'")
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(
        [line["loss"] for line in lines]
    )


def test_evaluate_takes_the_weights_that_were_validated(
    trained: Trained, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = load_classifier(NAME, trained.weights)
    assert classifier.view.size == SIDE
    settings = options()
    main_with(
        "evaluate",
        settings.data,
        *("--images", settings.images, "--out", str(settings.out), "--model", NAME),
        *("--checkpoint", str(trained.weights), "--k", "1", "--draws", "1", "--device", "cpu"),
    )
    report = json.loads((settings.out / "report.json").read_text())
    found = report["models"][NAME]["means"]["clean_accuracy"]["value"]
    # Classes have as many images each, so that their mean is the images'.
    assert found == pytest.approx(trained.summary.validation_accuracy, abs=1e-6)


def test_a_killed_training_goes_on_to_the_same_bytes(trained: Trained, options: Options) -> None:
    settings = options("killed", ema=0.5, log_every=2)
    whole = train(options("lines", ema=0.5, log_every=2), SilentReporter())
    for steps in (3, 2):
        # Later than the last checkpoint, of which there is one each second step.
        with pytest.raises(KilledError):
            train(settings, KillsAfter(steps))
        assert (settings.out / WORK / "checkpoint.safetensors").exists()
        assert not (settings.out / "model.safetensors").exists()
    again = train(settings, SilentReporter())
    assert in_all(again) == in_all(whole)
    assert again.weights.read_bytes() == trained.weights.read_bytes()
    assert not (settings.out / WORK).exists()
    assert in_all(train(settings, SilentReporter())) == in_all(whole)  # nothing to do


def test_a_training_that_is_asked_to_stop_goes_on(trained: Trained, options: Options) -> None:
    settings, stop = options("stopped", ema=0.5, save_every=60), Stop()
    stop.ask()
    with pytest.raises(Stopped, match=r"after 1 steps: run the same command again"):
        train(settings, SilentReporter(), stop)
    assert in_all(train(settings, SilentReporter())) == in_all(trained)


def test_batches_may_be_accumulated(options: Options) -> None:
    whole = train(options("whole", epochs=1, method="saliency"), SilentReporter())
    parts = options("parts", epochs=1, method="saliency", batch_size=4, accumulate=2)
    check_same_lines(read_journal(whole.weights.parent), lines_of(parts))


def lines_of(settings: Training) -> list[dict[str, float]]:
    return read_journal(train(settings, SilentReporter()).weights.parent)


def check_same_lines(lines: list[dict[str, float]], others: list[dict[str, float]]) -> None:
    assert len(lines) == len(others) > 0
    for line, other in zip(lines, others, strict=True):
        assert other == pytest.approx(line, rel=2e-4, abs=1e-6)


def train_as(settings: Training, environment: dict[str, str]) -> None:
    """Train as one of several processes, told by `environment` as Accelerate does."""
    os.environ.update(environment)
    datasets.config.HF_DATASETS_CACHE = settings.out.with_name("cache")
    torch.set_num_threads(1)
    train(settings, SilentReporter())


def test_two_processes_do_what_one_does_with_twice_the_batch(options: Options) -> None:
    alone = options("alone", epochs=1, method="noise+swap+saliency+cam")
    shared = replace(alone, out=alone.out.with_name("shared"), batch_size=4)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = [
        PROCESSES.Process(
            target=train_as,
            args=(
                shared,
                {
                    "MASTER_ADDR": "localhost",
                    "MASTER_PORT": port,
                    "WORLD_SIZE": "2",
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "CUDA_VISIBLE_DEVICES": "",
                },
            ),
        )
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    check_same_lines(lines_of(alone), read_journal(shared.out))


def test_other_options_are_refused_by_name(trained: Trained, options: Options) -> None:
    with pytest.raises(BuildError, match=r"its lr is 0\.01, this command's is 0\.02"):
        train(options("whole", ema=0.5, lr=0.02), SilentReporter())


def test_a_directory_of_something_else_is_refused(options: Options) -> None:
    settings = options()
    settings.out.mkdir()
    (settings.out / "letter.txt").touch()
    with pytest.raises(BuildError, match=r"is not empty and holds no training\.json"):
        train(settings, SilentReporter())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"opt": "adamv"}, "timm has no optimizer adamv: use one that it has, as adam"),
        ({"sched": "plateau"}, "There is no schedule plateau: use --sched cosine or"),
        ({"batch_size": 64}, "A step takes 64 images, and there are 36: use a smaller"),
        ({"model": "clip:ViT-B-32/openai"}, "comes with its weights"),
        ({"model": "timm:test_vit", "method": "cam"}, "does not end in conv map, spatial mean"),
        ({"lr": 1e30}, "The loss is no longer finite after"),
    ],
)
def test_what_cannot_be_trained_is_a_sentence(
    options: Options, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BuildError, match=sentence):
        train(options(**changes), SilentReporter())


@pytest.mark.parametrize("method", ["masks", "noise+noise", "erm+noise", ""])
def test_methods_are_those_that_there_are(options: Options, method: str) -> None:
    with pytest.raises(BuildError, match="--method"):
        options(method=method)


def test_weights_of_a_file_are_begun_with(trained: Trained, options: Options) -> None:
    settings = options("tuned", model=f"{NAME}={trained.weights}", lr=0.0, epochs=1)
    tuned = train(settings, SilentReporter())
    before, after = (read_state_dict(run.weights) for run in (trained, tuned))
    assert list(before) == list(after) == list(student()[0].state_dict())
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", ["noise", "swap", "saliency", "cam"])
def test_each_method_changes_what_erm_learns(options: Options, method: str) -> None:
    settings = options(method, method=method, epochs=1, saliency_weight=10.0)
    runs = [settings, replace(settings, out=settings.out.with_name("erm"), method="erm")]
    weights = [read_state_dict(train(run, SilentReporter()).weights)["0.weight"] for run in runs]
    assert (weights[0] - weights[1]).abs().max() > 1e-4


def main_with(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["salient-imagenet", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0


def test_the_command_trains(options: Options, capsys: pytest.CaptureFixture[str]) -> None:
    settings = options()
    main_with(
        "train",
        settings.data,
        *("--images", settings.images, "--out", str(settings.out), "--model", "timm:test_resnet"),
        *("--method", "noise+cam", "--epochs", "1", "--batch-size", "16", "--device", "cpu"),
    )
    assert f"Give evaluate --checkpoint {settings.out}/model.safetensors" in (
        capsys.readouterr().err.replace("\n", "")
    )
    classifier = load_classifier("timm:test_resnet", settings.out / "model.safetensors")
    assert isinstance(classifier.model, nn.Module)
