"""The same file as a loading script of `datasets` 3, in an interpreter of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import salient_imagenet_1m as si
from tests.loader.conftest import World

SCRIPT = Path(si.__file__)
PROGRAM = """
import hashlib, json, sys
import datasets

assert datasets.__version__.startswith("3."), datasets.__version__
script, build, images, streaming = sys.argv[1:]
streaming = streaming == "streaming"

def load(config, **more):
    return datasets.load_dataset(
        script, config, data_dir=build, split="train", streaming=streaming,
        trust_remote_code=True, **more,
    )

def digest(image):
    return None if image is None else hashlib.sha256(image.tobytes()).hexdigest()

rows = [
    [row["image_id"], row["label"]]
    + [digest(row[name]) for name in ("image", "core_mask", "spurious_mask")]
    for row in load("images", images=images)
]
counts = {config: sum(1 for _ in load(config)) for config in ("masks", "rankings", "features")}
print(json.dumps({"rows": rows, "counts": counts}))
"""


def digest(image: Any) -> str | None:
    return None if image is None else hashlib.sha256(image.tobytes()).hexdigest()


@pytest.mark.parametrize("mode", ["streaming", "prepared"])
def test_loading_script(world: World, tmp_path: Path, datasets_3: str, mode: str) -> None:
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    result = subprocess.run(
        [datasets_3, "-c", PROGRAM, str(SCRIPT), str(world.build), str(world.images), mode],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout.splitlines()[-1])
    expected = [
        [row["image_id"], row["label"]]
        + [digest(row[name]) for name in ("image", "core_mask", "spurious_mask")]
        for row in si.load(world.build, images=world.images, split="train", streaming=True)
    ]
    assert printed["rows"] == expected
    assert printed["counts"] == {"masks": 40, "rankings": 20, "features": 20}


def test_release_4_says_no(world: World) -> None:
    """Why the loader is imported: since release 4 `load_dataset` refuses scripts."""
    program = f"import datasets; datasets.load_dataset({str(SCRIPT)!r}, 'masks')"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "Dataset scripts are no longer supported" in result.stderr


def test_nothing_but_its_four_needs() -> None:
    """Importing the loader imports neither torch nor builder."""
    program = (
        "import sys; import salient_imagenet_1m; "
        "print([n for n in ('torch', 'torchvision', 'builder', 'cv2') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=SCRIPT.parent,
        env={**os.environ, "USE_TORCH": "0"},
    )
    assert result.stdout.strip() == "[]"


PLAIN = """
import sys
import datasets

for config in ("masks", "rankings", "features"):
    for streaming in (True, False):
        rows = datasets.load_dataset(sys.argv[1], config, split="train", streaming=streaming)
        print(config, sum(1 for _ in rows))
"""


def test_published_files_load_with_datasets_3_alone(
    imagenette: Path, tmp_path: Path, datasets_3: str
) -> None:
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    result = subprocess.run(
        [datasets_3, "-c", PLAIN, str(imagenette)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    counts = [("masks", 600)] * 2 + [("rankings", 240)] * 2 + [("features", 50)] * 2
    assert result.stdout.splitlines() == [f"{config} {count}" for config, count in counts]
