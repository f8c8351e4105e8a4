"""Heads: found in models of any library, written, read, and put in another's place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn
from torchvision.models import shufflenet_v2_x0_5

from builder.errors import BuildError
from builder.network.head import Head, find_head, put_head, read_head, write_head
from builder.network.network import hash_tensors


class Scaled(nn.Module):
    """Ends in a linear layer, and then in something else, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.mean((2, 3)))
        return logits.mul_(2)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_heads_of_timm_are_its_classifiers(seeded: None, name: str) -> None:
    model = timm.create_model(name)
    assert find_head(name, model, 160) is model.get_classifier()
    assert not model.training


def test_a_head_of_torchvision_is_its_last_layer(seeded: None) -> None:
    model = shufflenet_v2_x0_5()
    assert find_head("shufflenet", model, 64) is model.fc


@pytest.mark.parametrize("model", [Scaled(), nn.Flatten()], ids=["scaled", "none"])
def test_a_model_without_a_head_is_refused(model: nn.Module) -> None:
    with pytest.raises(
        BuildError, match=r"The model x does not end in a linear layer, .*: use one"
    ):
        find_head("x", model, 8)


def test_a_model_that_fails_is_refused() -> None:
    with pytest.raises(BuildError, match=r"The model x failed on images of 8 x 8 .*: mend it"):
        find_head("x", nn.Linear(3, 2), 8)


@pytest.fixture
def model(seeded: None) -> nn.Module:
    made: nn.Module = timm.create_model("test_resnet", num_classes=4)
    return made


@pytest.fixture
def head(model: nn.Module) -> Head:
    weight, bias = torch.rand(4, 96), torch.rand(4)
    return Head(weight, bias, "timm:test_resnet", hash_tensors(model.state_dict()))


def test_a_head_is_read_as_it_was_written(head: Head, tmp_path: Path) -> None:
    write_head(tmp_path / "a", head)
    write_head(tmp_path / "b", head)
    found = read_head(tmp_path / "a")
    assert torch.equal(found.weight, head.weight)
    assert torch.equal(found.bias, head.bias)
    assert (found.model, found.weights_sha256) == (head.model, head.weights_sha256)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_model_says_what_a_head_put_into_it_says(
    model: nn.Module, head: Head, tmp_path: Path
) -> None:
    write_head(tmp_path / "head", head)
    images = torch.randn(2, 3, 64, 64)
    features = model.eval().forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[operator]
    put_head("timm:test_resnet", model, 64, tmp_path / "head")
    torch.testing.assert_close(model(images), features @ head.weight.T + head.bias)


def test_a_head_of_other_weights_is_refused(model: nn.Module, head: Head, tmp_path: Path) -> None:
    write_head(tmp_path / "head", replace(head, weights_sha256="0" * 64))
    with pytest.raises(BuildError, match="is a head of timm:test_resnet, and not of x with these"):
        put_head("x", model, 64, tmp_path / "head")


def test_what_is_no_head_is_refused(head: Head, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"The head .*nowhere cannot be read .*: check --head"):
        read_head(tmp_path / "nowhere")
    write_head(tmp_path / "cut", head)
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-9])
    safetensors.torch.save_file({"weight": head.weight}, tmp_path / "other")
    (tmp_path / "empty").touch()
    write_head(tmp_path / "odd", replace(head, bias=head.bias[:2]))
    for name in ("cut", "other", "empty", "odd"):
        with pytest.raises(BuildError, match=f"{name} is no head that tune-head wrote, or a dam"):
            read_head(tmp_path / name)
