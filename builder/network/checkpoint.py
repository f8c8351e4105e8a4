"""Weights from files, without ever running code that a file brings along."""

from __future__ import annotations

import json
import math
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from builder.errors import BuildError

StateDict = dict[str, Tensor]

_ROBUST_MODEL = "module.model."
_ROBUST_NORMALIZER = "module.normalizer."
_CHANNELS = 3

SAFETENSORS = ".safetensors"

ORDER = "order"
"""Of the metadata of a file of safetensors: the names of its tensors as JSON, in the model's order,
which the format itself does not keep."""


def read_state_dict(path: Path) -> StateDict:
    """Read the tensors of a checkpoint, with ``weights_only=True``.

    Parameters
    ----------
    path : Path
        A file of safetensors, by its name's end; or a state dict, or a dict that holds one as
        ``model`` or ``state_dict``.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    BuildError
        If the file is missing, is no checkpoint, or needs unsafe unpickling.
    """
    content = _safetensors_of(path) if path.suffix == SAFETENSORS else _unpickled(path)
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise BuildError(f"{path} holds no state dict: check --checkpoint.")
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise BuildError(
            f"{path} holds more than tensors where a state dict is expected: save the "
            "network's own state_dict(), or check --checkpoint."
        )
    odd = [name for name, tensor in content.items() if not _is_weight(name, tensor)]
    if odd:
        raise BuildError(
            f"{path} holds {odd[0]!r}, which is no dense tensor of real numbers under a name, as "
            "weights are: save the network's own state_dict(), or check --checkpoint."
        )
    return dict(content)


def _unpickled(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            # PyTorch's message is the same for any file that is no pickle at all.
            is_pickled = zipfile.is_zipfile(file) or _starts_like_pickle(file)
    except OSError as error:
        raise BuildError(
            f"The checkpoint {path} cannot be read ({error.strerror or error}): check --checkpoint."
        ) from error
    no_checkpoint = f"{path} is no PyTorch checkpoint, or only a part of one: check --checkpoint."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not is_pickled:
            raise BuildError(no_checkpoint) from error
        raise BuildError(
            f"The checkpoint {path} can only be read by running code that it brings along, which "
            "this program refuses: where you trust the file, load it with the library that wrote "
            "it and save its tensors alone, torch.save({'model': checkpoint['model']}, PATH)."
        ) from error
    except Exception as error:
        raise BuildError(no_checkpoint) from error


def _safetensors_of(path: Path) -> StateDict:
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {}).get(ORDER, "[]"))
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in sorted(names, key=_places(told))}
    except OSError as error:
        raise BuildError(
            f"The checkpoint {path} cannot be read ({error.strerror or error}): check --checkpoint."
        ) from error
    except (SafetensorError, ValueError) as error:
        raise BuildError(
            f"{path} holds no safetensors, or only a part of them: check --checkpoint."
        ) from error


def _places(names: Any) -> Callable[[str], int]:
    """Return the place of each name in a list of them, the last of all for others."""
    places = {name: place for place, name in enumerate(map(str, names))}
    return lambda name: places.get(name, len(places))


def _is_weight(name: object, tensor: Tensor) -> bool:
    """Return whether a tensor has a name, and each of its numbers a place in memory."""
    is_dense = tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized)
    # An expanded one claims to be of any size, for which room would be made.
    return (
        isinstance(name, str)
        and is_dense
        and not tensor.is_complex()
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def _starts_like_pickle(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(1) == pickle.PROTO


def split_robust_checkpoint(
    state_dict: StateDict, path: Path
) -> tuple[StateDict, list[float] | None, list[float] | None]:
    """Take apart a checkpoint of the ``robustness`` library.

    Parameters
    ----------
    state_dict : dict of str to Tensor
        Keys ``module.model.*`` (torchvision's names), ``module.normalizer.new_mean`` and
        ``new_std`` of shape (3, 1, 1), and duplicates under ``module.attacker.*``.
    path : Path
        For the sentence, should it be another kind of checkpoint.

    Returns
    -------
    state_dict : dict of str to Tensor
        With torchvision's names.
    mean, std : list of float, or None
        The network's own normalisation, where the checkpoint has it.
    """
    weights = {
        name.removeprefix(_ROBUST_MODEL): tensor
        for name, tensor in state_dict.items()
        if name.startswith(_ROBUST_MODEL)
    }
    if not weights:
        raise BuildError(
            f"{path} is no checkpoint of the robustness library (it has no keys "
            f"{_ROBUST_MODEL}*): check --checkpoint, or use --network torchvision:resnet50."
        )
    mean, std = (
        state_dict[key].flatten().tolist() if key in state_dict else None
        for key in (f"{_ROBUST_NORMALIZER}new_mean", f"{_ROBUST_NORMALIZER}new_std")
    )
    told = [values for values in (mean, std) if values]
    are_numbers = all(len(v) == _CHANNELS and all(map(math.isfinite, v)) for v in told)
    if not are_numbers or (std and min(std) <= 0):
        raise BuildError(
            f"{path} normalises pixels by other than a mean and a deviation of {_CHANNELS} "
            "channels: check --checkpoint."
        )
    return weights, mean, std


def head_classes(state_dict: StateDict) -> int | None:
    """Return the number of classes of the last linear layer in a state dict."""
    shapes = [tensor.shape for tensor in state_dict.values() if tensor.ndim == 2]
    return shapes[-1][0] if shapes else None


def load_weights(model: nn.Module, state_dict: StateDict, name: str, path: Path) -> None:
    """Load a state dict into a model, or say how the two differ.

    What wraps a model, as Lightning's modules and PyTorch's for several devices do, puts one prefix
    before all names; without it they are the model's.

    Raises
    ------
    BuildError
        If names or shapes differ.
    """
    own = model.state_dict()
    state_dict = _without_prefix(state_dict, own)
    missing = [key for key in own if key not in state_dict]
    unknown = [key for key in state_dict if key not in own]
    reshaped = [key for key in own if key in state_dict and own[key].shape != state_dict[key].shape]
    if missing or unknown or reshaped:
        first = (missing + unknown + reshaped)[0]
        raise BuildError(
            f"{path} is of another architecture than {name}: {len(missing)} of its tensors are "
            f"missing, {len(unknown)} are unknown and {len(reshaped)} have another shape, the "
            f"first is {first}; check --checkpoint and --network."
        )
    model.load_state_dict(state_dict)


def _without_prefix(state_dict: StateDict, own: StateDict) -> StateDict:
    """Return a state dict without what stands before each of its names, if that makes them fit."""
    shortest = min(own, key=len)
    prefixes = {name.removesuffix(shortest) for name in state_dict if name.endswith(shortest)}
    for prefix in prefixes:
        if state_dict.keys() == {f"{prefix}{name}" for name in own}:
            return {name: state_dict[f"{prefix}{name}"] for name in own}
    return state_dict
