"""Files that appear whole or not at all, and disks that do not take them."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import BuildError
from builder.storage.files import (
    atomic_write,
    disk_errors_as_sentences,
    exclusive,
    move_into_place,
    require_plain_files,
    require_writable,
    sha256_of,
    shared,
)


class StopError(Exception):
    """Something that goes wrong in the middle of writing."""


def write_half(path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), atomic_write(path) as file:
        file.write(b"half")
        file.flush()
        raise failure


def test_a_written_file_holds_what_was_written_and_nothing_is_left_beside_it(
    tmp_path: Path,
) -> None:
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"whole")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": b"whole"}


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("failure", [StopError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_behind(tmp_path: Path, failure: type[BaseException]) -> None:
    write_half(tmp_path / "a.bin", failure)
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    write_half(path, StopError)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": b"old"}


def test_two_may_write_the_same_file_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with atomic_write(path) as first:
        first.write(b"whole")
        with atomic_write(path) as second:
            second.write(b"also whole")
        assert path.read_bytes() == b"also whole"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": b"whole"}


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[list[str]] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(sorted(path.name for path in tmp_path.iterdir()))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", record)
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"whole")
    (unfinished,), finished = synced
    assert unfinished.startswith("a.bin.")
    assert unfinished.endswith(".tmp")
    assert finished == ["a.bin"]


def test_moving_into_place_makes_the_directory_and_replaces_the_old_file(tmp_path: Path) -> None:
    source, target = tmp_path / "new", tmp_path / "masks" / "train.parquet"
    for content in (b"first", b"second"):
        source.write_bytes(content)
        move_into_place(source, target)
        assert target.read_bytes() == content
    assert not source.exists()


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "a.bin").write_bytes(data)
    assert sha256_of(tmp_path / "a.bin") == hashlib.sha256(data).hexdigest()


def test_a_second_build_of_a_directory_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        said = (
            f"Another build, evaluation or publication is at work in {tmp_path}: wait until it has "
            "ended."
        )
        with pytest.raises(BuildError) as caught, exclusive(tmp_path):
            pytest.fail("both hold the directory")
        assert str(caught.value) == said


@pytest.mark.parametrize("failure", [None, StopError])
def test_a_directory_is_free_again_however_its_build_ends(
    tmp_path: Path, failure: type[Exception] | None
) -> None:
    try:
        with exclusive(tmp_path):
            if failure:
                raise failure
    except StopError:
        pass
    with exclusive(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_forked_process_does_not_keep_a_directory(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    begun, begin = os.pipe()
    with exclusive(tmp_path):
        child = os.fork()
        if not child:
            os.close(writing)
            os.write(begin, b"!")
            os.read(reading, 1)
            os._exit(0)
        os.read(begun, 1)
    with exclusive(tmp_path):
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.close(writing)
    os.waitpid(child, 0)


def test_those_who_share_a_directory_keep_others_out(tmp_path: Path) -> None:
    held = pytest.raises(BuildError, match="Another build")
    with shared(tmp_path), shared(tmp_path), held, exclusive(tmp_path):
        pytest.fail("held although it is shared")
    with exclusive(tmp_path), pytest.raises(BuildError, match="Another build"), shared(tmp_path):
        pytest.fail("shared although it is held")


def test_builds_of_two_directories_do_not_wait_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with exclusive(tmp_path / "a"), exclusive(tmp_path / "b"):
        pass


def test_a_blocking_error_inside_the_block_is_not_mistaken_for_another_build(
    tmp_path: Path,
) -> None:
    with pytest.raises(BlockingIOError), exclusive(tmp_path):
        raise BlockingIOError


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_sentence(tmp_path: Path, code: int) -> None:
    with pytest.raises(BuildError) as caught, disk_errors_as_sentences(tmp_path):
        raise OSError(code, os.strerror(code))
    assert str(caught.value) == (
        f"The disk of {tmp_path} is full: free some space and run the same command again, "
        "finished work is kept."
    )


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("name", [None, "out/masks/train.parquet"])
def test_a_disk_that_may_not_be_written_is_a_sentence_that_names_the_file(
    tmp_path: Path, code: int, name: str | None
) -> None:
    with pytest.raises(BuildError) as caught, disk_errors_as_sentences(tmp_path):
        raise OSError(code, os.strerror(code), name)
    assert str(caught.value) == (
        f"{name or tmp_path} may not be written: use another --out or change its permissions."
    )


def test_a_failing_disk_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught, disk_errors_as_sentences(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert str(caught.value) == (
        f"{tmp_path} cannot be read or written for now (Input/output error): check its disk or "
        "network and run the same command again, finished work is kept."
    )


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), disk_errors_as_sentences(tmp_path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with pytest.raises(StopError), disk_errors_as_sentences(tmp_path):
        raise StopError


def test_a_disk_that_fills_up_while_a_file_is_written_leaves_no_half_of_it(tmp_path: Path) -> None:
    with (
        pytest.raises(BuildError, match="is full"),
        disk_errors_as_sentences(tmp_path),
        atomic_write(tmp_path / "a.bin") as file,
    ):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_files_are_plain_and_so_are_those_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.bin").touch()
    (tmp_path / "link.bin").symlink_to(tmp_path / "deep" / "a.bin")
    require_plain_files(tmp_path, ["deep/a.bin", "link.bin", "none.bin", "none/b.bin"])


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/null")],
    ids=["pipe", "directory", "device"],
)
def test_what_cannot_be_read_to_its_end_is_no_plain_file(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a.bin")
    with pytest.raises(BuildError, match=f"{tmp_path}/a.bin is a directory, a pipe or a device"):
        require_plain_files(tmp_path, ["a.bin"])


def test_what_lies_behind_a_link_to_a_directory_is_no_plain_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.bin").touch()
    (tmp_path / "deep").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BuildError, match=f"{tmp_path}/deep is a link, where a build writes"):
        require_plain_files(tmp_path, ["deep/a.bin"])


def test_a_place_for_a_file_is_looked_at_without_a_trace(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "deep" / "page.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_directory_that_takes_no_file_is_a_sentence(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:  # noqa: A002 (tempfile's)
        raise OSError(code, os.strerror(code), str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(BuildError) as caught:
        require_writable(tmp_path / "new" / "page.html")
    assert str(caught.value) == (
        f"{tmp_path} may not be written: use another --out or change its permissions."
    )
