"""Tuning of a head, against a slow descent whose gradient is written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from builder.tune.descent import Recipe, tune
from builder.tune.judge import Standing
from tests import reference


@pytest.fixture
def images(seeded: None) -> tuple[Tensor, Tensor]:
    return torch.randn(300, 6, dtype=torch.float64), torch.randint(4, (300,))


def judges(*gaps: float) -> Callable[[nn.Linear], Standing]:
    remaining = iter(gaps)
    return lambda head: Standing(1, next(remaining))


def test_a_head_goes_where_the_slow_descent_goes(images: tuple[Tensor, Tensor]) -> None:
    head = nn.Linear(6, 4).double()
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    tune(head, *images, Recipe(learning_rate=0.1, epochs=3, seed=5), judges(1, 1, 1, 1))
    generator = torch.Generator().manual_seed(5)
    orders = [torch.randperm(300, generator=generator) for _ in range(3)]
    weight, bias = reference.descend(weight, bias, *images, 0.1, orders)
    torch.testing.assert_close(head.weight.detach(), weight)
    torch.testing.assert_close(head.bias.detach(), bias)


@pytest.mark.parametrize(
    ("gaps", "epochs"),
    [((0.04,), 0), ((-0.2,), 0), ((0.3, 0.05, 0.049), 2), ((0.3, 0.3, 0.3, 0.3), 3)],
)
def test_it_stops_once_the_gap_is_small_or_epochs_are_over(
    images: tuple[Tensor, Tensor], gaps: tuple[float, ...], epochs: int
) -> None:
    head = nn.Linear(6, 4).double()
    before = head.weight.detach().clone()
    found = tune(head, *images, Recipe(epochs=3), judges(*gaps))
    assert [standing.gap for standing in found] == list(gaps)
    assert len(found) == epochs + 1
    assert torch.equal(head.weight, before) == (epochs == 0)
