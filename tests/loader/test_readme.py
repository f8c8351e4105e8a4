"""The README's blocks run, one after the other."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

import salient_imagenet_1m as si
from tests.loader.conftest import NAMES, World

ROOT = Path(si.__file__).parent
SECTIONS = ("Load it with your images", "Train with masks")


def blocks() -> list[str]:
    """Return the Python blocks of the README's sections on the loader."""
    parts = re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    chosen = [part for part in parts if part.startswith(SECTIONS)]
    assert len(chosen) == len(SECTIONS)
    found = [re.findall(r"```python\n(.*?)```", part, re.DOTALL) for part in chosen]
    assert all(found)
    return [block for part in found for block in part]


def run(build: Path, images: Path) -> dict[str, Any]:
    names: dict[str, Any] = {"BUILD": str(build), "IMAGES": str(images)}
    for block in blocks():
        exec(compile(block, "README", "exec"), names)
    return names


def test_readme(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torchvision")
    names = run(world.build, world.images)
    assert names["core"].shape == (32, 224, 224)
    assert "epoch 1: loss" in capsys.readouterr().out
    assert NAMES[0] == "tench"  # the README names it


def test_real_build(imagenette: Path) -> None:
    """A build that the builder made of real images, and those images."""
    images = Path(os.environ["SALIENT_REAL_DATA"], "imagenette")
    for split in ("train", "val"):
        dataset = si.load(imagenette, images=images, split=split, streaming=True)
        count = 0
        for example in dataset:
            if count % 50 == 0:
                for kind in si.KINDS:
                    mask = example[f"{kind}_mask"]
                    assert (mask is None) == (kind not in example["kinds"])
                    assert mask is None or mask.size == example["image"].size
            count += 1
        expected = sum(1 for _ in (images / split).glob("*/*.JPEG"))
        assert count == expected
    assert run(imagenette, images)["core"].shape == (32, 224, 224)
