"""What pages show of a pair, and the ids under which browsers ask for pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from builder.annotate.candidates import PairName
from builder.annotate.exhibits import Exhibit, Panel
from builder.reporter import Reporter

MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


_LOOK_AGAIN_SECONDS = 2.0
"""How long a pair without pictures is taken to have none."""


class Exhibits(Protocol):
    """The pictures of all pairs and classes, which are made while people vote."""

    def get(self, pair: PairName) -> Exhibit | None:
        """Return what is shown of a pair, None while it is not made."""

    def panel(self, pair: PairName) -> Panel | None:
        """Return the images of which maps are compared, None while they are not made."""

    def examples(self, wnid: str) -> Sequence[Path] | None:
        """Return images of a class, None while they are not made."""

    def make(self, pairs: Iterable[PairName], reporter: Reporter) -> None:
        """Make what is not there yet, pair by pair."""


class Ready:
    """Which pairs can be shown: whose pictures are there, by what was seen of late.

    Parameters
    ----------
    look : callable
        Whether the pictures of a pair are there, by its number.
    """

    def __init__(self, look: Callable[[int], bool]) -> None:
        self._look = look
        self._ready: set[int] = set()
        self._looked: dict[int, float] = {}

    def __call__(self, number: int) -> bool:
        """Return whether a pair can be shown."""
        now = time.monotonic()
        if number in self._ready:
            return True
        if now - self._looked.get(number, -_LOOK_AGAIN_SECONDS) < _LOOK_AGAIN_SECONDS:
            return False
        if self._look(number):
            self._ready.add(number)
            return True
        self._looked[number] = now
        return False


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
