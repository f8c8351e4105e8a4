"""A finished shard on disk: what the network said of its images, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from builder.images.content import Content
from builder.images.plan import Plan, SetAside
from builder.storage.files import atomic_write
from builder.storage.parquet import fixed_lists, read_parquet
from builder.storage.retry import retry
from salient_imagenet_1m import pack_grids

if TYPE_CHECKING:  # What only reads shards needs no PyTorch.
    from builder.network.analysis import Analysis
    from builder.network.masks import Masks

_FINGERPRINT = b"fingerprint"
_SET_ASIDE = b"set_aside"
_CONTENT_COLUMNS = ["bytes", "content", "stamp"]
"""Which shards of earlier releases lack."""


def shard_path(directory: Path, shard: int) -> Path:
    """Return where a shard lies in the working directory of a build."""
    return directory / "shards" / f"{shard:06d}.parquet"


def write_shard(
    path: Path,
    plan: Plan,
    analyses: list[Analysis],
    fingerprint: str,
    *,
    embeddings: bool,
    whole: bool = False,
) -> str:
    """Write a shard.

    Parameters
    ----------
    path : Path
        From `shard_path`.
    plan : Plan
    analyses : list of Analysis
        Of the shard's batches, in order.
    fingerprint : str
        Of all that the shard depends on.
    embeddings : bool
        Whether to keep the activations of all features, as float16.
    whole : bool
        Whether the masks are of whole images, whose grids have sizes of their own.

    Returns
    -------
    str
        The SHA-256 of the file, taken before it is written: what the disk does shows later.
    """
    set_aside = [image for analysis in analyses for image in analysis.set_aside]
    table = shard_table(plan, analyses, embeddings=embeddings, whole=whole).replace_schema_metadata(
        {
            _FINGERPRINT: fingerprint.encode(),
            _SET_ASIDE: json.dumps([dataclasses.astuple(image) for image in set_aside]),
        }
    )
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    content = buffer.getvalue().to_pybytes()

    def write() -> None:
        with atomic_write(path) as file:
            file.write(content)

    retry(write)
    return hashlib.sha256(content).hexdigest()


def shard_table(
    plan: Plan, analyses: list[Analysis], *, embeddings: bool, whole: bool = False
) -> pa.Table:
    """Return the rows of a shard; what finalising adds is not yet there."""
    return pa.concat_tables(
        [_table(plan, analysis, embeddings=embeddings, whole=whole) for analysis in analyses]
    )


def read_shard(path: Path, columns: list[str] | None = None) -> tuple[pa.Table, list[SetAside]]:
    """Read a shard: its rows, all columns or some, and the images that were set aside."""
    table = read_parquet(path, columns)
    return table.replace_schema_metadata(None), set_aside_in(table.schema)


def set_aside_in(schema: pa.Schema) -> list[SetAside]:
    """Return what a shard set aside, by the schema of its file."""
    return [SetAside(*fields) for fields in json.loads(schema.metadata[_SET_ASIDE])]


def contents_in(data: bytes) -> dict[str, Content]:
    """Return the contents of images that became rows of a shard, by id, from the shard's bytes."""
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        table = file.read(["image_id", *_CONTENT_COLUMNS])
    if "content" not in table.column_names:
        return {}
    columns = (table[name].to_pylist() for name in _CONTENT_COLUMNS)
    return dict(zip(table["image_id"].to_pylist(), map(Content, *columns), strict=True))


def _table(plan: Plan, analysis: Analysis, *, embeddings: bool, whole: bool) -> pa.Table:
    masks = analysis.masks
    columns = {
        "image_id": plan.ids.take(pa.array(analysis.members)),
        "label": pa.array(plan.labels[analysis.members], pa.int64()),
        "width": pa.array(analysis.sizes[:, 0]),
        "height": pa.array(analysis.sizes[:, 1]),
        "activations": fixed_lists(masks.activations),
        "peaks": fixed_lists(masks.peaks),
        "grids": pa.array([pack_grids(grids) for grids in masks.grids], pa.binary()),
        **(_cell_columns(masks) if whole else {}),
        "core_mask": pa.array(masks.core, pa.binary()),
        "spurious_mask": pa.array(masks.spurious, pa.binary()),
        "predicted": pa.array(analysis.predicted, pa.int64()),
        **_content_columns(analysis.contents),
    }
    if embeddings:
        columns["embedding"] = fixed_lists(analysis.activations.astype(np.float16))
    return pa.table(columns)


def _cell_columns(masks: Masks) -> dict[str, pa.Array]:
    heights, widths = (
        np.array([grids.shape[1:] for grids in masks.grids], np.int32).reshape(-1, 2).T
    )
    return {"grid_height": pa.array(heights), "grid_width": pa.array(widths)}


def _content_columns(contents: list[Content]) -> dict[str, pa.Array]:
    return {
        "bytes": pa.array([content.size for content in contents], pa.int64()),
        "content": pa.array([content.digest for content in contents], pa.string()),
        "stamp": pa.array([content.stamp for content in contents], pa.string()),
    }
