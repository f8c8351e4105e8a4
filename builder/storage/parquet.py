"""Published Parquet files: for the Hub's viewer and storage, written with bounded memory."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from builder.errors import BuildError, first_line
from builder.storage.files import atomic_write
from builder.storage.remote import is_remote

ROW_GROUP = 2048
"""Rows in a row group: the Hub's viewer reads one for a page."""


def write_parquet(
    path: Path, schema: pa.Schema, tables: Iterable[pa.Table], row_group: int = ROW_GROUP
) -> None:
    """Write tables as one file; content-defined chunks let the Hub store only what changed.

    Parameters
    ----------
    path : Path
    schema : pa.Schema
    tables : iterable of pa.Table
        Of this schema; a few row groups are in memory at a time.
    row_group : int
        Rows in a row group.
    """
    with (
        atomic_write(path) as file,
        pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            write_page_index=True,
            use_content_defined_chunking=True,
        ) as writer,
    ):
        for group in row_groups(schema, tables, row_group):
            writer.write_table(group)


def parquet_bytes(table: pa.Table) -> int:
    """Return how many bytes a table would have as a file."""
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.tell()


def parquet_source(path: Path) -> Path | IO[bytes]:
    """Return what Arrow opens a file by, of which it may want but parts."""
    return path.open("rb") if is_remote(path) else path


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a file, all columns or those of some that it has; one of a URL in a single request."""
    source = pa.BufferReader(path.read_bytes()) if is_remote(path) else path
    with pq.ParquetFile(source) as file:
        return file.read(columns)


def row_groups(
    schema: pa.Schema, tables: Iterable[pa.Table], size: int = ROW_GROUP
) -> Iterator[pa.Table]:
    """Yield the rows of tables `size` at a time; an empty table where there are none."""
    waiting = schema.empty_table()
    is_empty = True
    for table in tables:
        # Without the empty one, which would be a chunk of the columns.
        waiting = pa.concat_tables([waiting, table]) if len(waiting) else table
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
            is_empty = False
    if len(waiting) or is_empty:
        yield waiting


def column_bytes(paths: Iterable[Path], column: str) -> int:
    """Return the compressed bytes of a column over Parquet files."""
    total = 0
    for path in paths:
        metadata = pq.read_metadata(parquet_source(path))
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            chunks = map(group.column, range(group.num_columns))
            total += sum(
                chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema == column
            )
    return total


def fixed_lists(values: npt.NDArray[np.generic]) -> pa.FixedSizeListArray:
    """Return the rows of a matrix as lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return lists of one length as the rows of a matrix: the inverse of `fixed_lists`."""
    values = column.combine_chunks().flatten()
    return np.asarray(values.to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size))


@contextmanager
def damage_as_sentence(path: Path) -> Iterator[None]:
    """Have a damaged file, which can be computed anew, end in a sentence for the user."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):  # It is the disk's.
            raise
        raise BuildError(
            f"{path} is damaged ({first_line(error)}): remove it and run the same command again, "
            "which computes it anew."
        ) from error
