"""Where training is: one file, with all that its next step depends on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from builder.errors import BuildError
from builder.mitigate.weights import write_tensors

_STEPS, _NUMBERS = "steps", "numbers"
_STATE, _GROUPS = "optimizer", "groups"


@dataclass(frozen=True)
class Checkpoint:
    """What changes in training; all else follows from settings and steps.

    Attributes
    ----------
    modules : dict of str to nn.Module
        By a name of their own.
    optimizer : Optimizer
    """

    modules: Mapping[str, nn.Module]
    optimizer: Optimizer

    def save(self, path: Path, steps: int) -> None:
        """Write where training is after so many steps."""
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, Any] = {}
        for name, module in self.modules.items():
            tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
        told = self.optimizer.state_dict()
        for index, values in told["state"].items():
            for key, value in values.items():
                found: dict[str, Any] = tensors if isinstance(value, Tensor) else numbers
                found[f"{_STATE}/{index}/{key}"] = value
        for index, group in enumerate(told["param_groups"]):
            # Some optimizers count their steps there, in a tensor.
            for key, value in group.items():
                found = tensors if isinstance(value, Tensor) else numbers
                found[f"{_GROUPS}/{index}/{key}"] = value
        notes = {_STEPS: steps, _NUMBERS: numbers}
        write_tensors(path, tensors, {name: json.dumps(note) for name, note in notes.items()})

    def load(self, path: Path) -> int:
        """Go back to where training was, and return after how many steps that is.

        Raises
        ------
        BuildError
            If the file is damaged, or of another model.
        """
        try:
            with safe_open(path, "pt") as file:
                notes = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            steps, numbers = (json.loads(notes[name]) for name in (_STEPS, _NUMBERS))
            for name, module in self.modules.items():
                module.load_state_dict(_below(name, tensors))
            told = {**tensors, **numbers}
            groups = _by_index(_below(_GROUPS, told))
            state = _by_index(_below(_STATE, told))
            self.optimizer.load_state_dict({"state": state, "param_groups": list(groups.values())})
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BuildError(
                f"{path} is damaged, or of another model: remove it to begin anew."
            ) from error
        return int(steps)


def _below(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): v for key, v in values.items() if key.startswith(prefix)}


def _by_index(values: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the values of names such as ``3/momentum_buffer``, by the number in their order."""
    found: dict[int, dict[str, Any]] = {}
    for name in sorted(values, key=lambda name: int(name.partition("/")[0])):
        index, _, key = name.partition("/")
        found.setdefault(int(index), {})[key] = values[name]
    return found
