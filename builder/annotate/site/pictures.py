"""What pages show of a pair, and the ids under which browsers ask for pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from builder.reporter import Reporter

MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


PairName = tuple[str, int]
"""The wnid (or name) of a class, and one of its features."""


class Shown(Protocol):
    """An image of a pair, and what is shown of it."""

    @property
    def image_id(self) -> str:
        """Its id."""

    @property
    def image(self) -> Path | None:
        """What the network sees of it; None where there is no such picture, as below."""

    @property
    def heat(self) -> Path | None:
        """It with its heat map."""

    @property
    def attack(self) -> Path | None:
        """It, changed so that the feature is stronger."""

    @property
    def unmoved(self) -> bool:
        """Whether nothing could make the feature stronger, and the image is as it was."""

    @property
    def problem(self) -> str | None:
        """What is wrong with the image, such as that it is gone since."""


class Exhibit(Protocol):
    """The images with which a pair is shown."""

    @property
    def images(self) -> Sequence[Shown]:
        """In their order."""


class Exhibits(Protocol):
    """The pictures of all pairs and classes, which are made while people vote."""

    def get(self, pair: PairName) -> Exhibit | None:
        """Return what is shown of a pair, None while it is not made."""

    def panel(self, pair: PairName) -> Exhibit | None:
        """Return the 15 images of which maps are compared, None while they are not made."""

    def examples(self, wnid: str) -> Sequence[Path] | None:
        """Return images of a class, None while they are not made."""

    def make(self, pairs: Iterable[PairName], reporter: Reporter) -> None:
        """Make what is not there yet, pair by pair."""


class Pictures:
    """The files that pages show, by ids that tell nothing of where they lie.

    What a browser asks for is looked up here, and nowhere else: no path is ever made of it.

    Parameters
    ----------
    secret : str
        On which ids depend.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._paths: dict[str, Path] = {}

    def url(self, path: Path | None) -> str | None:
        """Return where a browser finds a picture from now on."""
        if path is None:
            return None
        key = blake2b(str(path).encode(), key=self._secret, digest_size=16).hexdigest()
        self._paths[key] = path
        return f"/pictures/{key}"

    def path(self, key: str) -> Path | None:
        """Return the file of an id, None where no page shows it, or it is gone."""
        path = self._paths.get(key)
        return path if path is not None and path.is_file() else None
