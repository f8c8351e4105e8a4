from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pytest
import torch
from torch import nn

from builder.evaluate.classifier import Classifier, ReadyClassifier, View
from builder.evaluate.evaluator import Evaluator
from builder.evaluate.predictions import in_order
from builder.evaluate.turns import Turns, weights_budget
from builder.settings.evaluation import Evaluation
from tests.evaluate.conftest import TrueMasks

CPU = torch.device("cpu")


def model(name: str, weights: int) -> ReadyClassifier:
    """Return a classifier with so many weights of four bytes."""
    network = nn.Module()
    network.register_parameter("weights", nn.Parameter(torch.zeros(weights)))
    return ReadyClassifier(Classifier(name, network), {}, 3, CPU)


@pytest.mark.parametrize(
    ("budget", "groups"),
    [
        (100, [["a", "b", "c", "d"]]),
        (36, [["a", "b", "c", "d"]]),
        (35, [["a", "b", "c"], ["d"]]),
        (19, [["a", "b"], ["c"], ["d"]]),
        (8, [["a", "b"], ["c"], ["d"]]),
        (0, [["a"], ["b"], ["c"], ["d"]]),
    ],
)
def test_groups_are_as_large_as_fits(budget: float, groups: list[list[str]]) -> None:
    turns = Turns([model("a", 1), model("b", 1), model("c", 3), model("d", 4)], CPU, budget)
    assert [[each.name for each in group] for group in turns] == groups


def test_a_group_is_on_the_device_while_it_is_asked() -> None:
    places: dict[str, str] = {}
    models = [model(name, 2) for name in "abc"]

    def note(self: ReadyClassifier, device: torch.device) -> None:
        places[self.name] = device.type

    with patch.object(ReadyClassifier, "to", note):
        for _ in range(2):
            seen = []
            for group in Turns(models, torch.device("meta"), 16):
                there = {name for name, place in places.items() if place == "meta"}
                assert there == {each.name for each in group}
                seen.append(sorted(there))
            assert seen == [["a", "b"], ["c"]]
        assert set(places.values()) == {"cpu"}


def test_a_cpu_has_room_for_all() -> None:
    assert weights_budget(CPU) == float("inf")


def small_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 3, 3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_models_in_turn_say_the_same(true_masks: TrueMasks) -> None:
    """Some have one view, some another."""
    settings = Evaluation(
        data=str(true_masks.data), images=str(true_masks.images), out=Path(), draws=1, k=3
    )

    def said(budget: float) -> pa.Table:
        torch.manual_seed(0)
        classifiers = [
            Classifier(f"model {number}", small_network(), View(size))
            for number, size in enumerate((64, 96, 96, 64))
        ]
        with patch("builder.evaluate.turns.weights_budget", lambda _device: budget):
            evaluator = Evaluator(classifiers, settings)
        tables = [examined.table for examined in evaluator.examine(range(evaluator.shards))]
        return in_order(tables, evaluator.models)

    together, in_turn = said(float("inf")), said(2 * 4 * (3 * 3 * 9 + 3))
    assert len(together["model"].unique()) == 4
    assert in_turn.equals(together)
