"""What is counted from the table of predictions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from builder.dataset.scores import NO_RANK
from builder.evaluate.predictions import SCHEMA, in_order, of_model, outcomes_of


def rows(seed: int) -> list[dict[str, object]]:
    """Return what two models said of eleven images, some without the mask of a condition."""
    rng = np.random.default_rng(seed)
    made: list[dict[str, object]] = []
    for place in range(11):
        label = place % 3
        known = {
            "image_id": f"image {rng.integers(1000)} {place}",
            "label": label,
            "spuriosity_rank": None if label == 1 else place // 3,
            "probability": 0.5,
        }
        for model in ("b", "a"):
            for condition, draws in (("clean", 1), ("core", 3)):
                if condition == "core" and label == 2:
                    continue
                for draw in range(draws):
                    guess = int(rng.integers(3))
                    said = {"condition": condition, "draw": draw, "predicted": guess}
                    made.append({"model": model, **said, **known})
    rng.shuffle(made)
    return made


def test_an_image_s_outcome_is_the_share_of_draws_in_which_a_model_is_right() -> None:
    made = rows(0)
    table = pa.Table.from_pylist(made, SCHEMA)
    for model in ("a", "b"):
        found = outcomes_of(of_model(table, model))
        for place, image_id in enumerate(sorted({str(row["image_id"]) for row in made})):
            own = [row for row in made if (row["model"], row["image_id"]) == (model, image_id)]
            assert found.labels[place] == own[0]["label"]
            rank = own[0]["spuriosity_rank"]
            assert found.ranks[place] == (NO_RANK if rank is None else rank)
            for condition in ("clean", "core"):
                hits = [
                    row["predicted"] == row["label"] for row in own if row["condition"] == condition
                ]
                share = sum(hits) / len(hits) if hits else np.nan
                assert np.array_equal(found.right[condition][place], share, equal_nan=True)


def test_the_order_depends_on_no_one_who_made_parts() -> None:
    made = rows(1)
    whole = in_order([pa.Table.from_pylist(made, SCHEMA)], ["b", "a"])
    halves = [pa.Table.from_pylist(part, SCHEMA) for part in (made[20:], made[:20])]
    assert in_order(halves, ["b", "a"]).equals(whole)
    keys = [(row["model"], row["condition"], row["draw"]) for row in whole.to_pylist()]
    assert keys == sorted(keys, key=lambda key: ("ba".index(key[0]), *key[1:]))
