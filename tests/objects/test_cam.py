"""GradCAM of each family of networks against its definition, and how it lies on objects."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import timm
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import nn
from torchvision import models

from builder.errors import BuildError
from builder.evaluate.classifier import Classifier, ReadyClassifier, View
from builder.network.convnet import SmallConvNet
from builder.objects.alignment import alignment
from builder.objects.cam import Explainer
from builder.objects.target_layers import find_target_layer
from tests import reference

CLASSES = 5
CPU = torch.device("cpu")

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{
        name: partial(timm.create_model, f"test_{name}", num_classes=CLASSES)
        for name in ("resnet", "efficientnet", "convnext", "vit", "vit2")
    },
    "swin": lambda: SwinTransformer(
        img_size=64, patch_size=4, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 2),
        num_classes=CLASSES,
    ),
    "torchvision's resnet": lambda: models.resnet18(num_classes=CLASSES),
    "torchvision's swin": lambda: models.SwinTransformer(
        [4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=CLASSES
    ),
    "torchvision's vit": lambda: models.VisionTransformer(
        64, 16, 2, 2, 32, 64, num_classes=CLASSES
    ),
    "our own": lambda: SmallConvNet(CLASSES, 16),
}  # fmt: skip


def ready(model: nn.Module, size: int) -> ReadyClassifier:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    classifier = Classifier("model", model, View(size))
    return ReadyClassifier(classifier, dict.fromkeys(range(CLASSES), ""), CLASSES, CPU)


def drawn(size: int, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_definition_s(name: str) -> None:
    model = NETWORKS[name]()
    size = 160 if name in ("resnet", "efficientnet", "convnext", "vit", "vit2") else 64
    classifier = ready(model, size)
    layer, layout = find_target_layer("model", model)
    images, labels = drawn(size), torch.tensor([0, 3, 4])
    for normalises in (True, False):
        found = Explainer(classifier, normalises=normalises)(images, labels)
        assert found.shape == (3, size, size)
        inputs = classifier.normalised(images) if normalises else images
        for cam, image, label in zip(found, inputs, labels.tolist(), strict=True):
            expected = reference.gradcam(model, layer, layout, image[None].clone(), label)
            np.testing.assert_allclose(cam, expected, atol=2e-4)
        # Where all of a class's reasons are negative there is nothing to see.
        assert len({cam.tobytes() for cam in found}) > 1


def test_threads_do_not_see_each_other_s_images() -> None:
    explain = Explainer(ready(NETWORKS["our own"](), 64))
    images, labels = drawn(64, 24), torch.arange(24) % CLASSES
    alone = [explain(images[[n]], labels[[n]]) for n in range(24)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda n: explain(images[[n]], labels[[n]]), range(24)))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


def test_a_model_answers_as_before() -> None:
    classifier = ready(NETWORKS["resnet"](), 160)
    before = classifier(drawn(160))
    Explainer(classifier)(drawn(160), torch.tensor([0, 1, 2]))
    assert torch.equal(classifier(drawn(160)), before)


def test_an_architecture_without_a_known_layer_is_a_sentence() -> None:
    with pytest.raises(BuildError, match=r"No layer for GradCAM is known of my model, a Flatten: "):
        find_target_layer("my model", nn.Flatten())


@pytest.mark.parametrize("seed", range(4))
def test_alignment_is_the_slow_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cam = rng.random((17, 19)).astype(np.float32)
    mask = rng.random((17, 19)) < (0.3, 0.9, 0.01, 1)[seed]
    assert alignment(cam, mask) == pytest.approx(reference.alignment(cam, mask), nan_ok=True)


def test_a_map_that_is_the_object_is_aligned_and_its_reverse_is_not() -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[2:5, 3:7] = True
    assert alignment(mask.astype(np.float32), mask) == pytest.approx((1, 1, 1))
    assert alignment((~mask).astype(np.float32), mask) == pytest.approx((0, 0, -1))
