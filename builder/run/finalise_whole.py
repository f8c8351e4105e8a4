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
from builder.errors import BuildError
from builder.images.extent import WholeImage
from builder.run.finished import FinishedShards
from builder.storage.parquet import fixed_lists
from salient_imagenet_1m import whole_box


@dataclass(frozen=True)
class WholeFinaliser:
    """Turns the finished shards of a split's whole images into its config ``whole``.

    Attributes
    ----------
    shards : FinishedShards
    extent : WholeImage
        What the network saw.
    """

    shards: FinishedShards
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
        self.shards.write(target, WHOLE_IMAGES, self._schema, self._columns)

    @cached_property
    def _schema(self) -> pa.Schema:
        return parquet_schema(
            whole_features(self.shards.names, self.shards.votes.features_per_class)
        )

    def _require_same_rows(self, data: DataSet) -> None:
        """See that each image that has masks has been seen whole, from the same bytes."""
        split, columns = self.shards.plan.split, ["image_id", "content"]
        tables, aside = zip(*self.shards.each(columns), strict=True)
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
                f"were, remove {self.shards.directory}, and run the same command again."
            )

    def _columns(self, shard: int) -> pa.Table:
        """Return a shard's rows as they are published."""
        rows, _ = self.shards.read(shard)
        sizes = zip(rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True)
        boxes = np.array([self._box(*size) for size in sizes], np.float64).reshape(-1, 4)
        columns = {**self.shards.masks(rows), "box": fixed_lists(boxes)}
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
