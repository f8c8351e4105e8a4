"""Image classifiers of transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from builder.errors import BuildError
from builder.evaluate.classifier import View
from builder.evaluate.models import load_classifier


def test_a_model_brings_its_view(tmp_path: Path) -> None:
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        num_labels=3,
    )
    model = ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    size = {"height": 32, "width": 32}
    ViTImageProcessor(size=size, resample=3, image_mean=[0.4] * 3).save_pretrained(tmp_path)
    classifier = load_classifier(f"hf:{tmp_path}", family="ViTs")
    assert classifier.view == View(32, "bicubic")
    assert list(classifier.mean) == [0.4] * 3
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(classifier.model.eval()(images), model(images).logits)


def test_an_unknown_one_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot be opened .*: give the id of an image"):
        load_classifier(f"hf:{tmp_path}")
