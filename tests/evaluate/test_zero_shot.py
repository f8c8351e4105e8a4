"""CLIP models as classifiers."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch

from builder.errors import BuildError
from builder.evaluate.classifier import View
from builder.evaluate.models import load_classifier

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}
NAMES = ("tench", "church", "gas pump")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    monkeypatch.setattr(open_clip, "IMAGENET_CLASSNAMES", NAMES)
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


def test_logits_are_cosines_of_images_and_names(weights: Path) -> None:
    classifier = load_classifier(f"clip:tiny-clip/{weights}", family="CLIP")
    assert classifier.view == View(32, "bicubic")
    assert classifier.family == "CLIP"
    model = open_clip.create_model("tiny-clip", pretrained=str(weights)).eval()
    tokens = open_clip.get_tokenizer("tiny-clip")
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = classifier.model.eval()(images)
        for row, image in enumerate(images):
            feature = model.encode_image(image[None])[0]
            for place, name in enumerate(NAMES):
                units = []
                for template in open_clip.SIMPLE_IMAGENET_TEMPLATES:
                    text = model.encode_text(tokens([template(name)]))[0]
                    units.append(text / text.norm())
                direction = torch.stack(units).mean(0)
                cosine = torch.cosine_similarity(feature, direction, dim=0)
                assert found[row, place].item() == pytest.approx(100 * cosine.item(), abs=1e-3)


@pytest.mark.parametrize("name", ["clip:", "clip:ViT-B-32", "clip:ViT-B-33/openai"])
def test_an_unknown_one_is_a_sentence(name: str) -> None:
    said = "write clip:ARCHITECTURE/WEIGHTS with an architecture such as .*ViT-B-32"
    with pytest.raises(BuildError, match=said):
        load_classifier(name)


def test_weights_that_are_not_there_are_a_sentence() -> None:
    with pytest.raises(BuildError, match=r"cannot be had .*: check the name, .* called openai"):
        load_classifier("clip:ViT-B-32/nowhere.pt")
