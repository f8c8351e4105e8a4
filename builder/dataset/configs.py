"""The configs of a data set, each declared once: its rows, its columns, when it must be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Features

from builder.dataset.format import (
    content_features,
    embedding_features,
    mask_features,
    pair_features,
    preview_features,
    ranking_features,
    segmentation_features,
    whole_features,
    whole_preview_features,
)

Origin = Mapping[str, Any]
"""What a manifest says that all splits have in common."""

Told = Mapping[str, Any]
"""What it says of a split."""


@dataclass(frozen=True)
class Contents:
    """What the columns of configs depend on.

    Attributes
    ----------
    names : list of str
        The name of each class, by label.
    origin : mapping
        As the manifest has it.
    are_validated : bool
        Whether there was a validation study of pairs.
    """

    names: list[str]
    origin: Origin
    are_validated: bool = False

    @property
    def features_per_class(self) -> int:
        """Five, with the published votes."""
        return int(self.origin["features_per_class"])


@dataclass(frozen=True)
class Config:
    """A table of a data set.

    Attributes
    ----------
    name : str
        Also of the directory that its files lie in.
    row : str
        What it has a row of, in words.
    columns : callable
        Gives its columns.
    is_needed : callable
        Tells whether a split must have it, by origin and split in the manifest; any split may.
    """

    name: str
    row: str
    columns: Callable[[Contents], Features]
    is_needed: Callable[[Origin, Told], bool] = lambda origin, told: True


CONTENTS = "contents"
"""The config by which a copy of the images is compared; builds of earlier releases lack it."""

EMBEDDINGS = "embeddings"
"""The config that is there only on demand."""

WHOLE_IMAGES = "whole"
"""The config of masks of whole images, which is there only on demand."""

PREVIEW = "preview"
WHOLE_PREVIEW = "preview_whole"
"""Configs of some rows of ``masks`` and of ``whole``, with masks that are large enough to see."""

SEGMENTATIONS = "segmentations"
"""The config of objects that people drew, which is added to a data set that is there."""


def _has_whole_images(origin: Origin, told: Told) -> bool:
    del origin
    return WHOLE_IMAGES in told


CONFIGS = {
    config.name: config
    for config in (
        Config("masks", "image", lambda of: mask_features(of.names, of.features_per_class)),
        Config(
            "rankings",
            "image of a class with a spurious feature, sorted",
            lambda of: ranking_features(of.names),
        ),
        Config(
            "features",
            "class-feature pair",
            lambda of: pair_features(of.names, are_validated=of.are_validated),
        ),
        Config(
            PREVIEW,
            "image, a few of each split",
            lambda of: preview_features(of.names, of.features_per_class),
        ),
        Config(
            CONTENTS,
            "image: how large its file is, and a hash of it",
            lambda of: content_features(),
            is_needed=lambda origin, told: False,
        ),
        Config(
            EMBEDDINGS,
            "image: the activations of all features, as float16",
            lambda of: embedding_features(of.origin["channels"]),
            is_needed=lambda origin, told: bool(origin["keep_embeddings"]),
        ),
        Config(
            WHOLE_IMAGES,
            "image, in the order of masks: masks of the whole image",
            lambda of: whole_features(of.names, of.features_per_class),
            is_needed=_has_whole_images,
        ),
        Config(
            WHOLE_PREVIEW,
            "image, a few of each split: masks of the whole image",
            lambda of: whole_preview_features(of.names, of.features_per_class),
            is_needed=_has_whole_images,
        ),
        Config(
            SEGMENTATIONS,
            "image whose object somebody drew",
            lambda of: segmentation_features(of.names),
            is_needed=lambda origin, told: False,
        ),
    )
}
"""By name, in the order in which pages list them; the first is the default one."""
