"""Batch norm folded into the convolution before it: fewer passes over memory, the same function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_TOLERANCE = 1e-4


def fold_batch_norms(model: nn.Module, example: Tensor) -> int:
    """Fold each batch norm that follows a convolution into that convolution, in place.

    Which follows which is seen in a forward pass, so any architecture will do. The result is
    compared with the original on `example`; should they differ (a convolution with a second
    reader), the model is left as it was.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    example : Tensor
        An input of the model.

    Returns
    -------
    int
        How many batch norms were folded.
    """
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pairs, expected = _neighbours(model, example)
    replaced = []
    for convolution, name in pairs:
        norm = model.get_submodule(name)
        had_bias = convolution.bias is not None
        _fold(convolution, norm)
        # timm's batch norms bring their activation along.
        rest = nn.Sequential(
            *(getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part))
        )
        model.set_submodule(name, rest)
        replaced.append((convolution, name, norm, had_bias))
    error = (model(example) - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    if error <= _TOLERANCE:
        return len(replaced)
    for convolution, name, norm, had_bias in replaced:
        model.set_submodule(name, norm)
        if not had_bias:
            convolution.bias = None
    model.load_state_dict(state)
    return 0


def _fold(convolution: nn.Conv2d, norm: nn.Module) -> None:
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,  # type: ignore[arg-type]
        norm.running_var,  # type: ignore[arg-type]
        norm.eps,  # type: ignore[arg-type]
        norm.weight,  # type: ignore[arg-type]
        norm.bias,  # type: ignore[arg-type]
    )
    convolution.weight, convolution.bias = weight, bias


def _neighbours(model: nn.Module, example: Tensor) -> tuple[list[tuple[nn.Conv2d, str]], Tensor]:
    """Return each convolution whose output object is a batch norm's input, with the norm's name.

    Beside them stands what the model makes of the example.
    """
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, str]] = []
    names = {module: name for name, module in model.named_modules()}

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            outputs[id(output)] = (module, output)
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in outputs:
            pairs.append((outputs.pop(id(inputs[0]))[0], names[module]))

    with forward_hooks(model, watch):
        logits = model(example)
    return pairs, logits


@contextmanager
def forward_hooks(model: nn.Module, hook: Callable[..., None]) -> Iterator[None]:
    """Call `hook` after the forward of every module of `model`, while the block lasts."""
    handles = [module.register_forward_hook(hook) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
