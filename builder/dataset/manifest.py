"""The manifest: what made the data set, and what is in it. It is written last."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.dataset.layout import MANIFEST_FILE
from builder.errors import BuildError
from builder.storage.files import sha256_of
from salient_imagenet_1m import FORMAT_VERSION


@dataclass
class Manifest:
    """The contents of manifest.json.

    Attributes
    ----------
    format_version : int
    origin : dict
        What all splits have in common: network, votes, preprocessing, geometry.
    splits : dict of str to dict
        For each split its inputs (the build's fingerprint), counts and agreement of votes and
        network.
    files : dict of str to dict
        Bytes and SHA-256 of each file, by its path in the data set.
    pages : str
        The version of the pages' text; that of another version may differ.
    """

    origin: dict[str, Any]
    format_version: int = FORMAT_VERSION
    splits: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    pages: str = ""

    def __post_init__(self) -> None:
        tables = (self.origin, self.splits, self.files)
        if not all(isinstance(table, dict) for table in tables):
            raise TypeError("origin, splits and files are tables")

    @classmethod
    def load(cls, directory: Path) -> Manifest | None:
        """Read the manifest of a data set, or return None where there is none.

        Raises
        ------
        BuildError
            If it is no manifest, or of a newer format.
        """
        path = directory / MANIFEST_FILE
        try:
            manifest = cls(**json.loads(path.read_bytes()))
            is_newer = manifest.format_version > FORMAT_VERSION
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise BuildError(
                f"{path} is no manifest of this program, or damaged: use another directory."
            ) from error
        if is_newer:
            raise BuildError(
                f"{path} has format version {manifest.format_version}, newer than this program's "
                f"{FORMAT_VERSION}: upgrade salient-imagenet-1m."
            )
        return manifest

    def record(self, directory: Path, names: Iterable[str] | None = None) -> None:
        """Take note of the bytes and hash of files.

        Parameters
        ----------
        directory : Path
        names : iterable of str, optional
            Of files in it; by default all that there are.
        """
        for name in _files_under(directory) if names is None else names:
            path = directory / name
            self.files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}

    def as_bytes(self) -> bytes:
        """Return the file's bytes; the same contents always give the same."""
        content = {
            "format_version": self.format_version,
            "origin": self.origin,
            "splits": dict(sorted(self.splits.items())),
            "files": dict(sorted(self.files.items())),
            "pages": self.pages,
        }
        return (json.dumps(content, indent=2) + "\n").encode()


def _files_under(directory: Path) -> list[str]:
    paths = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return [path.relative_to(directory).as_posix() for path in paths]
