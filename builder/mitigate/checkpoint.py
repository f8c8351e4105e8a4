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

_STEPS, _GROUPS, _NUMBERS = "steps", "groups", "numbers"


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
                found[f"optimizer/{index}/{key}"] = value
        notes = {_STEPS: steps, _NUMBERS: numbers, _GROUPS: told["param_groups"]}
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
            steps, numbers, groups = (
                json.loads(notes[name]) for name in (_STEPS, _NUMBERS, _GROUPS)
            )
            for name, module in self.modules.items():
                module.load_state_dict(_below(name, tensors))
            state: dict[int, dict[str, Any]] = {}
            for name, value in _below("optimizer", {**tensors, **numbers}).items():
                index, _, key = name.partition("/")
                state.setdefault(int(index), {})[key] = value
            self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BuildError(
                f"{path} is damaged, or of another model: remove it to begin anew."
            ) from error
        return int(steps)


def _below(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): v for key, v in values.items() if key.startswith(prefix)}
