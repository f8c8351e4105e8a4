from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from builder.storage.card import Table, card_header


def write(directory: Path, **values: int) -> None:
    """Write tables of one number each, in a file of their name, and the card."""
    directory.mkdir(parents=True, exist_ok=True)
    tables = [
        Table(name, "val", directory / f"{name}.parquet", f"{name}.parquet") for name in values
    ]
    for table in tables:
        pq.write_table(pa.table({"value": [values[table.name]]}), table.file)
    (directory / "README.md").write_text(card_header(tables))


def read(directory: Path, cache: Path, *name: str) -> list[int]:
    """Return what `datasets` prepares of a table."""
    rows = load_dataset(str(directory), *name, split="val", cache_dir=str(cache))
    return [row["value"] for row in rows]


@pytest.mark.parametrize("place", ["there/out", "here/out"])
def test_tables_are_their_directory_s_own_and_of_this_time(tmp_path: Path, place: str) -> None:
    cache = tmp_path / "cache"
    write(tmp_path / "here/out", one=1, other=2)
    assert read(tmp_path / "here/out", cache, "one") == [1]
    write(tmp_path / place, one=3, other=2)
    assert read(tmp_path / place, cache, "one") == [3]
    assert read(tmp_path / place, cache, "other") == [2]


def test_the_first_table_is_the_default(tmp_path: Path) -> None:
    write(tmp_path / "out", second=1, first=2)
    assert read(tmp_path / "out", tmp_path / "cache") == [1]
