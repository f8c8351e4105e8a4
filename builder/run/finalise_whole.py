"""From finished shards of whole images to the published config ``whole``, beside ``masks``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from builder.dataset.configs import CONTENTS, WHOLE_IMAGES
from builder.dataset.dataset import DataSet
from builder.dataset.format import parquet_schema, whole_features
from builder.dataset.layout import file_name
from builder.dataset.votes import Votes
from builder.errors import BuildError
from builder.images.extent import WholeImage
from builder.images.plan import Plan, SetAside
from builder.run.finalise import as_pictures
from builder.shards.shard import read_shard, shard_path
from builder.storage.parquet import fixed_lists, write_parquet
from builder.threads import in_threads, usable_cores
from salient_imagenet_1m import whole_box


@dataclass(frozen=True)
class WholeFinaliser:
    """Turns the finished shards of a split's whole images into its config ``whole``.

    Attributes
    ----------
    directory : Path
        The working directory that holds the shards.
    plan : Plan
    votes : Votes
    names : list of str
        The name of each class, by label.
    extent : WholeImage
        What the network saw.
    """

    directory: Path
    plan: Plan
    votes: Votes
    names: list[str]
    extent: WholeImage

    def write(self, target: Path, data: DataSet) -> None:
        """Write a row per row of ``masks``, in its order, files and row groups.

        Parameters
        ----------
        target : Path
            An empty directory, to be laid out like the data set.
        data : DataSet
            That has the split's config ``masks``.

        Raises
        ------
        BuildError
            If the shards are not of the images that the masks are of.
        """
        self._require_same_rows(data)
        files = list(enumerate(self.plan.files))

        def write(file: tuple[int, range]) -> None:
            index, shards = file
            name = file_name(WHOLE_IMAGES, self.plan.split, index, len(files))
            write_parquet(target / name, self._schema, map(self._columns, shards))

        for _ in in_threads(files, write, usable_cores()):
            pass

    @cached_property
    def _schema(self) -> pa.Schema:
        return parquet_schema(whole_features(self.names, self.votes.features_per_class))

    def _read(
        self, shard: int, columns: list[str] | None = None
    ) -> tuple[pa.Table, list[SetAside]]:
        return read_shard(shard_path(self.directory, shard), columns)

    def _require_same_rows(self, data: DataSet) -> None:
        """See that each image that has masks has been seen whole, from the same bytes."""
        split, columns = self.plan.split, ["image_id", "content"]
        read = partial(self._read, columns=columns)
        tables, aside = zip(*in_threads(range(self.plan.shards), read, usable_cores()), strict=True)
        found = _columns_of(pa.concat_tables(tables), columns)
        reasons = {
            image.image_id: f"{image.reason}: {image.detail}" for some in aside for image in some
        }
        rows = _columns_of(data.read("masks", split, ["image_id"]), ["image_id"])
        if data.files(CONTENTS, split):
            rows += _columns_of(data.read(CONTENTS, split, ["content"]), ["content"])
        row = next(_differing(found, rows), None)
        if row is not None:
            name = rows[0][row] if row < len(rows[0]) else found[0][row]
            raise BuildError(
                f"The image {name} is not the one that its masks were made from"
                f"{f' ({reasons[name]})' if name in reasons else ''}: put the images back as they "
                f"were, remove {self.directory}, and run the same command again."
            )

    def _columns(self, shard: int) -> pa.Table:
        """Return a shard's rows as they are published."""
        rows, _ = self._read(shard)
        labels = rows["label"].to_numpy()
        sizes = zip(rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True)
        boxes = np.array([self._box(*size) for size in sizes], np.float64).reshape(-1, 4)
        columns: dict[str, Any] = {
            **{name: rows[name].combine_chunks() for name in rows.column_names},
            "features": fixed_lists(self.votes.features[labels]),
            "kinds": fixed_lists(np.where(self.votes.spurious[labels], "spurious", "core")),
            "box": fixed_lists(boxes),
            "core_mask": as_pictures(rows["core_mask"]),
            "spurious_mask": as_pictures(rows["spurious_mask"]),
        }
        return pa.table({name: columns[name] for name in self._schema.names}).cast(self._schema)

    @cached_property
    def _box(self) -> Any:
        # Most images have one of a few sizes.
        return lru_cache(partial(whole_box, stride=self.extent.stride, longest=self.extent.longest))


def _columns_of(table: pa.Table, names: list[str]) -> list[list[str]]:
    return [table[name].to_pylist() for name in names]


def _differing(found: list[list[str]], expected: list[list[str]]) -> Iterator[int]:
    """Yield rows in which columns differ; what `expected` has no column for is not compared."""
    columns = zip(found, expected, strict=False)
    rows = zip(*(zip_longest(*pair) for pair in columns), strict=True)
    yield from (row for row, pairs in enumerate(rows) if any(one != other for one, other in pairs))
