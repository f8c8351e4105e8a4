"""CLIP's embeddings as features, and words that name components."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from torchvision.transforms.functional import normalize

from builder.errors import BuildError
from builder.evaluate.classifier import View
from builder.subgroups.clip import Clip
from builder.subgroups.subgroups import find_subgroups
from tests.evaluate.test_zero_shot import TINY
from tests.quiet import Quiet
from tests.subgroups.conftest import Options

WORDS = ["water", "grass", "a lamp", "a book", "at night"]


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Return the name of a CLIP model of random weights."""
    (tmp_path / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), tmp_path / "tiny.pt")
    return f"clip:tiny-clip/{tmp_path / 'tiny.pt'}"


def test_both_towers_are_open_clip_s(name: str) -> None:
    clip = Clip(name, torch.device("cpu"))
    assert clip.view == View(32, "bicubic")
    model = open_clip.create_model("tiny-clip", pretrained=name.partition("/")[2]).eval()
    tokenize = open_clip.get_tokenizer("tiny-clip")
    images = torch.rand(2, 3, 32, 32)
    mean, std = (list(open_clip.OPENAI_DATASET_MEAN), list(open_clip.OPENAI_DATASET_STD))
    with torch.no_grad():
        expected = model.encode_image(normalize(images, mean, std))
        torch.testing.assert_close(clip(images, torch.zeros(2)), expected, atol=1e-5, rtol=1e-5)
        for word, found in zip(WORDS, clip.embeddings_of(WORDS), strict=True):
            text = model.encode_text(tokenize([f"a photo of {word}."]))[0]
            torch.testing.assert_close(found, text / text.norm(), atol=1e-5, rtol=1e-5)


def test_words_of_a_list_name_both_ends(
    options: Options, name: str, tmp_path: Path, reporter: Quiet
) -> None:
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    settings = options(features=name, words=tmp_path / "words.txt")
    summary = find_subgroups(settings, reporter)
    embeddings = Clip(name, torch.device("cpu")).embeddings_of(WORDS).double().numpy()
    centred = embeddings - embeddings.mean(0)
    rows = pq.read_table(settings.out / "components/train-00000-of-00001.parquet").to_pylist()
    for row in rows:
        told = summary["classes"][row["label"]]["subgroups"][row["subgroup"]]
        direction = np.array(row["direction"])
        cosines = [
            word @ direction / np.linalg.norm(word) / np.linalg.norm(direction) for word in centred
        ]
        order = np.argsort(cosines)
        assert row["low_words"] == [WORDS[place] for place in order]
        assert row["high_words"] == [WORDS[place] for place in order[::-1]]
        assert told["high_words"][0]["cosine"] == pytest.approx(max(cosines), abs=1e-5)
    assert "the embeddings of clip:tiny-clip" in (settings.out / "report.html").read_text()


def test_an_unknown_model_is_a_sentence(options: Options, reporter: Quiet) -> None:
    with pytest.raises(BuildError, match="There is no model clip:otter: write clip:ARCH"):
        find_subgroups(options(features="clip:otter"), reporter)
