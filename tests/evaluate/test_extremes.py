from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import salient_imagenet_1m as si
from builder.evaluate.evaluation import evaluate
from builder.evaluate.extremes import SIDE, find_extremes, make_thumbnails
from builder.evaluate.predictions import SCHEMA
from builder.settings import Evaluation
from tests.conftest import NETWORK, World
from tests.evaluate.conftest import TrueMasks
from tests.quiet import Quiet

MODELS = ["one", "two", "three"]


@pytest.fixture(scope="module")
def predictions() -> pa.Table:
    """Return predictions of three models on three classes, of which the last has no ranking."""
    rng = np.random.default_rng(0)
    rows = []
    for label in range(3):
        ranks = rng.permutation(7).tolist()
        for place, rank in enumerate(ranks):
            for model in MODELS:
                for condition in ("clean", "core"):
                    rows.append(
                        {
                            "model": model,
                            "condition": condition,
                            "draw": 0,
                            "image_id": f"n{label}_{place}",
                            "label": label,
                            "spuriosity_rank": None if label == 2 else rank,
                            "predicted": int(rng.integers(3)),
                            "probability": 0.5,
                        }
                    )
    return pa.Table.from_pylist([rows[i] for i in rng.permutation(len(rows))], SCHEMA)


@pytest.mark.parametrize("count", [1, 3])
def test_the_extremes_are_those_of_the_ranks_with_what_each_model_said(
    predictions: pa.Table, count: int
) -> None:
    found = find_extremes(predictions, MODELS, count, {"n0_0": "a picture"})
    rows = [row for row in predictions.to_pylist() if row["condition"] == "clean"]
    assert sorted(found) == [0, 1]
    for label, ends in found.items():
        own = [row for row in rows if row["label"] == label]
        by_rank = {row["spuriosity_rank"]: row["image_id"] for row in own}
        said = {(row["image_id"], row["model"]): row["predicted"] for row in own}
        assert [image.rank for image in ends.most] == list(range(count))
        assert [image.rank for image in ends.least] == list(range(6, 6 - count, -1))
        for image in [*ends.most, *ends.least]:
            assert image.image_id == by_rank[image.rank]
            assert image.said == [said[image.image_id, model] for model in MODELS]
            assert image.thumbnail == ("a picture" if image.image_id == "n0_0" else None)


def settings(world: TrueMasks, images: Path) -> Evaluation:
    return Evaluation(
        data=str(world.data), images=str(images), out=Path("unused"), split="validation", k=3
    )


def test_thumbnails_show_the_window_that_models_saw(true_masks: TrueMasks) -> None:
    found = make_thumbnails(settings(true_masks, true_masks.images), 2, Quiet())
    ranks = {row["image_id"]: row["spuriosity_rank"] for row in true_masks.rows}
    assert sorted(found) == sorted(name for name, rank in ranks.items() if rank in (0, 1, 10, 11))
    for row in true_masks.rows:
        if row["image_id"] not in found:
            continue
        uri = found[row["image_id"]].removeprefix("data:image/webp;base64,")
        shown = Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB")
        file = next(true_masks.images.rglob(f"{row['image_id']}.JPEG"))
        with Image.open(file) as image:
            box = si.crop_box(row["width"], row["height"])
            expected = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
        difference = np.abs(np.asarray(shown, np.float64) - np.asarray(expected, np.float64))
        assert difference.mean() < 8


def test_a_report_made_anew_names_an_image_that_is_gone(
    planted: Path, planted_world: World, tmp_path: Path
) -> None:
    images = shutil.copytree(planted_world.root, tmp_path / "images")
    asked = Evaluation(
        data=str(planted),
        images=str(images),
        out=tmp_path / "out",
        model=[f"{NETWORK}={planted_world.checkpoint}"],
        k=2,
        draws=1,
    )
    results = evaluate(asked, Quiet())
    page = tmp_path / "out" / "report.html"
    assert page.read_text().count("data:image/webp") == 2 * 2 * 2
    [gone] = [
        row["image_id"]
        for row in results.predictions.to_pylist()
        if (row["condition"], row["label"], row["spuriosity_rank"]) == ("clean", 0, 0)
    ]
    next(images.rglob(f"{gone}.*")).unlink()
    evaluate(asked, Quiet())
    html = page.read_text()
    assert html.count("data:image/webp") == 2 * 2 * 2 - 1
    assert f'"image_id": "{gone}"' in html


def test_images_that_are_gone_are_left_out(true_masks: TrueMasks, tmp_path: Path) -> None:
    reporter = Quiet()
    images = shutil.copytree(true_masks.images, tmp_path / "images")
    first = next(row["image_id"] for row in true_masks.rows if row["spuriosity_rank"] == 0)
    next(images.rglob(f"{first}.JPEG")).unlink()
    found = make_thumbnails(settings(true_masks, images), 2, reporter)
    assert len(found) == 11
    assert first not in found
    assert not make_thumbnails(settings(true_masks, tmp_path / "nowhere"), 2, reporter)
    [line] = reporter.lines
    assert line.startswith("The page shows 0 of its pictures only: ")
