"""Models of each library, random and tiny, from their name to their scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
import torchvision
import transformers
from torch import Tensor

import salient_imagenet_1m as si
from builder.evaluate.classifier import View
from builder.evaluate.evaluation import evaluate
from builder.settings.evaluation import Evaluation
from tests import reference
from tests.evaluate.conftest import WORLD, TrueMasks, check_results, write_data
from tests.evaluate.test_zero_shot import TINY
from tests.quiet import Quiet

IMAGES = 4
"""Of each class: few, as the slow reference takes them one by one."""

PLACES = {"n01440764": 0, "n03425413": 571, "n03888257": 701}
"""Where in ImageNet's list the classes tench, gas pump and parachute are."""

Made = tuple[str, reference.Ask, View]
"""The name of a model, what it says of pixels in [0, 1], and how it wants them."""


def normalised(images: Tensor, mean: float | list[float], std: float | list[float]) -> Tensor:
    return (images - torch.as_tensor(mean).view(-1, 1, 1)) / torch.as_tensor(std).view(-1, 1, 1)


def of_timm(root: Path) -> Made:
    model = timm.create_model("test_vit", num_classes=WORLD.classes).eval()
    torch.save(model.state_dict(), root / "vit.pt")

    def ask(images: Tensor) -> Tensor:
        logits: Tensor = model(normalised(images, 0.5, 0.5))
        return logits

    return f"timm:test_vit={root / 'vit.pt'}", ask, View(160, "bicubic")


def of_torchvision(root: Path) -> Made:
    name = "shufflenet_v2_x0_5"
    model = torchvision.models.get_model(name, num_classes=WORLD.classes).eval()
    torch.save(model.state_dict(), root / "shufflenet.pt")

    def ask(images: Tensor) -> Tensor:
        logits: Tensor = model(normalised(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        return logits

    return f"torchvision:{name}={root / 'shufflenet.pt'}", ask, View(224, "bilinear")


def of_transformers(root: Path) -> Made:
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        num_labels=WORLD.classes,
    )
    model = transformers.ResNetForImageClassification(config).eval()
    model.save_pretrained(root)
    processor = transformers.ViTImageProcessor(
        size={"height": 48, "width": 48}, resample=2, image_mean=[0.4] * 3, image_std=[0.3] * 3
    )
    processor.save_pretrained(root)

    def ask(images: Tensor) -> Tensor:
        # The processor's own way from pixels to the model; noise has no image to start from.
        ready = processor(images[0], do_rescale=False, do_resize=False, return_tensors="pt")
        logits: Tensor = model(**ready).logits
        return logits

    return f"hf:{root}", ask, View(48, "bilinear")


def of_open_clip(root: Path) -> Made:
    (root / "planted-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(root / "planted-clip.json")
    model, _, preprocess = open_clip.create_model_and_transforms("planted-clip")
    model.eval()
    torch.save(model.state_dict(), root / "clip.pt")
    tokenizer = open_clip.get_tokenizer("planted-clip")
    directions = []
    for place in PLACES.values():
        word = open_clip.IMAGENET_CLASSNAMES[place]
        texts = [template(word) for template in open_clip.SIMPLE_IMAGENET_TEMPLATES]
        with torch.no_grad():
            units = [model.encode_text(tokenizer([text]), normalize=True)[0] for text in texts]
        direction = torch.stack(units).mean(0)
        directions.append(direction / direction.norm())

    def ask(images: Tensor) -> Tensor:
        feature = model.encode_image(preprocess.transforms[-1](images), normalize=True)
        logits: Tensor = 100 * feature @ torch.stack(directions).T
        return logits

    return f"clip:planted-clip/{root / 'clip.pt'}", ask, View(32, "bicubic")


@pytest.fixture(scope="module")
def few(true_masks: TrueMasks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of few images, whose classes are called three of ImageNet's."""
    rows = [dict(row) for row in true_masks.rows]  # They are ranked anew.
    chosen = [row for label in range(WORLD.classes) for row in of_class(rows, label)]
    return write_data(tmp_path_factory.mktemp("few"), chosen, list(PLACES))


def of_class(rows: list[dict[str, Any]], label: int) -> list[dict[str, Any]]:
    """Return a class's most and least spurious images, ranked among each other."""
    own = sorted((r for r in rows if r["label"] == label), key=lambda r: r["spuriosity_rank"])
    chosen = own[: IMAGES // 2] + own[-IMAGES // 2 :]
    for rank, row in enumerate(chosen):
        row["spuriosity_rank"] = rank
    return chosen


@pytest.mark.parametrize("make", [of_timm, of_torchvision, of_transformers, of_open_clip])
def test_a_model_is_evaluated_as_by_its_own_library(
    make: Callable[[Path], Made],
    few: Path,
    true_masks: TrueMasks,
    tmp_path: Path,
    reporter: Quiet,
    seeded: None,
) -> None:
    name, ask, view = make(tmp_path)
    settings = Evaluation(
        data=str(few),
        images=str(true_masks.images),
        out=tmp_path / "out",
        model=[name],
        k=1,
        draws=2,
        device="cpu",
    )
    results = evaluate(settings, reporter)
    stream = si.load(few, images=true_masks.images, split="validation", streaming=True)
    check_results(results, stream, ask, view, draws=2, k=1)
    probabilities = results.predictions["probability"].to_numpy()
    assert np.std(probabilities) > 1e-4  # The model sees its images.
