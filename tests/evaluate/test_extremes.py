from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from builder.evaluate.evaluation import evaluate
from builder.evaluate.extremes import find_extremes
from builder.evaluate.predictions import SCHEMA
from builder.settings.evaluation import Evaluation
from tests.conftest import NETWORK, World
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
    asked: list[str] = []

    def gather(ids: Sequence[str]) -> dict[str, str]:
        asked.extend(ids)
        return {"n0_0": "a picture"}

    found = find_extremes(predictions, MODELS, count, gather)
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
            assert asked.count(image.image_id) == 1
    assert len(asked) == 2 * 2 * count


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
    reporter = Quiet()
    evaluate(asked, reporter)
    assert any("shows 7 of 8 pictures only: the others' images are" in it for it in reporter.lines)
    html = page.read_text()
    assert html.count("data:image/webp") == 2 * 2 * 2 - 1
    assert f'"image_id": "{gone}"' in html
