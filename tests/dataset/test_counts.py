from __future__ import annotations

from dataclasses import fields

from builder.dataset.counts import Counts


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
    ]
