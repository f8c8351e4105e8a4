from __future__ import annotations

import errno
import os

import pytest

from builder.storage.retry import retry


class Disk:
    """Fails some times, then gives its name."""

    def __init__(self, *failures: OSError) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "disk"


def error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr("builder.storage.retry.time.sleep", found.append)
    return found


@pytest.mark.parametrize(
    "failure", [error(errno.EIO), error(errno.ESTALE), ConnectionResetError(), TimeoutError()]
)
def test_an_error_that_goes_away_is_none(failure: OSError, pauses: list[float]) -> None:
    disk = Disk(failure, failure)
    assert retry(disk) == "disk"
    assert disk.calls == 3
    assert pauses == sorted(pauses)
    assert len(pauses) == 2


def test_an_error_that_stays_is_raised(pauses: list[float]) -> None:
    disk = Disk(*[error(errno.EIO)] * 3)
    with pytest.raises(OSError, match="Input/output error"):
        retry(disk)
    assert disk.calls == 3


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.ENOSPC])
def test_what_waiting_does_not_cure_is_raised_at_once(code: int, pauses: list[float]) -> None:
    disk = Disk(error(code))
    with pytest.raises(OSError, match=os.strerror(code)):
        retry(disk)
    assert disk.calls == 1
    assert not pauses
