from __future__ import annotations

from pathlib import Path

from tests.conftest import SLOWEST


def test_the_files_that_are_begun_first_are_there() -> None:
    missing = [name for name in SLOWEST if not (Path(__file__).parent / name).is_file()]
    assert missing == []
