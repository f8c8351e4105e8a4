"""The content of an image's file: by what it is known again, in another run or another copy."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

_DIGITS = 16
"""Enough to tell one file from another: nobody has to find two alike."""


class Content(NamedTuple):
    """By what the file of an image is known again.

    Attributes
    ----------
    size : int
        In bytes.
    digest : str
        From `digest_of`.
    stamp : str, optional
        What changes when the file does, and is cheap to look at; None where there is no file.
    """

    size: int
    digest: str
    stamp: str | None


def digest_of(data: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
