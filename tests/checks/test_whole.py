"""What is wrong with masks of whole images is found, also where the manifest agrees with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from builder.checks.verify import verify
from tests.checks.test_verify import (
    PREVIEWED,
    another_picture,
    change_manifest,
    failed,
    first,
    in_row,
    record,
    write,
)

ROWS, SOUND, COUNTS = (
    "whole images are the rows'",
    "masks of whole images are sound",
    "counts of whole images are right",
)


def test_a_data_set_that_gained_them_passes(planted_whole: Path) -> None:
    assert failed(verify(planted_whole)) == {}


def other_rows(data: Path) -> None:
    table = pq.read_table(first(data, "whole"))
    write(first(data, "whole"), table.take([1, 0, *range(2, len(table))]))


def fewer_rows(data: Path) -> None:
    write(first(data, "whole"), pq.read_table(first(data, "whole")).slice(0, 30))


def told(part: str, name: str, value: Any) -> Callable[[Path], None]:
    def change(manifest: dict[str, Any]) -> None:
        manifest["splits"]["train"]["whole"][part][name] = value

    return lambda data: change_manifest(data, change)


FAULTS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "rows in another order": (other_rows, ROWS, "other rows, or row groups, than masks"),
    "rows that are missing": (fewer_rows, ROWS, "other rows, or row groups, than masks"),
    "a box beside the image": (
        in_row("box", lambda box: [box[0] + 1, *box[1:]], "whole"),
        SOUND,
        "has a box that does not fit its width and height",
    ),
    "a grid too few": (
        in_row("grids", lambda data: data[:-1], "whole"),
        SOUND,
        "has grids that are not of the size that it tells",
    ),
    "another size of grids": (
        in_row("grid_height", lambda height: height + 1, "whole"),
        SOUND,
        "has grids that are not of the size that it tells",
    ),
    "a grid of zeros": (
        in_row("grids", lambda data: bytes(len(data)), "whole"),
        SOUND,
        "has a grid whose maximum does not fit its peak",
    ),
    "another picture": (
        lambda data: another_picture(data, "whole"),
        SOUND,
        "that is not the union of its grids",
    ),
    "a preview with another picture": (
        lambda data: another_picture(data, "preview_whole"),
        PREVIEWED,
        "core_mask in preview_whole that is not its grids'",
    ),
    "another count": (told("counts", "rows", 37), COUNTS, "'rows': 37"),
    "another likeness": (told("agreement", "mean", 0.99), COUNTS, "is 0.99, in fact"),
    "another stride": (told("inputs", "stride", 16), SOUND, "has a box that does not fit"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_hashes_do_not_tell_is_found(planted_whole: Path, tmp_path: Path, name: str) -> None:
    spoil, check, says = FAULTS[name]
    data = shutil.copytree(planted_whole, tmp_path / "data")
    spoil(data)
    record(data)
    assert says in str(failed(verify(data))[check])


def test_files_that_the_manifest_tells_of_are_missed(planted_whole: Path, tmp_path: Path) -> None:
    data = shutil.copytree(planted_whole, tmp_path / "data")
    first(data, "whole").unlink()
    record(data)
    assert "there are no files whole/train-*" in str(failed(verify(data)))
