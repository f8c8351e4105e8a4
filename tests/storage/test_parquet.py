from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.storage.parquet import ROW_GROUP, column_bytes, write_parquet

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])


def table(rows: int) -> pa.Table:
    numbers = np.arange(rows)
    return pa.table({"id": numbers, "name": [f"name {n}" for n in numbers]}, SCHEMA)


@pytest.mark.parametrize("size", [1, 1000, 1024, ROW_GROUP, 5000])
def test_bytes_do_not_depend_on_how_rows_come(tmp_path: Path, size: int) -> None:
    rows = table(5000)
    write_parquet(tmp_path / "whole", SCHEMA, [rows])
    parts = (rows[start : start + size] for start in range(0, len(rows), size))
    write_parquet(tmp_path / "parts", SCHEMA, parts)
    assert pq.read_table(tmp_path / "parts") == rows
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize(
    ("rows", "groups"),
    [(0, [0]), (7, [7]), (ROW_GROUP, [ROW_GROUP]), (5000, [2048, 2048, 904])],
)
def test_row_groups_are_of_one_length(tmp_path: Path, rows: int, groups: list[int]) -> None:
    write_parquet(tmp_path / "a", SCHEMA, [table(rows)] if rows else [])
    metadata = pq.read_metadata(tmp_path / "a")
    found = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert found == groups


def test_column_bytes_add_up_to_those_of_all_columns(tmp_path: Path) -> None:
    for name in "ab":
        write_parquet(tmp_path / "out" / name, SCHEMA, [table(3000)])
    metadata = [pq.read_metadata(path) for path in (tmp_path / "out").iterdir()]
    groups = [m.row_group(n) for m in metadata for n in range(m.num_row_groups)]
    whole = sum(group.column(n).total_compressed_size for group in groups for n in range(2))
    found = [column_bytes((tmp_path / "out").iterdir(), name) for name in SCHEMA.names]
    assert all(found)
    assert sum(found) == whole
