"""Pictures for pages of results: what images of a data set look like, where they are at hand."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeVar

import numpy as np

import salient_imagenet_1m as si
from builder.pages.pictures import thumbnail
from builder.reporter import Reporter
from builder.threads import usable_cores

SIDE = 112
"""Pixels of a thumbnail's side."""

_COLUMNS = ("image", "image_id", "width", "height")

Picture = TypeVar("Picture")


class Asked(Protocol):
    """What a command was asked about: the images of a split."""

    @property
    def data(self) -> str:
        """The data set."""

    @property
    def images(self) -> str:
        """Its images."""

    @property
    def split(self) -> str:
        """The split."""


def gather_pictures(
    asked: Asked,
    ids: Collection[str],
    draw: Callable[[dict[str, Any]], Picture],
    reporter: Reporter,
    *columns: str,
    **options: Any,
) -> dict[str, Picture]:
    """Draw pictures of images.

    Those that are no longer at hand are left out, and the user is told: a page can be made of
    results alone.

    Parameters
    ----------
    asked : Asked
    ids : collection of str
        Of the images.
    draw : callable
        Makes what the page shows of an example.
    reporter : Reporter
    *columns : str
        Those that it needs besides image, image id and size.
    **options
        Of `salient_imagenet_1m.load`.

    Returns
    -------
    dict
        What was drawn, by image id.
    """
    wanted = sorted(set(ids))
    found: dict[str, Picture] = {}
    if not wanted:
        return found
    reason = "the others' images are not at hand."
    with reporter.track("pictures", len(wanted)) as advance:
        try:
            stream = si.load(
                asked.data,
                "images",
                images=asked.images,
                split=asked.split,
                streaming=True,
                columns=[*_COLUMNS, *columns],
                select=si.Selection(ids=wanted),
                transform=lambda example: {"id": example["image_id"], "picture": draw(example)},
                threads=usable_cores(),
                on_missing="skip",
                **options,
            )
            for shown in stream:
                found[shown["id"]] = shown["picture"]
                advance(1)
        except (si.SalientImageNetError, OSError) as error:
            reason = str(error)
    if len(found) < len(wanted):
        reporter.say(f"The page shows {len(found)} of {len(wanted)} pictures only: {reason}")
    return found


def seen_window(example: dict[str, Any]) -> str:
    """Return a thumbnail of the window of an image that models see, as a data URI."""
    window = si.crop_box(example["width"], example["height"])
    shown = example["image"].crop(tuple(map(round, window)))
    return thumbnail(np.asarray(shown), SIDE)
