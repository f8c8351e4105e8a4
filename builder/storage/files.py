"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO

from builder.errors import BuildError
from builder.storage.remote import (
    is_remote,
    put,
    put_when_written,
    remote_errors_as_sentences,
    remove_tree,
    temporary_beside,
)
from builder.storage.retry import may_pass


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing so that readers see the old file or the whole new one.

    Parameters
    ----------
    path : Path
        Its directory is made where it is missing.

    Yields
    ------
    binary file
        Becomes `path` when the block ends without an exception, and vanishes otherwise.
    """
    if is_remote(path):
        with put_when_written(path) as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def move_into_place(source: Path, target: Path) -> None:
    """Rename a finished file, or copy it to a URL; its new name survives a power cut."""
    if is_remote(target):
        put(source, target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a directory, and those that it lies in; on a URL they come with their files."""
    if not is_remote(directory):
        directory.mkdir(parents=True, exist_ok=True)


def remove_directory(directory: Path) -> None:
    """Remove a directory and all that is in it, if it exists."""
    if is_remote(directory):
        remove_tree(directory)
    else:
        shutil.rmtree(directory, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def exclusive(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold `directory` for this process alone; the system lets go of it however that ends.

    Parameters
    ----------
    directory : Path
    wait : bool
        Whether to wait for others that hold it.

    Raises
    ------
    BuildError
        If another build holds it, unless that is waited for.
    """
    with _locked(directory, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
        yield


@contextmanager
def shared(directory: Path) -> Iterator[None]:
    """Hold `directory` together with others who share it, as the tasks of one build do.

    Raises
    ------
    BuildError
        If another build holds it for itself alone.
    """
    with _locked(directory, fcntl.LOCK_SH | fcntl.LOCK_NB):
        yield


@contextmanager
def _locked(directory: Path, operation: int) -> Iterator[None]:
    if is_remote(directory):  # Where nothing can be held: two builds do the same work twice.
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    _locks.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            raise BuildError(
                f"Another build, evaluation or publication is at work in {directory}: wait until "
                "it has ended."
            ) from None
        yield
    finally:
        _locks.discard(descriptor)
        os.close(descriptor)


def _let_go() -> None:
    while _locks:
        os.close(_locks.pop())


# A lock lasts as long as any process has it open, and loaders live some seconds longer than a
# killed build.
_locks: set[int] = set()
os.register_at_fork(after_in_child=_let_go)


def require_directory(path: Path, option: str = "--out") -> None:
    """See that `path` is a directory, or can become one; that of a URL always can.

    Parameters
    ----------
    path : Path
    option : str
        That by which the user said so.

    Raises
    ------
    BuildError
        If it, or what it would lie in, is a file or a link that leads nowhere.
    """
    if is_remote(path):
        return
    places = (path, *path.absolute().parents)
    nearest = next(place for place in places if place.exists() or place.is_symlink())
    if not nearest.exists():
        raise BuildError(f"{nearest} is a link that leads nowhere: give {option} a directory.")
    if not nearest.is_dir():
        raise BuildError(f"{nearest} is a file: give {option} a directory.")


def require_plain_files(directory: Path, names: Iterable[str]) -> None:
    """See that what may be opened under these names, where it is there, lies in the directory.

    Whoever opens a pipe waits for ever, a device may have no end, and behind a link to a directory
    lies what nobody listed. A link to a file will do, since the Hub's cache holds nothing else; and
    a URL holds none of these.

    Parameters
    ----------
    directory : Path
    names : iterable of str
        Relative to it, without ``..``.

    Raises
    ------
    BuildError
        If one is a pipe, a device or a directory, or lies behind a link to a directory.
    """
    if is_remote(directory):
        return
    for name in names:
        for folder in PurePosixPath(name).parents[:-1]:
            if (directory / folder).is_symlink():
                raise BuildError(
                    f"{directory / folder} is a link, where a build writes a directory: put what "
                    "it leads to in its place."
                )
        path = directory / name
        if path.exists() and not path.is_file():
            raise BuildError(
                f"{path} is a directory, a pipe or a device, where a build writes a file: take "
                "another copy of the data set."
            )


def require_writable(path: Path) -> None:
    """See that `path` can be made, which may be hours before it is.

    Raises
    ------
    BuildError
        If the nearest directory that it would lie in takes no file, or none of its name.
    """
    try:
        nearest = next(place for place in path.absolute().parents if place.is_dir())
        with disk_errors_as_sentences(nearest), tempfile.TemporaryFile(dir=nearest):
            path.exists()
    except OSError as error:
        raise BuildError(f"{path} cannot be made ({error.strerror}): check --out.") from error


@contextmanager
def disk_errors_as_sentences(directory: Path) -> Iterator[None]:
    """Turn a full, read-only or failing disk under `directory` into a `BuildError`."""
    remote = is_remote(directory)
    try:
        with remote_errors_as_sentences(directory) if remote else nullcontext():
            yield
    except OSError as error:
        directory = Path(tempfile.gettempdir()) if remote else directory
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise BuildError(
                f"The disk of {directory} is full: free some space and run the same command "
                "again, finished work is kept."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise BuildError(
                f"{error.filename or directory} may not be written: use another --out or change "
                "its permissions."
            ) from error
        if may_pass(error):
            raise BuildError(
                f"{directory} cannot be read or written for now ({error.strerror}): check its "
                "disk or network and run the same command again, finished work is kept."
            ) from error
        raise
