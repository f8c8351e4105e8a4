"""Folded networks give what unfolded ones give, or are left as they were."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import DenseNet, resnet18, shufflenet_v2_x0_5

from builder.network.fold import fold_batch_norms

pytestmark = pytest.mark.usefixtures("seeded")


def densenet() -> nn.Module:
    model: nn.Module = DenseNet(8, (2, 2, 2), num_init_features=16, num_classes=5)
    return model


def prepare(model: nn.Module) -> nn.Module:
    """Return the model in evaluation mode, with batch norms that do something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.load_state_dict(
                {
                    "running_mean": torch.empty(module.num_features).uniform_(-0.2, 0.2),
                    "running_var": torch.empty(module.num_features).uniform_(0.5, 1.5),
                    "weight": torch.empty(module.num_features).uniform_(0.5, 1.5),
                    "bias": torch.empty(module.num_features).uniform_(-0.2, 0.2),
                },
                strict=False,
            )
    return model.eval().requires_grad_(requires_grad=False)


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


class ReadTwice(nn.Module):
    """A convolution whose output both a batch norm and the sum after it read."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.convolution = nn.Conv2d(4, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.convolution(self.first(images))
        return torch.as_tensor(maps + self.norm(maps))


class RunTwice(nn.Module):
    """A convolution that runs twice, each time with a batch norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        once = self.first(self.convolution(images))
        return torch.as_tensor(self.second(self.convolution(once)))


@pytest.mark.parametrize(
    ("make", "folded"),
    [
        pytest.param(resnet18, 20, id="torchvision resnet18"),
        pytest.param(shufflenet_v2_x0_5, 56, id="torchvision shufflenet"),
        pytest.param(lambda: timm.create_model("test_resnet"), 15, id="timm test_resnet"),
        pytest.param(lambda: timm.create_model("test_efficientnet"), 13, id="timm: act in norm"),
        pytest.param(lambda: timm.create_model("test_byobnet"), 14, id="timm test_byobnet"),
        pytest.param(densenet, 7, id="densenet: most norms come before"),
        pytest.param(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), 1, id="bias"),
        pytest.param(
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
            1,
            id="no affine",
        ),
        pytest.param(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), 0, id="no batch norm"),
        pytest.param(lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), 0, id="before"),
        pytest.param(
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
            0,
            id="a ReLU between",
        ),
    ],
)
def test_a_folded_network_is_the_same_function_with_fewer_batch_norms(
    make: Callable[[], nn.Module], folded: int
) -> None:
    model = prepare(make())
    plain = deepcopy(model)
    assert fold_batch_norms(model, torch.randn(2, 3, 64, 64)) == folded
    assert norms(model) == norms(plain) - folded
    images = torch.randn(3, 3, 96, 96)
    expected = plain(images)
    torch.testing.assert_close(
        model(images), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item()
    )


@pytest.mark.parametrize("make", [ReadTwice, RunTwice])
def test_where_folding_would_change_the_function_all_is_left_as_it_was(
    make: Callable[[], nn.Module],
) -> None:
    model = prepare(make())
    plain = deepcopy(model)
    assert fold_batch_norms(model, torch.randn(2, 3, 16, 16)) == 0
    assert [(name, type(module)) for name, module in model.named_modules()] == [
        (name, type(module)) for name, module in plain.named_modules()
    ]
    assert list(model.state_dict()) == list(plain.state_dict())
    images = torch.randn(3, 3, 24, 24)
    torch.testing.assert_close(model(images), plain(images), rtol=0, atol=0)


@pytest.mark.parametrize("make", [resnet18, ReadTwice])
def test_no_hook_stays_behind(make: Callable[[], nn.Module]) -> None:
    model = prepare(make())
    fold_batch_norms(model, torch.randn(2, 3, 64, 64))
    assert not any(module._forward_hooks for module in model.modules())
