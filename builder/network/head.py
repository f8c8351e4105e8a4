"""The linear head of a classifier: found, kept in a file, and put in another's place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from builder.errors import BuildError, first_line
from builder.network.fold import forward_hooks
from builder.network.network import hash_tensors
from builder.storage.files import atomic_write
from builder.storage.objects import json_object

_FORMAT = "salient-imagenet head"


@dataclass(frozen=True)
class Head:
    """A linear head of a model.

    Attributes
    ----------
    weight : Tensor of float32, shape (outputs, features)
    bias : Tensor of float32, shape (outputs,)
    model : str
        The model that it is of, as users name it.
    weights_sha256 : str
        Hash of all weights of that model, its own head among them.
    """

    weight: Tensor
    bias: Tensor
    model: str
    weights_sha256: str


def find_head(name: str, model: nn.Module, size: int) -> nn.Linear:
    """Find the linear layer whose output is a model's, by watching one pass.

    Parameters
    ----------
    name : str
        For the sentence.
    model : nn.Module
        Put in evaluation mode.
    size : int
        Of its images.

    Raises
    ------
    BuildError
        If there is none.
    """
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(2, 3, size, size, generator=generator)
    seen: list[tuple[nn.Linear, Tensor]] = []

    def watch(module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Linear):
            # A copy: what follows may change it in place.
            seen.append((module, output.clone()))

    with torch.no_grad(), forward_hooks(model.eval(), watch):
        try:
            logits = model(example)
        except Exception as error:  # It may be the user's.
            raise BuildError(
                f"The model {name} failed on images of {size} x {size} ({first_line(error)}): mend "
                "it, or use another."
            ) from error
    for module, output in reversed(seen):
        if isinstance(logits, Tensor) and torch.equal(output, logits):
            return module
    raise BuildError(
        f"The model {name} does not end in a linear layer, so it has no head to tune or to put "
        "another in its place: use one that does, such as timm:resnet50.a1_in1k."
    )


def write_head(path: Path, head: Head) -> None:
    """Write a head as safetensors, with the model that it is of."""
    tensors = {"weight": head.weight, "bias": head.bias}
    of = {"format": _FORMAT, "model": head.model, "weights_sha256": head.weights_sha256}
    # One entry: the library writes several in any order.
    content = save({n: t.contiguous().cpu() for n, t in tensors.items()}, {"head": json.dumps(of)})
    with atomic_write(path) as file:
        file.write(content)


def read_head(path: Path) -> Head:
    """Read what `write_head` wrote.

    Raises
    ------
    BuildError
        If the file is missing, damaged, or holds no head.
    """
    try:
        with safe_open(path, "pt") as file:
            of = json_object(((file.metadata() or {})["head"]).encode())
            tensors = {name: file.get_tensor(name) for name in ("weight", "bias")}
        head = Head(**tensors, model=str(of["model"]), weights_sha256=str(of["weights_sha256"]))
        if head.weight.ndim != 2 or head.bias.shape != head.weight.shape[:1]:
            raise ValueError("its weight and bias do not fit")  # noqa: TRY301 (content, as above)
    except OSError as error:
        raise BuildError(
            f"The head {path} cannot be read ({error.strerror or first_line(error)}): check --head."
        ) from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise BuildError(
            f"{path} is no head that tune-head wrote, or a damaged one ({first_line(error)}): "
            "check --head."
        ) from error
    return head


def put_head(name: str, model: nn.Module, size: int, path: Path) -> None:
    """Put the head of a file in the place of a model's own.

    Parameters
    ----------
    name, model, size
        As for `find_head`.
    path : Path
        That of `write_head`.

    Raises
    ------
    BuildError
        If the file holds no head, or that of a model with other weights.
    """
    head = read_head(path)
    if head.weights_sha256 != hash_tensors(model.state_dict()):
        raise BuildError(
            f"{path} is a head of {head.model}, and not of {name} with these weights: use the "
            "model and the weights that it was tuned on."
        )
    own = find_head(name, model, size)
    own.weight = nn.Parameter(head.weight, requires_grad=False)
    own.bias = nn.Parameter(head.bias, requires_grad=False)
