"""Counts of a split: what the manifest states of its images, rows and masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
    predicted_as_labelled : int
        Rows that the network predicts as they are labelled; manifests of earlier releases lack it.
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
    predicted_as_labelled: int


LATER = frozenset({"predicted_as_labelled"})
"""Counts that manifests of earlier releases lack."""

_HARDLY = 0.05
_TELLING_ROWS = 20


def share_as_labelled(counts: Mapping[str, Any]) -> float | None:
    """Return which share of rows the network predicts as they are labelled, None if not counted.

    Parameters
    ----------
    counts : mapping
        As a manifest states them.
    """
    agreeing = counts.get("predicted_as_labelled")
    return None if agreeing is None else float(agreeing / counts["rows"])


def labels_look_wrong(counts: Mapping[str, Any], classes: int) -> bool:
    """Return whether a network predicts so few images as labelled that one of the two is wrong.

    That is fewer than by guessing, or than one in twenty. Networks that are worth explaining find
    many times that many; one whose classes are numbered otherwise finds hardly any, and among
    ImageNet's, whose neighbours look alike, some in a hundred. Of a few rows nothing can be said.

    Parameters
    ----------
    counts : mapping
        As a manifest states them.
    classes : int
        Of the network.
    """
    share = share_as_labelled(counts)
    if share is None or counts["rows"] < _TELLING_ROWS:
        return False
    return share < max(_HARDLY, 1 / classes)
