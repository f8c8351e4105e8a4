"""From finished shards to published Parquet: a cheap pass over the numbers, then one over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Features

from builder.errors import BuildError
from builder.files import atomic_write
from builder.plan import Plan, SetAside
from builder.scores import NO_RANK, Scores, score
from builder.shard import fixed_lists, matrix, read_set_aside, read_shard, shard_path
from builder.votes import Votes
from salient_imagenet_1m import (
    embedding_features,
    mask_features,
    pair_features,
    parquet_schema,
    ranking_features,
)

SET_ASIDE_FILE = "set_aside.parquet"

SET_ASIDE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("split", "image_id", "path", "reason", "detail")]
)
_ROW_GROUP = 2048


@dataclass(frozen=True)
class Finaliser:
    """Turns the finished shards of a split into its published files.

    Attributes
    ----------
    directory : Path
        The working directory that holds the shards.
    plan : Plan
    votes : Votes
    names : list of str
        The name of each class, by label.
    head_weight : ndarray of float32, shape (classes, channels)
    grid_height, grid_width : int
    keep_embeddings : bool
        Whether the shards hold the activations of all features.
    """

    directory: Path
    plan: Plan
    votes: Votes
    names: list[str]
    head_weight: npt.NDArray[np.float32]
    grid_height: int
    grid_width: int
    keep_embeddings: bool

    def write(self, target: Path, published: Path) -> dict[str, Any]:
        """Write all Parquet files of the split.

        Parameters
        ----------
        target : Path
            An empty directory, to be laid out like the data set.
        published : Path
            The data set, whose other splits may have set images aside.

        Returns
        -------
        dict
            Counts for the manifest.
        """
        set_aside = self._set_aside()
        numbers = self._numbers()
        if not len(numbers):
            reasons = Counter(image.reason for image in set_aside)
            raise BuildError(
                f"None of the {len(set_aside)} images can be used: "
                + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
                + f"; the first is {set_aside[0].path} ({set_aside[0].detail})."
            )
        ids, labels = numbers["image_id"], numbers["label"].to_numpy()
        id_order = pc.rank(ids, tiebreaker="first").to_numpy().astype(np.int64)
        scores = score(labels, id_order, matrix(numbers["activations"]), self.votes.spurious)
        self._write_images(target, scores)
        self._write_rankings(target, ids, labels, scores)
        self._write_pairs(target, scores)
        _write_set_aside(target, published, self.plan.split, set_aside)
        return self._counts(target, labels, scores, set_aside)

    def _shards(self) -> Iterator[Path]:
        return (shard_path(self.directory, shard) for shard in range(self.plan.shards))

    def _set_aside(self) -> list[SetAside]:
        found = [image for path in self._shards() for image in read_set_aside(path)]
        return self.plan.set_aside + found

    def _numbers(self) -> pa.Table:
        columns = ["image_id", "label", "activations"]
        tables = [pq.read_table(path, columns=columns) for path in self._shards()]
        return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])

    def _write_images(self, target: Path, scores: Scores) -> None:
        """Write the configs ``masks`` and ``embeddings``, a file at a time."""
        masks_schema = parquet_schema(mask_features(self.names, self.votes.features_per_class))
        embeddings_schema = parquet_schema(embedding_features(self.head_weight.shape[1]))
        files = self.plan.files
        start = 0
        for index, shards in enumerate(files):
            name = self._file_name(index, len(files))
            masks, embeddings = [], []
            for shard in shards:
                rows, _ = read_shard(shard_path(self.directory, shard))
                part = slice(start, start + len(rows))
                masks.append(self._mask_columns(rows, scores, part).cast(masks_schema))
                if self.keep_embeddings:
                    columns = rows.select(["image_id", "embedding"])
                    embeddings.append(columns.cast(embeddings_schema))
                start = part.stop
            write_parquet(target / "masks" / name, masks_schema, masks)
            if self.keep_embeddings:
                write_parquet(target / "embeddings" / name, embeddings_schema, embeddings)

    def _mask_columns(self, rows: pa.Table, scores: Scores, part: slice) -> pa.Table:
        labels = rows["label"].to_numpy()
        kinds = np.where(self.votes.spurious[labels], "spurious", "core")
        ranks = scores.spuriosity_ranks[part]
        spuriosity = scores.spuriosity[part]
        constants = {"grid_height": self.grid_height, "grid_width": self.grid_width}
        columns = {
            **{name: rows[name].combine_chunks() for name in rows.column_names},
            "features": fixed_lists(self.votes.features[labels]),
            "kinds": fixed_lists(kinds),
            "activation_ranks": fixed_lists(scores.activation_ranks[part]),
            "core_mask": _images(rows["core_mask"]),
            "spurious_mask": _images(rows["spurious_mask"]),
            "spuriosity": pa.array(spuriosity, mask=np.isnan(spuriosity)),
            "spuriosity_rank": pa.array(ranks, mask=ranks == NO_RANK),
            **{name: pa.repeat(value, len(rows)) for name, value in constants.items()},
        }
        order = mask_features(self.names, self.votes.features_per_class)
        return pa.table({name: columns[name] for name in order})

    def _write_rankings(
        self,
        target: Path,
        ids: pa.ChunkedArray,
        labels: npt.NDArray[np.int64],
        scores: Scores,
    ) -> None:
        order = np.lexsort((scores.spuriosity_ranks, labels))
        order = order[scores.spuriosity_ranks[order] != NO_RANK]
        columns = {
            "label": labels[order],
            "spuriosity_rank": scores.spuriosity_ranks[order],
            "image_id": ids.take(pa.array(order)),
            "spuriosity": scores.spuriosity[order],
        }
        self._write_single(target, "rankings", columns, ranking_features(self.names))

    def _write_pairs(self, target: Path, scores: Scores) -> None:
        """Write the config ``features``: what one needs to score a new image."""
        pairs = self.votes.pairs
        fields = asdict(pairs[0]).keys()
        positions = [(pair.label, pair.rank - 1) for pair in pairs]
        means = np.array([scores.means[position] for position in positions])
        stds = np.array([scores.stds[position] for position in positions])
        columns = {
            **{field: [getattr(pair, field) for pair in pairs] for field in fields},
            "name": [self.names[pair.label] for pair in pairs],
            "kind": [pair.kind for pair in pairs],
            "sub_kind": [pair.sub_kind for pair in pairs],
            "weight": [self.head_weight[pair.label, pair.feature] for pair in pairs],
            "activation_mean": pa.array(means, mask=np.isnan(means)),
            "activation_std": pa.array(stds, mask=np.isnan(stds)),
        }
        self._write_single(target, "features", columns, pair_features(self.names))

    def _write_single(
        self, target: Path, config: str, columns: dict[str, Any], features: Features
    ) -> None:
        schema = parquet_schema(features)
        table = pa.table({name: columns[name] for name in features}).cast(schema)
        write_parquet(target / config / self._file_name(0, 1), schema, [table])

    def _file_name(self, index: int, count: int) -> str:
        return f"{self.plan.split}-{index:05d}-of-{count:05d}.parquet"

    def _counts(
        self,
        target: Path,
        labels: npt.NDArray[np.int64],
        scores: Scores,
        set_aside: list[SetAside],
    ) -> dict[str, Any]:
        present = np.unique(labels)
        reasons = Counter(image.reason for image in set_aside)
        if self.plan.images != len(labels) + len(set_aside):
            raise AssertionError(
                f"{self.plan.images} images in, {len(labels)} out, {len(set_aside)} set aside"
            )
        return {
            "images": self.plan.images,
            "rows": len(labels),
            "set_aside": dict(sorted(reasons.items())),
            "classes": len(present),
            "masks": len(labels) * self.votes.features_per_class,
            "core_masks": int((~self.votes.spurious)[labels].sum()),
            "spurious_masks": int(self.votes.spurious[labels].sum()),
            "ranked_classes": int(self.votes.spurious[present].any(axis=1).sum()),
            "ranked_rows": int((scores.spuriosity_ranks != NO_RANK).sum()),
            "grid_bytes": column_bytes((target / "masks").iterdir(), "grids"),
            "masks_bytes": sum(path.stat().st_size for path in (target / "masks").iterdir()),
        }


def write_parquet(path: Path, schema: pa.Schema, tables: list[pa.Table]) -> None:
    """Write tables as one Parquet file for the Hub: row groups fit its viewer's pages."""
    path.parent.mkdir(parents=True, exist_ok=True)
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
        writer.write_table(pa.concat_tables(tables), row_group_size=_ROW_GROUP)


