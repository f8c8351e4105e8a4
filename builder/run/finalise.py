"""From finished shards to published Parquet: a cheap pass over the numbers, then one over rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features

from builder.dataset.configs import CONTENTS, EMBEDDINGS
from builder.dataset.counts import Counts
from builder.dataset.format import (
    content_features,
    embedding_features,
    mask_features,
    pair_features,
    parquet_schema,
    ranking_features,
)
from builder.dataset.layout import SET_ASIDE_FILE, SET_ASIDE_SCHEMA, file_name
from builder.dataset.scores import NO_RANK, Scores, score
from builder.errors import BuildError
from builder.images.plan import SetAside
from builder.run.finished import FinishedShards
from builder.storage.parquet import column_bytes, fixed_lists, matrix, read_parquet, write_parquet


class _Numbers(NamedTuple):
    """What scores are computed from, of all rows of a split in their order.

    Attributes
    ----------
    ids : pa.ChunkedArray of string
    labels : ndarray of int32, shape (rows,)
    activations : ndarray of float32, shape (rows, features)
    starts : list of int
        The index of each shard's first row; and, at the end, the number of rows.
    set_aside : list of SetAside
    agreeing : int
        Rows that the network predicts as they are labelled.
    tells_contents : bool
        Whether all shards tell the contents of their images' files, as those of earlier releases
        do not.
    """

    ids: pa.ChunkedArray
    labels: npt.NDArray[np.int32]
    activations: npt.NDArray[np.float32]
    starts: list[int]
    set_aside: list[SetAside]
    agreeing: int
    tells_contents: bool


@dataclass(frozen=True)
class Finaliser:
    """Turns the finished shards of a split into its published files.

    Attributes
    ----------
    shards : FinishedShards
    head_weight : ndarray of float32, shape (classes, channels)
    grid_height, grid_width : int
    keep_embeddings : bool
        Whether the shards hold the activations of all features.
    """

    shards: FinishedShards
    head_weight: npt.NDArray[np.float32]
    grid_height: int
    grid_width: int
    keep_embeddings: bool

    def write(self, target: Path, published: Path) -> Counts:
        """Write all Parquet files of the split.

        Parameters
        ----------
        target : Path
            An empty directory, to be laid out like the data set.
        published : Path
            The data set, whose other splits may have set images aside.

        Returns
        -------
        Counts
            For the manifest.
        """
        ids, labels, activations, starts, set_aside, agreeing, tells_contents = self._read_numbers()
        if not len(labels):
            reasons = Counter(image.reason for image in set_aside)
            raise BuildError(
                f"None of the {len(set_aside)} images can be used: "
                + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
                + f"; the first is {set_aside[0].path} ({set_aside[0].detail})."
            )
        id_order = pc.rank(ids, tiebreaker="first").to_numpy()
        scores = score(labels, id_order, activations, self.shards.votes.spurious)
        del id_order, activations  # Nearly a third of what is in memory.
        self._write_images(target, starts, scores)
        self._write_rankings(target, ids, labels, scores)
        self._write_pairs(target, scores)
        if tells_contents:
            self._write_contents(target)
        _write_set_aside(target, published, self.shards.plan.split, set_aside)
        return self._counts(target, labels, agreeing, scores, set_aside)

    def _read_numbers(self) -> _Numbers:
        """Read the few columns that scores need into arrays that are as large as they will be."""
        rows = len(self.shards.plan.order)
        labels = np.empty(rows, np.int32)
        activations = np.empty((rows, self.shards.votes.features_per_class), np.float32)
        ids, starts, set_aside = [], [0], list(self.shards.plan.set_aside)
        agreeing, tells_contents = 0, True
        columns = ["image_id", "label", "activations", "predicted", "content"]
        for table, found in self.shards.each(columns):
            part = slice(starts[-1], starts[-1] + len(table))
            labels[part] = table["label"]
            activations[part] = matrix(table["activations"])
            ids += table["image_id"].chunks
            starts.append(part.stop)
            set_aside += found
            agreeing += pc.sum(pc.equal(table["predicted"], table["label"])).as_py() or 0
            tells_contents = tells_contents and "content" in table.column_names
        rows = starts[-1]
        return _Numbers(
            ids=pa.chunked_array(ids, pa.string()),
            labels=labels[:rows],
            activations=activations[:rows],
            starts=starts,
            set_aside=set_aside,
            agreeing=agreeing,
            tells_contents=tells_contents,
        )

    def _write_images(self, target: Path, starts: list[int], scores: Scores) -> None:
        """Write the configs ``masks`` and ``embeddings``."""
        masks = partial(self._mask_columns, starts=starts, scores=scores)
        self.shards.write(target, "masks", self._masks_schema, masks)
        if self.keep_embeddings:
            self.shards.write(target, EMBEDDINGS, self._embeddings_schema, self._embedding_columns)

    @cached_property
    def _masks_schema(self) -> pa.Schema:
        return parquet_schema(
            mask_features(self.shards.names, self.shards.votes.features_per_class)
        )

    @cached_property
    def _embeddings_schema(self) -> pa.Schema:
        return parquet_schema(embedding_features(self.head_weight.shape[1]))

    def _mask_columns(self, shard: int, starts: list[int], scores: Scores) -> pa.Table:
        """Return a shard's rows as they are published."""
        rows, _ = self.shards.read(shard)
        part = slice(*starts[shard : shard + 2])
        ranks = scores.spuriosity_ranks[part]
        spuriosity = scores.spuriosity[part]
        constants = {"grid_height": self.grid_height, "grid_width": self.grid_width}
        columns = {
            **self.shards.masks(rows),
            "activation_ranks": fixed_lists(scores.activation_ranks[part]),
            "spuriosity": pa.array(spuriosity, mask=np.isnan(spuriosity)),
            "spuriosity_rank": pa.array(ranks, mask=ranks == NO_RANK),
            **{name: pa.repeat(value, len(rows)) for name, value in constants.items()},
        }
        schema = self._masks_schema
        return pa.table({name: columns[name] for name in schema.names}).cast(schema)

    def _embedding_columns(self, shard: int) -> pa.Table:
        rows, _ = self.shards.read(shard, ["image_id", "embedding"])
        return rows.cast(self._embeddings_schema)

    def _write_rankings(
        self,
        target: Path,
        ids: pa.ChunkedArray,
        labels: npt.NDArray[np.int32],
        scores: Scores,
    ) -> None:
        ranked = np.flatnonzero(scores.spuriosity_ranks != NO_RANK)
        order = ranked[np.lexsort((scores.spuriosity_ranks[ranked], labels[ranked]))]
        columns = {
            "label": labels[order],
            "spuriosity_rank": scores.spuriosity_ranks[order],
            "image_id": ids.take(pa.array(order)),
            "spuriosity": scores.spuriosity[order],
        }
        self._write_single(target, "rankings", columns, ranking_features(self.shards.names))

    def _write_pairs(self, target: Path, scores: Scores) -> None:
        """Write the config ``features``: what one needs to score a new image."""
        pairs = self.shards.votes.pairs
        fields = asdict(pairs[0]).keys()
        positions = [(pair.label, pair.rank - 1) for pair in pairs]
        means = np.array([scores.means[position] for position in positions])
        stds = np.array([scores.stds[position] for position in positions])
        columns = {
            **{field: [getattr(pair, field) for pair in pairs] for field in fields},
            "name": [self.shards.names[pair.label] for pair in pairs],
            "kind": [pair.kind for pair in pairs],
            "sub_kind": [pair.sub_kind for pair in pairs],
            "weight": [self.head_weight[pair.label, pair.feature] for pair in pairs],
            "activation_mean": pa.array(means, mask=np.isnan(means)),
            "activation_std": pa.array(stds, mask=np.isnan(stds)),
        }
        features = pair_features(self.shards.names, are_validated=self.shards.votes.are_validated)
        self._write_single(target, "features", columns, features)

    def _write_contents(self, target: Path) -> None:
        """Write the config ``contents``: by what the file of each image is known again."""
        schema = parquet_schema(content_features())
        tables = (
            self.shards.read(shard, schema.names)[0] for shard in range(self.shards.plan.shards)
        )
        write_parquet(
            target / file_name(CONTENTS, self.shards.plan.split),
            schema,
            (table.select(schema.names).cast(schema) for table in tables),
        )

    def _write_single(
        self, target: Path, config: str, columns: dict[str, Any], features: Features
    ) -> None:
        schema = parquet_schema(features)
        table = pa.table({name: columns[name] for name in features}).cast(schema)
        write_parquet(target / file_name(config, self.shards.plan.split), schema, [table])

    def _counts(
        self,
        target: Path,
        labels: npt.NDArray[np.int32],
        agreeing: int,
        scores: Scores,
        set_aside: list[SetAside],
    ) -> Counts:
        present, images = np.unique(labels, return_counts=True)
        reasons = Counter(image.reason for image in set_aside)
        given = self.shards.plan.images
        if given != len(labels) + len(set_aside):
            raise AssertionError(
                f"{given} images in, {len(labels)} out, {len(set_aside)} set aside"
            )
        return Counts(
            images=given,
            rows=len(labels),
            set_aside=dict(sorted(reasons.items())),
            classes=len(present),
            masks=len(labels) * self.shards.votes.features_per_class,
            core_masks=int((~self.shards.votes.spurious)[labels].sum()),
            spurious_masks=int(self.shards.votes.spurious[labels].sum()),
            ranked_classes=int(self.shards.votes.spurious[present].any(axis=1).sum()),
            ranked_rows=int((scores.spuriosity_ranks != NO_RANK).sum()),
            grid_bytes=column_bytes((target / "masks").iterdir(), "grids"),
            images_by_label=dict(zip(map(str, present.tolist()), images.tolist(), strict=True)),
            masks_bytes=sum(path.stat().st_size for path in (target / "masks").iterdir()),
            predicted_as_labelled=agreeing,
        )


def _write_set_aside(target: Path, published: Path, split: str, set_aside: list[SetAside]) -> None:
    rows = [{"split": split, **asdict(image)} for image in set_aside]
    if (published / SET_ASIDE_FILE).exists():
        others = read_parquet(published / SET_ASIDE_FILE).to_pylist()
        rows += [row for row in others if row["split"] != split]
    if rows:
        rows.sort(key=lambda row: (row["split"], row["path"]))
        table = pa.Table.from_pylist(rows, SET_ASIDE_SCHEMA)
        write_parquet(target / SET_ASIDE_FILE, SET_ASIDE_SCHEMA, [table])
