"""Weights in files of safetensors, which run no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from builder.network.checkpoint import ORDER
from builder.storage.files import atomic_write


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors, whole or not at all, so that `read_state_dict` gives them in their order.

    Parameters
    ----------
    path : Path
    tensors : mapping of str to Tensor
    metadata : mapping of str to str, optional
    """
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(ready, {**(metadata or {}), ORDER: json.dumps(list(ready))}))
