"""Panels: images by which people judge whether a feature means the same in all its best images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from salient_imagenet_1m import VALIDATED_FRACTION

PART = 5
"""Images in each of the three parts of a panel."""


class Drawn(NamedTuple):
    """Which images are in a panel.

    Attributes
    ----------
    names : list of str
        Ids, by falling activation: those that activate the feature most, those from between, those
        that activate it least.
    parts : list of int
        How many of each of the three.
    zone : int
        How many images they are drawn from.
    """

    names: list[str]
    parts: list[int]
    zone: int


def draw_panel(names: Sequence[str], activations: npt.NDArray[np.float32]) -> Drawn:
    """Draw a panel from the top 20 % of a class by the activation of a feature.

    These are the images on which the maps of the published votes were validated. The five that
    activate it most, five at random from between, and the five that activate it least; of fewer
    than 15 images all, in three parts.

    Parameters
    ----------
    names : sequence of str
        Ids of the images of the class.
    activations : ndarray of float32, shape (images,)

    Returns
    -------
    Drawn
        The same for the same images, in whatever order they are given.
    """
    order = sorted(range(len(names)), key=lambda row: (-activations[row], names[row]))
    # As the loader counts: an image of rank r is in the zone if r < 20 % of the class.
    zone = [names[row] for row in order[: int(np.ceil(VALIDATED_FRACTION * len(names)))]]
    if len(zone) <= 3 * PART:
        parts = [len(part) for part in np.array_split(np.arange(len(zone)), 3)]
        return Drawn(zone, parts, len(zone))
    between = len(zone) - 2 * PART
    rows = np.random.default_rng(len(names)).choice(between, PART, replace=False)
    middle = [zone[PART + row] for row in sorted(rows.tolist())]
    return Drawn([*zone[:PART], *middle, *zone[-PART:]], [PART] * 3, len(zone))
