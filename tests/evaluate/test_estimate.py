from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest

from builder.errors import BuildError
from builder.evaluate.estimate import estimate
from builder.evaluate.evaluation import evaluate
from builder.evaluate.predictions import PREDICTIONS_FILE
from builder.settings.evaluation import Evaluation
from tests.conftest import NETWORK, World
from tests.evaluate.conftest import TrueMasks
from tests.quiet import Quiet


@pytest.mark.parametrize("corruption", ["noise", "gray"])
def test_an_evaluation_comes_to_what_was_estimated(
    true_masks: TrueMasks, world: World, tmp_path: Path, corruption: str
) -> None:
    settings = Evaluation(
        data=str(true_masks.data),
        images=str(true_masks.images),
        model=[f"{NETWORK}={world.checkpoint}"],
        out=tmp_path / "out",
        corruption=corruption,
        draws=3,
        k=3,
        device="cpu",
    )
    found = estimate(settings)
    assert not settings.out.exists()
    assert (found.models, found.images, found.shards) == (1, len(true_masks.rows), 2)
    assert 0 < found.sampled < found.images
    assert found.seconds > 0
    predictions = evaluate(settings, Quiet()).predictions
    shown = predictions.group_by(["condition", "draw"]).aggregate([])
    assert found.passes == len(shown) == (13 if corruption == "noise" else 5)
    assert pc.count_distinct(predictions["image_id"]).as_py() == found.images
    with pytest.raises(BuildError, match="its draws is 3, this command's is 4"):
        estimate(replace(settings, draws=4))
    size = (settings.out / PREDICTIONS_FILE).stat().st_size
    assert size / 5 < found.bytes < 5 * size
