"""Checkpoints: a training goes on as if nobody had stopped it, whatever its optimizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from builder.errors import BuildError
from builder.mitigate.checkpoint import Checkpoint
from builder.mitigate.recipe import make_optimizer
from tests.mitigate.conftest import Options


def made(options: Options, opt: str) -> tuple[nn.Module, Checkpoint]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    optimizer = make_optimizer(model, options(opt=opt))
    return model, Checkpoint({"model": model}, optimizer)


def step(model: nn.Module, checkpoint: Checkpoint, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(16, 4, generator=generator)
    labels = torch.randint(3, (16,), generator=generator)
    cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
    checkpoint.optimizer.step()
    checkpoint.optimizer.zero_grad()


@pytest.mark.parametrize("opt", ["sgd", "adamw", "lamb", "rmsproptf", "adafactor", "lion"])
def test_training_goes_on_to_the_same_weights(options: Options, tmp_path: Path, opt: str) -> None:
    path = tmp_path / "checkpoint.safetensors"
    model, checkpoint = made(options, opt)
    step(model, checkpoint, 0)
    checkpoint.save(path, 7)
    step(model, checkpoint, 1)
    other, again = made(options, opt)
    assert again.load(path) == 7
    step(other, again, 1)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize("keep", [0, 20, 400])
def test_a_damaged_checkpoint_is_a_sentence(options: Options, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    _, checkpoint = made(options, "sgd")
    checkpoint.save(path, 7)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BuildError, match="is damaged, or of another model"):
        checkpoint.load(path)


def test_a_checkpoint_of_another_model_is_a_sentence(options: Options, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    _, checkpoint = made(options, "sgd")
    checkpoint.save(path, 7)
    other = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(other.parameters())
    with pytest.raises(BuildError, match="or of another model"):
        Checkpoint({"model": other}, optimizer).load(path)
