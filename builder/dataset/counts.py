"""Counts of a split: what the manifest states of its images, rows and masks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """What came of a split's images, in the order in which the manifest states it.

    Attributes
    ----------
    images : int
        That went in: `rows`, and those of `set_aside`.
    rows : int
    set_aside : dict of str to int
        Images that could not be used, by reason.
    classes : int
        That have rows.
    masks, core_masks, spurious_masks : int
    ranked_classes, ranked_rows : int
        Those of classes that have a spurious feature.
    grid_bytes : int
        Of the column ``grids``, compressed.
    images_by_label : dict of str to int
        Rows of each class that has any.
    masks_bytes : int
        Of the files of the config ``masks``.
    """

    images: int
    rows: int
    set_aside: dict[str, int]
    classes: int
    masks: int
    core_masks: int
    spurious_masks: int
    ranked_classes: int
    ranked_rows: int
    grid_bytes: int
    images_by_label: dict[str, int]
    masks_bytes: int
