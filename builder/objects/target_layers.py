"""Target layers: where in a network GradCAM looks, by its architecture."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

from torch import Tensor, nn

from builder.errors import BuildError


def as_map(output: Tensor) -> Tensor:
    """Return a convolution's output, (n, channels, height, width), as it is."""
    return output


def channels_last(output: Tensor) -> Tensor:
    """Return an output of shape (n, height, width, channels) as a map of channels."""
    return output.permute(0, 3, 1, 2)


def patches(output: Tensor) -> Tensor:
    """Return tokens, (n, tokens, channels), as a map of channels: those of no patch come first."""
    side = math.isqrt(output.shape[1])
    count, _, channels = output.shape
    return output[:, -side * side :].reshape(count, side, side, channels).permute(0, 3, 1, 2)


class TargetLayer(NamedTuple):
    """A layer whose output is a map, once it is laid out as one."""

    layer: nn.Module
    layout: Callable[[Tensor], Tensor]


class _Family(NamedTuple):
    """Networks of a class: the path of the layer from the network, and its output's layout."""

    network: str
    path: str
    layout: Callable[[Tensor], Tensor] = as_map


_FAMILIES = (
    _Family("timm.models.resnet.ResNet", "layer4.-1"),
    _Family("timm.models.efficientnet.EfficientNet", "bn2"),
    _Family("timm.models.mobilenetv3.MobileNetV3", "blocks.-1"),
    _Family("timm.models.convnext.ConvNeXt", "stages.-1"),
    _Family("timm.models.densenet.DenseNet", "features.-1"),
    _Family("timm.models.vgg.VGG", "features.-1"),
    _Family("timm.models.vision_transformer.VisionTransformer", "blocks.-1.norm1", patches),
    _Family(
        "timm.models.swin_transformer.SwinTransformer", "layers.-1.blocks.-1.norm1", channels_last
    ),
    _Family("torchvision.models.resnet.ResNet", "layer4.-1"),
    _Family("torchvision.models.efficientnet.EfficientNet", "features.-1"),
    _Family("torchvision.models.convnext.ConvNeXt", "features.-1"),
    _Family("torchvision.models.densenet.DenseNet", "features.-1"),
    _Family("torchvision.models.vgg.VGG", "features.-1"),
    _Family(
        "torchvision.models.vision_transformer.VisionTransformer",
        "encoder.layers.-1.ln_1",
        patches,
    ),
    _Family(
        "torchvision.models.swin_transformer.SwinTransformer",
        "features.-1.-1.norm1",
        channels_last,
    ),
    _Family("builder.network.convnet.SmallConvNet", "trunk"),
)
"""The last map; of transformers the input of the last block, as the library pytorch-grad-cam has
it: of what comes after, only the class token reaches the logits."""


def find_target_layer(name: str, model: nn.Module) -> TargetLayer:
    """Find the layer of a network that GradCAM looks at.

    Parameters
    ----------
    name : str
        For the sentence.
    model : nn.Module

    Raises
    ------
    BuildError
        If none is known for its architecture.
    """
    for family in _FAMILIES:
        if isinstance(model, _class(family.network)):
            return TargetLayer(reduce(_part, family.path.split("."), model), family.layout)
    known = ", ".join(dict.fromkeys(family.network.rpartition(".")[2] for family in _FAMILIES))
    raise BuildError(
        f"No layer for GradCAM is known of {name}, a {type(model).__name__}: use a model of timm "
        f"or torchvision such as {known}, or --no-alignment."
    )


def _class(name: str) -> type[nn.Module]:
    module, _, attribute = name.rpartition(".")
    found: type[nn.Module] = getattr(importlib.import_module(module), attribute)
    return found


def _part(module: nn.Module, step: str) -> nn.Module:
    found: nn.Module = module[int(step)] if step == "-1" else getattr(module, step)  # type: ignore[index]
    return found
