"""A data set's directory, or one about to be: its manifest, and the files that it lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features

from builder.dataset.layout import PUBLISHED_CONFIGS, file_pattern, file_prefix
from builder.dataset.manifest import Manifest
from builder.dataset.votes import Pair, Votes, check_classes
from builder.errors import BuildError, first_line
from builder.storage.parquet import parquet_source

_PAIR_FIELDS = [field.name for field in fields(Pair)]
"""What the config ``features`` keeps of the votes on a pair."""


class UnreadableError(BuildError):
    """A file of the data set is missing or corrupt."""


def columns_of(schema: pa.Schema) -> Features:
    """Return the columns of a Parquet file as `datasets` knows them.

    Raises
    ------
    UnreadableError
        If its metadata are damaged.
    """
    try:
        return Features.from_arrow_schema(schema)
    except Exception as error:  # What is wrong may be anything that JSON can hold.
        raise UnreadableError(
            f"The metadata of columns are damaged ({first_line(error)})."
        ) from error


class DataSet:
    """The files of a data set.

    Parameters
    ----------
    manifest : Manifest
    *places : Path
        Directories laid out like the data set; a file is taken from the first that has it.
    """

    def __init__(self, manifest: Manifest, *places: Path) -> None:
        self.manifest = manifest
        self._places = places

    @property
    def splits(self) -> list[str]:
        """The splits, sorted."""
        return sorted(self.manifest.splits)

    @property
    def features_per_class(self) -> int:
        """Five, with the published votes."""
        return int(self.manifest.origin["features_per_class"])

    @property
    def configs(self) -> list[str]:
        """The configs that there are."""
        return [config for config in PUBLISHED_CONFIGS if self.splits_of(config)]

    def splits_of(self, config: str) -> list[str]:
        """Return the splits that have a config: builds of other releases may have others."""
        return [split for split in self.splits if self.files(config, split)]

    def path(self, name: str) -> Path:
        """Return where a file lies, or would lie if it were there."""
        candidates = [place / name for place in self._places]
        return next((path for path in candidates if path.is_file()), candidates[-1])

    def files(self, config: str, split: str) -> list[str]:
        """Return the names of a config's files of a split, in order."""
        return sorted(
            name for name in self.manifest.files if name.startswith(file_prefix(config, split))
        )

    def tables(
        self, config: str, split: str, columns: list[str] | None = None
    ) -> Iterator[pa.Table]:
        """Yield the rows of a config and split in order, a row group at a time.

        Raises
        ------
        UnreadableError
            If a file is missing or corrupt, or lacks a column.
        """
        for name in self.files(config, split):
            with self.parquet(name) as file:
                missing = set(columns or ()) - set(file.schema_arrow.names)
                if missing:
                    raise UnreadableError(f"{name} lacks the column {min(missing)}.")
                names = columns or file.schema_arrow.names
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns)
                if not file.num_row_groups:
                    yield file.schema_arrow.empty_table().select(names)

    def read(self, config: str, split: str, columns: list[str] | None = None) -> pa.Table:
        """Return the rows of a config and split at once.

        Raises
        ------
        UnreadableError
            As `tables` does, or if there are no files.
        """
        tables = list(self.tables(config, split, columns))
        if not tables:
            raise UnreadableError(f"There are no files {file_pattern(config, split)}.")
        return pa.concat_tables(tables)

    @contextmanager
    def parquet(self, name: str) -> Iterator[pq.ParquetFile]:
        """Open a Parquet file; what is wrong with it becomes an `UnreadableError`."""
        try:
            with pq.ParquetFile(parquet_source(self.path(name))) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            raise UnreadableError(f"{name} cannot be read ({first_line(error)}).") from error

    def schema(self, config: str) -> pa.Schema:
        """Return the columns of a config."""
        with self.parquet(self.files(config, self.splits_of(config)[0])[0]) as file:
            return file.schema_arrow

    @cached_property
    def pair_fields(self) -> list[str]:
        """The columns of the config ``features`` that are the votes': without a study, two less."""
        there = self.schema("features").names
        optional = ("validated", "same")
        return [name for name in _PAIR_FIELDS if name in there or name not in optional]

    @cached_property
    def votes(self) -> Votes:
        """The votes, as the config ``features`` keeps them."""
        return self.votes_of(self.splits[0])

    def votes_of(self, split: str) -> Votes:
        """Return the votes as a split keeps them; all splits should keep the same.

        Raises
        ------
        BuildError
            If they contradict each other.
        """
        rows = self.read("features", split, self.pair_fields).to_pylist()
        pairs = tuple(Pair(**row) for row in rows)
        check_classes(self.path(self.files("features", split)[0]), pairs)
        return Votes(pairs, self.manifest.origin["votes_sha256"])

    @cached_property
    def names(self) -> list[str]:
        """The name of each class, by label."""
        label = columns_of(self.schema("features")).get("label")
        if not isinstance(label, ClassLabel):
            raise UnreadableError("The config features does not tell the names of classes.")
        names: list[str] = label.names
        return names
