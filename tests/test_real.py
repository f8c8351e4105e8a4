"""The main job on real images, real votes and a real network."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor

import salient_imagenet_1m as si
from builder.checks.verify import verify
from builder.errors import BuildError
from builder.evaluate.evaluation import evaluate_model
from builder.evaluate.measures import overall
from builder.evaluate.models import load_classifier
from builder.evaluate.noise import standard_noise
from builder.network.architectures import load_architecture
from builder.run.build import build
from builder.settings.build import Settings
from tests import reference
from tests.built import check_build
from tests.quiet import Quiet

pytestmark = pytest.mark.skipif(
    "SALIENT_REAL_DATA" not in os.environ,
    reason="SALIENT_REAL_DATA does not name a folder with real images and votes",
)

REAL = Path(os.environ.get("SALIENT_REAL_DATA", ""))
LABELS = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}


def test_it_verifies_with_its_images(imagenette: Path) -> None:
    checks = verify(imagenette, str(REAL / "imagenette"))
    assert [(check.name, check.problems) for check in checks if not check.passed] == []
    assert sum("images are those of" in check.name for check in checks) == 2


def test_imagenette_is_the_reference_s(imagenette: Path) -> None:
    """Its validation images; training images are held against the reference at full size."""
    weights = load_architecture("efficientnet-lite0", None).model.state_dict()
    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(weights)

    def forward(image: Tensor) -> tuple[Tensor, Tensor]:
        maps = model.forward_features(image)
        return maps, model.forward_head(maps)

    check_build(
        imagenette,
        "validation",
        REAL / "imagenette" / "val",
        REAL / "efficientnet_lite0_votes.csv",
        LABELS,
        forward,
        [0.5] * 3,
        [0.5] * 3,
    )


@pytest.mark.parametrize("split", ["train", "validation"])
def test_votes_and_network_agree_on_imagenette(imagenette: Path, split: str) -> None:
    manifest = json.loads((imagenette / "manifest.json").read_text())
    agreement = manifest["splits"][split]["agreement"]
    assert agreement["in_top_10"] == agreement["pairs"] > 0


def test_an_evaluation_on_imagenette_is_the_reference_s(imagenette: Path) -> None:
    """Of all images, of which the slow reference takes every 26th."""
    images = REAL / "imagenette"
    classifier = load_classifier("efficientnet-lite0")
    results = evaluate_model(classifier, imagenette, images, k=4, draws=1, device="cpu")
    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(load_architecture("efficientnet-lite0", None).model.state_dict())

    def ask(pixels: Tensor) -> Tensor:
        logits: Tensor = model((pixels - 0.5) / 0.5)
        return logits

    def noise(image_id: str, draw: int, size: int) -> Tensor:
        return standard_noise([image_id], draw, (size, size, 3), torch.device("cpu"))[0]

    stream = si.load(imagenette, images=images, split="validation", streaming=True)
    few = itertools.islice(stream, 0, None, 26)
    expected = reference.examined(few, ask, 224, Image.Resampling.BICUBIC, 1, noise)
    found = {
        (row["condition"], row["draw"], row["image_id"]): row
        for row in results.predictions.to_pylist()
    }
    assert len(expected) >= 5 * 4
    for key, row in expected.items():
        assert found[key]["probability"] == pytest.approx(row.pop("probability"), abs=1e-3)
        assert {name: found[key][name] for name in row} == row
    clean = overall(results.scores["efficientnet-lite0"])["clean_accuracy"].value
    assert clean == pytest.approx(reference.accuracy(found, "clean"))
    assert 0.5 < clean < 0.75


def robust_checkpoint(path: Path) -> torch.nn.Module:
    """Save a random ResNet-50 with the keys of the robustness library, and return it."""
    torch.manual_seed(0)
    model: torch.nn.Module = torchvision.models.resnet50()
    normalizer = {
        "new_mean": torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1),
        "new_std": torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1),
    }
    state_dict = {
        **{f"module.normalizer.{name}": tensor for name, tensor in normalizer.items()},
        **{f"module.model.{name}": tensor for name, tensor in model.state_dict().items()},
        **{f"module.attacker.normalize.{name}": tensor for name, tensor in normalizer.items()},
        **{f"module.attacker.model.{name}": tensor for name, tensor in model.state_dict().items()},
    }
    torch.save({"model": state_dict, "epoch": 89, "arch": "resnet50"}, path)
    return model.eval()


def test_madry_resnet50_on_full_size_images_with_the_real_votes(tmp_path: Path) -> None:
    """On every third of them."""
    folders = sorted((REAL / "fullsize" / "train").iterdir())
    images = tmp_path / "images" / "train"
    for folder in folders[::3]:
        shutil.copytree(folder, images / folder.name)
    model = robust_checkpoint(tmp_path / "robust.pt")
    settings = Settings(
        images=str(images.parent),
        votes=REAL / "discover_spurious_features.csv",
        checkpoint=tmp_path / "robust.pt",
        device="cpu",
        allow_mismatch=True,
        out=tmp_path / "out",
    )
    build(settings, Quiet())
    captured: list[Tensor] = []
    layer = model.get_submodule("layer4")
    layer.register_forward_hook(lambda module, inputs, output: captured.append(output))

    def forward(image: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(image)
        return captured.pop(), logits

    check_build(
        tmp_path / "out",
        "train",
        images,
        REAL / "discover_spurious_features.csv",
        {folder.name: 10 * index for index, folder in enumerate(folders)},
        forward,
        [0.485, 0.456, 0.406],
        [0.229, 0.224, 0.225],
    )


def test_another_checkpoint_of_the_same_name_is_refused(tmp_path: Path) -> None:
    robust_checkpoint(tmp_path / "robust.pt")
    settings = Settings(
        images=str(REAL / "imagenette"),
        votes=REAL / "discover_spurious_features.csv",
        checkpoint=tmp_path / "robust.pt",
        device="cpu",
        limit=20,
        out=tmp_path / "out",
    )
    with pytest.raises(BuildError, match="Votes and network do not belong together"):
        build(settings, Quiet())
    assert not (tmp_path / "out" / "manifest.json").exists()
