"""Turns: models that do not fit on a device together are there one group after the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch

from builder.evaluate.classifier import ReadyClassifier

_SHARE = 0.5
"""Of a device's free memory, for weights; the rest is for what models compute."""

_CPU = torch.device("cpu")


def weights_budget(device: torch.device) -> float:
    """Return for how many bytes of weights a device has room; a CPU has them all anyway."""
    if device.type != "cuda":
        return math.inf
    free, _ = torch.cuda.mem_get_info(device)
    return _SHARE * free


class Turns:
    """Has models on a device: all of them for good, or by groups in turn if they do not fit.

    Moving a group takes about a hundredth of the time that its models then need for a batch under
    all conditions, so that each image is loaded once for all groups.

    Parameters
    ----------
    models : iterable of ReadyClassifier
        On the CPU.
    device : torch.device
    budget : float, optional
        Bytes of weights that the device has room for; by default as `weights_budget` finds.
    """

    def __init__(
        self,
        models: Iterable[ReadyClassifier],
        device: torch.device,
        budget: float | None = None,
    ) -> None:
        self._device = device
        self.groups = _groups(models, weights_budget(device) if budget is None else budget)
        if len(self.groups) == 1:
            _move(self.groups[0], device)

    def __iter__(self) -> Iterator[Sequence[ReadyClassifier]]:
        """Yield each group while it is on the device."""
        if len(self.groups) == 1:
            yield self.groups[0]
            return
        for group in self.groups:
            _move(group, self._device)
            yield group
            _move(group, _CPU)


def _groups(models: Iterable[ReadyClassifier], budget: float) -> list[list[ReadyClassifier]]:
    """Return the models in their order, each group as large as fits; one at least has to."""
    groups: list[list[ReadyClassifier]] = [[]]
    room = budget
    for model in models:
        if groups[-1] and model.nbytes > room:
            groups.append([])
            room = budget
        groups[-1].append(model)
        room -= model.nbytes
    return groups


def _move(group: Iterable[ReadyClassifier], device: torch.device) -> None:
    for model in group:
        model.to(device)
