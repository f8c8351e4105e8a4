from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from builder.dataset.counts import Counts, labels_look_wrong, share_as_labelled


def test_manifests_state_them_in_this_order() -> None:
    """In another, the same build would write another manifest.json."""
    assert [field.name for field in fields(Counts)] == [
        "images",
        "rows",
        "set_aside",
        "classes",
        "masks",
        "core_masks",
        "spurious_masks",
        "ranked_classes",
        "ranked_rows",
        "grid_bytes",
        "images_by_label",
        "masks_bytes",
        "predicted_as_labelled",
    ]


@pytest.mark.parametrize(
    ("rows", "agreeing", "classes", "wrong"),
    [
        (1000, 49, 1000, True),
        (1000, 50, 1000, False),
        (1000, 332, 3, True),
        (1000, 334, 3, False),
        (20, 0, 1000, True),
        (19, 0, 1000, False),
        (1000, None, 1000, False),
    ],
)
def test_fewer_than_one_in_twenty_or_than_by_guessing_look_wrong(
    rows: int, agreeing: int | None, classes: int, wrong: bool
) -> None:
    counts: dict[str, Any] = {"rows": rows}
    if agreeing is not None:
        counts["predicted_as_labelled"] = agreeing
    assert labels_look_wrong(counts, classes) == wrong
    assert share_as_labelled(counts) == (None if agreeing is None else agreeing / rows)
