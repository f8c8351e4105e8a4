"""Places that several machines see: URLs of the file systems that fsspec knows."""

from __future__ import annotations

import secrets
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from upath import UPath

from builder.errors import CREDENTIALS, BuildError, first_line

_OBJECT_STORES = ("abfs", "abfss", "az", "gcs", "gs", "oss", "r2", "s3", "s3a")
"""Where an object is seen once it is whole, and a directory is but a part of its name."""

_KEEP_NOTHING = (
    *("data", "gist", "git", "github", "http", "https", "jlab", "libarchive", "memory"),
    *("pyscript", "reference", "tar", "zip"),
)
"""What can only be read, or is forgotten when the process ends."""


def parse_location(text: str) -> Path:
    """Return the path of a directory, or of a URL such as ``s3://bucket/name``.

    A URL's path is pathlib-like: it can be joined, listed and read as any other. What only a local
    file system can do (rename, lock, sync) is left to `builder.storage.files`.

    Parameters
    ----------
    text : str

    Raises
    ------
    BuildError
        If nothing here can open such a URL; the sentence says what to install.
    """
    _check_name(text)
    options: dict[str, Any] = {}
    if text.startswith(tuple(f"{protocol}://" for protocol in _OBJECT_STORES)):
        # Others write there as well.
        options["use_listings_cache"] = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="UPath .* not explicitly implemented")
            path = UPath(text, **options)
        if not isinstance(path, Path) and path.protocol in ("file", "local"):
            return Path(path.path)
        if not isinstance(path, Path):
            # Opened, and used as a directory, now: what is missing is found now.
            _ = path.fs, path / "file"
    except ImportError as error:
        raise BuildError(
            f"{text} needs a package that is not installed ({_said(error, text)}): install it, or "
            "use another place."
        ) from error
    except Exception as error:  # Each file system raises what its library does.
        raise BuildError(
            f"{text} cannot be opened ({_said(error, text)}): give a directory, or a URL "
            "that fsspec knows such as s3://bucket/name."
        ) from error
    return cast(Path, path)


def parse_target(text: str) -> Path:
    """Return the path of a directory, or of a URL, that is to be written to; see `parse_location`.

    Raises
    ------
    BuildError
        As `parse_location` does, or if nothing that is written there stays.
    """
    path = parse_location(text)
    if is_remote(path) and cast(UPath, path).protocol in _KEEP_NOTHING:
        raise BuildError(
            f"Nothing that is written to {text} is kept: give --out a directory, or a URL of a "
            "store such as s3://bucket/name."
        )
    return path


def parse_local(text: str) -> Path:
    """Return a path of this machine; see `parse_location`.

    Raises
    ------
    BuildError
        As `parse_location` does, or if it is that of a URL.
    """
    path = parse_location(text)
    if is_remote(path):
        raise BuildError(f"{text} is a URL: give --out a path of this machine.")
    return path


def _check_name(text: str) -> None:
    if not text:
        raise BuildError("An empty name is no place: give a directory, or a URL.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BuildError(
            f"{text} is not written in UTF-8, as names of Parquet files are: use another name."
        ) from error


def is_remote(path: Path) -> bool:
    """Return whether `path` is that of a URL, from `parse_location`."""
    return not isinstance(path, Path)


AnyPath = TypeVar("AnyPath", Path, UPath)


def temporary_beside(path: AnyPath) -> AnyPath:
    """Return a name for what becomes `path`, another one each time.

    Two may write the same file: a worker that was given up for lost is sometimes still at it.
    """
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")


def put(source: Path, target: Path) -> None:
    """Copy a local file to a URL, where readers see the old file or the whole new one."""
    remote = cast(UPath, target)
    if remote.protocol in _OBJECT_STORES:
        remote.fs.put_file(str(source), remote.path)
        return
    remote.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary_beside(remote)
    remote.fs.put_file(str(source), beside.path)
    remote.fs.mv(beside.path, remote.path)


@contextmanager
def put_when_written(target: Path) -> Iterator[IO[bytes]]:
    """Open a local file that is copied to a URL once the block ends without an exception."""
    with tempfile.NamedTemporaryFile() as file:
        yield file
        file.flush()
        put(Path(file.name), target)


def remove_tree(directory: Path) -> None:
    """Remove all that lies under a URL, if anything does."""
    remote = cast(UPath, directory)
    if remote.exists():
        remote.fs.rm(remote.path, recursive=True)


@contextmanager
def remote_errors_as_sentences(place: Path) -> Iterator[None]:
    """Turn what the file system of a URL raises into a `BuildError`."""
    try:
        yield
    except Exception as error:
        # Its own exceptions are those of whatever library it is made of.
        if isinstance(error, BuildError) or not _came_out_of_fsspec(error):
            raise
        raise BuildError(
            f"{place} cannot be read or written ({type(error).__name__}: "
            f"{_said(error, str(place))}): check the address, its permissions and your "
            "credentials, and run the same command again, finished work is kept."
        ) from error


def _said(error: Exception, url: str) -> str:
    """Return what an exception says, without a URL's credentials, which it may take for a name."""
    found = CREDENTIALS.search(url)
    said = first_line(error)
    return said.replace(found[0], "...") if found and found[0] else said


def _came_out_of_fsspec(error: Exception) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__", "").startswith("fsspec.") for frame, _ in frames)