def _write_set_aside(target: Path, published: Path, split: str, set_aside: list[SetAside]) -> None:
    rows = [{"split": split, **asdict(image)} for image in set_aside]
    if (published / SET_ASIDE_FILE).exists():
        others = pq.read_table(published / SET_ASIDE_FILE).to_pylist()
        rows += [row for row in others if row["split"] != split]
    if rows:
        rows.sort(key=lambda row: (row["split"], row["path"]))
        table = pa.Table.from_pylist(rows, SET_ASIDE_SCHEMA)
        write_parquet(target / SET_ASIDE_FILE, SET_ASIDE_SCHEMA, [table])


def column_bytes(paths: Iterable[Path], column: str) -> int:
    """Return the compressed bytes of a column over Parquet files."""
    total = 0
    for path in paths:
        metadata = pq.read_metadata(path)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            chunks = map(group.column, range(group.num_columns))
            total += sum(
                chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema == column
            )
    return total


def _images(column: pa.ChunkedArray) -> pa.StructArray:
    """Return PNG bytes as the Arrow form of `datasets.Image`; null stays null."""
    data = column.combine_chunks()
    paths = pa.nulls(len(data), pa.string())
    return pa.StructArray.from_arrays([data, paths], ["bytes", "path"], mask=data.is_null())
