from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

import salient_imagenet_1m as si
from builder.evaluate.pictures import SIDE, gather_pictures, seen_window
from builder.settings.evaluation import Evaluation
from tests.evaluate.conftest import TrueMasks
from tests.quiet import Quiet


def settings(world: TrueMasks, images: Path) -> Evaluation:
    return Evaluation(
        data=str(world.data), images=str(images), out=Path("unused"), split="validation", k=3
    )


def test_thumbnails_show_the_window_that_models_saw(true_masks: TrueMasks) -> None:
    rows = true_masks.rows[::5]
    ids = [row["image_id"] for row in rows]
    asked = settings(true_masks, true_masks.images)
    found = gather_pictures(asked, ids, seen_window, Quiet())
    assert sorted(found) == sorted(ids)
    for row in rows:
        uri = found[row["image_id"]].removeprefix("data:image/webp;base64,")
        shown = Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB")
        file = next(true_masks.images.rglob(f"{row['image_id']}.JPEG"))
        with Image.open(file) as image:
            box = si.crop_box(row["width"], row["height"])
            expected = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
        difference = np.abs(np.asarray(shown, np.float64) - np.asarray(expected, np.float64))
        assert difference.mean() < 8


def test_images_that_are_gone_are_left_out(true_masks: TrueMasks, tmp_path: Path) -> None:
    reporter = Quiet()
    images = shutil.copytree(true_masks.images, tmp_path / "images")
    first, second = (row["image_id"] for row in true_masks.rows[:2])
    next(images.rglob(f"{first}.JPEG")).unlink()
    for root in (images, tmp_path / "nowhere"):
        asked = settings(true_masks, root)
        found = gather_pictures(asked, [first, second, first], seen_window, reporter)
        assert list(found) == ([second] if root == images else [])
    one, none = reporter.lines
    assert one == "The page shows 1 of 2 pictures only: the others' images are not at hand."
    assert none.startswith("The page shows 0 of 2 pictures only: ")
    assert str(tmp_path / "nowhere") in none


def test_what_is_not_asked_for_opens_nothing(tmp_path: Path) -> None:
    nowhere = Evaluation(data=str(tmp_path), images="nowhere", out=tmp_path)
    assert gather_pictures(nowhere, [], seen_window, Quiet()) == {}
