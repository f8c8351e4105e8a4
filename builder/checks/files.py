"""Files: those that the manifest lists, whole, and of the format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from builder.dataset.configs import CONFIGS, Contents
from builder.dataset.dataset import DataSet, UnreadableError, columns_of
from builder.dataset.format import parquet_schema
from builder.dataset.layout import (
    MANIFEST_FILE,
    MASKS_SET_ASIDE_FILE,
    SET_ASIDE_FILE,
    SET_ASIDE_SCHEMA,
    file_name,
    file_pattern,
)
from builder.storage.files import sha256_of

NOT_OURS = (".gitattributes", ".git/", ".cache/", ".publish/")
"""What the Hub and its tools, and a publication that was killed, leave in a directory."""

_NULLABLE = {
    "core_mask",
    "spurious_mask",
    "spuriosity",
    "spuriosity_rank",
    "sub_kind",
    "activation_mean",
    "activation_std",
    "validated",
    "same",
    "release_rank",
}


def files_are_whole(data: DataSet) -> Iterator[str]:
    """Yield the files that are missing or not what the manifest says."""
    for name, file in sorted(data.manifest.files.items()):
        path = data.path(name)
        try:
            size = path.stat().st_size
            if size != file["bytes"]:
                yield f"{name} has {size:,} bytes, the manifest says {file['bytes']:,}"
            elif sha256_of(path) != file["sha256"]:
                yield f"{name} has another SHA-256 than the manifest says"
        except FileNotFoundError:
            yield f"{name} is missing"
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror})"


def nothing_else_is_there(directory: Path, data: DataSet) -> Iterator[str]:
    """Yield the files that the manifest does not list."""
    known = {*data.manifest.files, MANIFEST_FILE}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        # What lies behind a link to a directory is not looked at.
        is_directory = path.is_dir() and not path.is_symlink()
        if not is_directory and name not in known and not name.startswith(NOT_OURS):
            yield f"{name} does not belong here: the manifest does not list it"


def files_are_complete(data: DataSet) -> Iterator[str]:
    """Yield configs whose numbered files are not all there, or not of one build."""
    for split in data.splits:
        told = data.manifest.splits[split]
        for name, config in CONFIGS.items():
            names = data.files(name, split)
            expected = [file_name(name, split, index, len(names)) for index in range(len(names))]
            if not names and config.is_needed(data.manifest.origin, told):
                yield f"there are no files {file_pattern(name, split)}"
            elif names != expected:
                odd = min(set(names) - set(expected) or set(expected))
                yield f"{odd} is none of {len(names)} consecutive files of {name}, {split}"


def schemas_are_the_formats(data: DataSet) -> Iterator[str]:
    """Yield Parquet files whose columns are not the format's, or that lack values."""
    schemas = _schemas(data)
    for split in data.splits:
        for config, schema in schemas.items():
            for name in data.files(config, split):
                yield from _compare(data, name, schema)
    for name in (SET_ASIDE_FILE, MASKS_SET_ASIDE_FILE):
        if name in data.manifest.files:
            yield from _compare(data, name, SET_ASIDE_SCHEMA)


def _schemas(data: DataSet) -> dict[str, pa.Schema]:
    of = Contents(data.names, data.manifest.origin, "validated" in data.pair_fields)
    return {name: parquet_schema(config.columns(of)) for name, config in CONFIGS.items()}


def _compare(data: DataSet, name: str, expected: pa.Schema) -> Iterator[str]:
    try:
        with data.parquet(name) as file:
            schema = file.schema_arrow
            difference = _difference(schema, expected)
            if difference:
                yield f"{name}: {difference}"
                return
            for column in _with_nulls(file):
                yield f"{name} lacks values in the column {column}"
    except UnreadableError as error:
        yield str(error).removesuffix(".")


def _difference(found: pa.Schema, expected: pa.Schema) -> str | None:
    if found.names != expected.names:
        odd = set(found.names) ^ set(expected.names)
        return f"its columns are not the format's ({', '.join(sorted(odd)) or 'another order'})"
    for name in expected.names:
        if found.field(name).type != expected.field(name).type:
            return (
                f"its column {name} is {found.field(name).type}, "
                f"the format says {expected.field(name).type}"
            )
    # Not the bytes of the metadata, which releases of `datasets` write differently.
    if columns_of(found) != columns_of(expected):
        return "its class names or types of `datasets` are not the data set's"
    return None


def _with_nulls(file: pq.ParquetFile) -> Iterator[str]:
    """Yield columns that hold nulls and may not; by values, as statistics can be forged too."""
    required = [name for name in file.schema_arrow.names if name not in _NULLABLE]
    for group in range(file.num_row_groups):
        for name, column in zip(
            required, file.read_row_group(group, required).columns, strict=True
        ):
            lists = pa.types.is_fixed_size_list(column.type)
            values = column.combine_chunks().flatten() if lists else column
            if column.null_count or values.null_count:
                yield name
