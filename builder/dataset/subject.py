"""What a data set is of: ImageNet, unless its manifest says otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass

from builder.dataset.manifest import Manifest
from builder.dataset.votes import Votes

_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Subject:
    """What the pages of a data set call it and its images.

    Attributes
    ----------
    title : str
    source : str, optional
        Where the images come from, a name or a URL; empty where nobody said, None for ImageNet.
    licence : str, optional
        Of the data set, in its maker's words.
    """

    title: str
    source: str | None = None
    licence: str | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> Subject:
        """Return what a data set's manifest says of it."""
        title, source, licence = (manifest.origin.get(k) for k in ("title", "source", "licence"))
        return cls(title or _title(source), source, licence)

    @property
    def is_imagenet(self) -> bool:
        """Whether its images are ImageNet's."""
        return self.source is None

    @property
    def images(self) -> str:
        """What to call its images."""
        return "ImageNet" if self.source is None else self.source or "the images"

    @property
    def slug(self) -> str:
        """The title as a name for machines."""
        return slug(self.title)

    def short_name(self, name: str) -> str:
        """Return the first of a class's names, which WordNet has several of."""
        return name.partition(",")[0] if self.is_imagenet else name


def slug(text: str) -> str:
    """Return a text in small letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "other"


def default_source(votes: Votes) -> str | None:
    """Return the source of images of which nobody says where they come from.

    ImageNet's classes are known by their wnids; of folders of other names it is empty.
    """
    return None if all(_WNID.fullmatch(pair.wnid) for pair in votes.pairs) else ""


def _title(source: str | None) -> str:
    if source is None:
        return "Salient ImageNet-1M"
    return f"Salient features of {source}" if source and "://" not in source else "Salient features"
