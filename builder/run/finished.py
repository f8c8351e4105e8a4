"""The finished shards of a split: what every config with a row per image is written from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from builder.dataset.layout import file_name
from builder.dataset.votes import Votes
from builder.images.plan import Plan, SetAside
from builder.shards.shard import read_shard, shard_path
from builder.storage.parquet import fixed_lists, write_parquet
from builder.threads import in_threads, usable_cores
from salient_imagenet_1m import KINDS


@dataclass(frozen=True)
class FinishedShards:
    """Shards, and what gives their rows a meaning.

    Attributes
    ----------
    directory : Path
        The working directory that holds the shards.
    plan : Plan
    votes : Votes
    names : list of str
        The name of each class, by label.
    """

    directory: Path
    plan: Plan
    votes: Votes
    names: list[str]

    def read(self, shard: int, columns: list[str] | None = None) -> tuple[pa.Table, list[SetAside]]:
        """Read rows of a shard, and the images that were set aside."""
        return read_shard(shard_path(self.directory, shard), columns)

    def each(self, columns: list[str]) -> Iterator[tuple[pa.Table, list[SetAside]]]:
        """Read all shards in their order, several at a time."""
        read = partial(self.read, columns=columns)
        return in_threads(range(self.plan.shards), read, usable_cores())

    def masks(self, rows: pa.Table) -> dict[str, Any]:
        """Return the columns of rows by name, as `write` takes them, and those that votes give."""
        labels = rows["label"].to_numpy()
        return {
            **{name: rows[name].combine_chunks() for name in rows.column_names},
            "features": fixed_lists(self.votes.features[labels]),
            "kinds": fixed_lists(np.where(self.votes.spurious[labels], "spurious", "core")),
            **{f"{kind}_mask": _as_pictures(rows[f"{kind}_mask"]) for kind in KINDS},
        }

    def write(
        self, target: Path, config: str, schema: pa.Schema, rows: Callable[[int], pa.Table]
    ) -> None:
        """Write a config, a file per core at a time.

        Parameters
        ----------
        target : Path
            A directory that is laid out like the data set.
        config : str
        schema : Schema
        rows : callable
            Gives those of a shard.
        """
        files = list(enumerate(self.plan.files))

        def write(file: tuple[int, range]) -> None:
            index, shards = file
            name = file_name(config, self.plan.split, index, len(files))
            write_parquet(target / name, schema, map(rows, shards))

        for _ in in_threads(files, write, usable_cores()):
            pass


def _as_pictures(column: pa.ChunkedArray) -> pa.StructArray:
    """Return PNG bytes as the Arrow form of `datasets.Image`; null stays null."""
    data = column.combine_chunks()
    paths = pa.nulls(len(data), pa.string())
    return pa.StructArray.from_arrays([data, paths], ["bytes", "path"], mask=data.is_null())
