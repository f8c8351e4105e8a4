"""The main job of train: a model, trained, written, and how that went."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

import salient_imagenet_1m as si
from builder.evaluate.evaluator import data_sha256
from builder.mitigate.examples import open_examples
from builder.mitigate.journal import Journal, read_journal
from builder.mitigate.learner import Learner, open_learner
from builder.mitigate.order import order_of
from builder.mitigate.reweighting import Reweighting, open_reweighting
from builder.mitigate.summary import Summary, write_summary
from builder.mitigate.trainer import Trainer
from builder.mitigate.validation import open_validation
from builder.mitigate.weights import write_tensors
from builder.network.devices import find_device
from builder.network.network import hash_tensors
from builder.reporter import Reporter, SilentReporter
from builder.settings.training import Training
from builder.shards.stop import Stop
from builder.storage.claim import claim
from builder.storage.files import (
    disk_errors_as_sentences,
    exclusive,
    remove_directory,
    require_directory,
)

WEIGHTS_FILE = "model.safetensors"
CLAIM_FILE = "training.json"
WORK = ".training"
"""The directory of the checkpoint, until the training is done."""

_NOT_OF_THE_RESULT = ("images", "out", "device", "workers", "log_every", "save_every")
_LIBRARIES = ("accelerate", "datasets", "numpy", "pillow", "timm", "torch", "torchvision")


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes
    ----------
    weights : Path
        The file that evaluate takes as ``--checkpoint``.
    summary : Summary
    """

    weights: Path
    summary: Summary


def train(settings: Training, reporter: Reporter, stop: Stop | None = None) -> Trained:
    """Train a model, or go on where an earlier run stopped.

    Each process that ``accelerate launch`` starts calls this; the first of them writes.

    Parameters
    ----------
    settings : Training
    reporter : Reporter
    stop : Stop, optional
        Whom to ask whether to go on.

    Returns
    -------
    Trained

    Raises
    ------
    BuildError
        With a sentence for the user.
    Stopped
        If somebody asked to stop before all epochs were done.
    """
    require_directory(settings.out)
    accelerator = _accelerator(settings)
    is_first = accelerator.is_main_process
    with disk_errors_as_sentences(settings.out):
        settings.out.mkdir(parents=True, exist_ok=True)
        with exclusive(settings.out) if is_first else nullcontext():
            return _train(settings, accelerator, reporter, stop or Stop())


def _train(settings: Training, accelerator: Accelerator, reporter: Reporter, stop: Stop) -> Trained:
    out, work, is_first = settings.out, settings.out / WORK, accelerator.is_main_process
    learner = open_learner(settings, accelerator.device)
    examples, validation = open_examples(settings, learner.view), open_validation(settings, learner)
    reweighting = open_reweighting(settings, examples)
    identity = _identity(settings, accelerator.num_processes, learner, reweighting)
    if is_first:
        claim(out, CLAIM_FILE, identity)
    accelerator.wait_for_everyone()
    order = order_of(settings, len(examples), accelerator)
    if not (out / WEIGHTS_FILE).exists():
        trainer = Trainer(
            settings, learner, examples, validation, order, accelerator, work, stop, reweighting
        )
        with Journal(out, trainer.steps, trainer.columns) if is_first else nullcontext() as journal:
            trainer.run(journal, reporter if is_first else SilentReporter())
        if is_first:
            write_summary(out, Summary(identity, order, read_journal(out)))
            # Last, as it tells that all else is there.
            write_tensors(out / WEIGHTS_FILE, trainer.result.state_dict())
    if is_first:
        remove_directory(work)
    accelerator.wait_for_everyone()
    return Trained(out / WEIGHTS_FILE, Summary(identity, order, read_journal(out)))


def _accelerator(settings: Training) -> Accelerator:
    device = find_device(settings.device)
    if device.index is not None:
        torch.cuda.set_device(device)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if settings.precision == "bfloat16" else "no",
        gradient_accumulation_steps=settings.accumulate,
    )


def _identity(
    settings: Training, processes: int, learner: Learner, reweighting: Reweighting | None
) -> dict[str, Any]:
    """Return all that the weights depend on."""
    chosen = {
        name: value for name, value in asdict(settings).items() if name not in _NOT_OF_THE_RESULT
    }
    return {
        **chosen,
        "subgroups": reweighting.memberships.sha256 if reweighting else None,
        "data": data_sha256(si.Build.open(settings.data)),
        "first_weights": hash_tensors(learner.model.state_dict()),
        "processes": processes,
        **{name: version(name) for name in _LIBRARIES},
    }
