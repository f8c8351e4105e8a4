"""The manifest: what made the data set, and what is in it. It is written last."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.dataset.configs import WHOLE_IMAGES
from builder.dataset.layout import MANIFEST_FILE, SINGLE_FILES, is_published
from builder.errors import BuildError
from builder.settings.options import SPLITS
from builder.storage.files import require_plain_files, sha256_of
from builder.storage.objects import json_object
from builder.storage.remote import is_remote
from salient_imagenet_1m import FORMAT_VERSION

_ORIGIN = {
    "network": str,
    "votes_sha256": str,
    "precision": str,
    "features_per_class": int,
    "channels": int,
    "grid": list,
    "keep_embeddings": bool,
}
_SAID = dict.fromkeys(("title", "source", "licence"), str)
"""What origin tells only where somebody said it."""

_SPLIT = {"inputs": dict, "counts": dict, "agreement": dict}
_WHOLE = {"inputs": dict, "counts": dict, "agreement": dict}
_WHOLE_INPUTS = {"stride": int, "longest": int, "preprocessing_of_whole": str}
"""What a split that has masks of whole images tells of them."""

_INPUTS = {"images_sha256": str, "seed": int, "device": str}
_COUNTS = {"rows": int, "classes": int, "set_aside": dict}
_FILE = {"bytes": int, "sha256": str}
_ADDITION = {"source": str, "licence": str, "given": int, "set_aside": dict, "splits": dict}
_PART_OF_ADDITION = {"rows": int, "truth": dict}
"""What every reader needs of each part."""


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
        network; where it has masks of whole images, under ``whole`` the same of them.
    files : dict of str to dict
        Bytes and SHA-256 of each file, by its path in the data set.
    pages : str
        The version of the pages' text; that of another version may differ.
    additions : dict of str to dict
        By config, what was added to the builds from elsewhere: its source and licence, what was
        given and set aside, and what came of each split. Data sets without any lack the key.
    """

    origin: dict[str, Any]
    format_version: int = FORMAT_VERSION
    splits: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    pages: str = ""
    additions: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tables = (self.origin, self.splits, self.files, self.additions)
        if not all(isinstance(table, dict) for table in tables):
            raise TypeError("origin, splits and files are tables")

    @classmethod
    def load(cls, directory: Path) -> Manifest | None:
        """Read the manifest of a data set, or return None where there is none.

        Whatever it lists can be opened: a name that a build writes, and a file if it is there.

        Raises
        ------
        BuildError
            If it is no manifest, or of a newer format, or lists what no build writes.
        """
        path = directory / MANIFEST_FILE
        require_plain_files(directory, [MANIFEST_FILE])
        try:
            manifest = cls(**json_object(path.read_bytes()))
            is_newer = manifest.format_version > FORMAT_VERSION
        except (FileNotFoundError, NotADirectoryError):
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
        fault = next(manifest._faults(), None)
        if fault:
            raise BuildError(f"{path} {fault}, unlike any that a build writes: use another copy.")
        # Pages are made again and compared, whether or not they are listed.
        require_plain_files(directory, (*SINGLE_FILES, *manifest.files))
        return manifest

    @classmethod
    def of_finished(cls, directory: Path, why_local: str) -> Manifest:
        """Read the manifest of a data set that has to be there, in a local directory.

        Parameters
        ----------
        directory : Path
        why_local : str
            What a URL cannot be used for, in words.

        Raises
        ------
        BuildError
            If there is none, and as `load`.
        """
        if is_remote(directory):
            raise BuildError(f"{directory} is a URL, and {why_local}: download it first.")
        manifest = cls.load(directory) if directory.is_dir() else None
        if manifest is None:
            raise BuildError(
                f"{directory} holds no finished build, it has no {MANIFEST_FILE}: give the "
                "directory that was the --out of build."
            )
        return manifest

    def _faults(self) -> Iterator[str]:
        """Yield what no reader need be ready for; what is wrong with one thing comes first."""
        if not isinstance(self.format_version, int):
            yield f"has the format version {self.format_version}"
        said = {name: kind for name, kind in _SAID.items() if name in self.origin}
        yield from _lacking(self.origin, _ORIGIN | said, "its origin")
        if not self.splits:
            yield "lists no split"
        for name, split in self.splits.items():
            if name not in SPLITS:
                yield f"lists the split {name}"
            yield from _lacking(split, _SPLIT, f"the split {name}")
            yield from _lacking(split["inputs"], _INPUTS, f"the inputs of {name}")
            yield from _lacking(split["counts"], _COUNTS, f"the counts of {name}")
            if WHOLE_IMAGES in split:
                where = f"the whole images of {name}"
                yield from _lacking(split[WHOLE_IMAGES], _WHOLE, where)
                yield from _lacking(split[WHOLE_IMAGES]["inputs"], _WHOLE_INPUTS, where)
        for name, file in self.files.items():
            if not is_published(name):
                yield f"lists the file {name}"
            yield from _lacking(file, _FILE, name)
        for name, addition in self.additions.items():
            yield from _lacking(addition, _ADDITION, f"the addition {name}")
            for split, part in addition["splits"].items():
                yield from _lacking(part, _PART_OF_ADDITION, f"{name} of {split}")

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
            **({"additions": self.additions} if self.additions else {}),
        }
        return (json.dumps(content, indent=2) + "\n").encode()


def _lacking(part: Any, form: Mapping[str, type], where: str) -> Iterator[str]:
    """Yield the fields of a part that are not there, or of another type."""
    for name, kind in form.items():
        if not isinstance(part, dict) or not isinstance(part.get(name), kind):
            yield f"lacks {name} in {where}"


def _files_under(directory: Path) -> list[str]:
    paths = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return [path.relative_to(directory).as_posix() for path in paths]
