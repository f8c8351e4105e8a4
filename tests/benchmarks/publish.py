"""How much of a second version goes to the Hub, when one more image is set aside.

    python -m tests.benchmarks.publish [--rows 1281167] [--keep DIR]

Makes synthetic shards of the real shape, finalises them, then again without one image, and prints
the bytes that change hands over the bytes of the version: as whole files, which the Hub asks for of
clients without hf_xet, and as chunks, by hf_xet itself with a store in a directory. The image is
found broken when it is read, or it is not in the listing in the first place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import hf_xet
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from builder.images.plan import LARGEST_SHARD, SetAside
from builder.shards.shard import read_shard, shard_path
from builder.storage.files import sha256_of
from tests.benchmarks.imagenet import (
    IMAGES,
    bare_plan,
    make_finaliser,
    make_votes,
)
from tests.benchmarks.synthetic import make_shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=IMAGES)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(options.keep or Path(temporary), options.rows)


def run(base: Path, rows: int) -> None:
    if not (base / "shards").exists():
        make_shards(base, rows)
        shuffle(base, rows)
    first = finalise(base, base / "first", rows)
    total = sum(path.stat().st_size for path in parquet_files(first))
    print(f"{rows:,} images, {total / 1e6:,.0f} MB; sent of a version without one of them:")
    for what, spurious in (("with no spurious feature", False), ("with spurious features", True)):
        report(f"found broken, of a class {what}", base, broken(base, rows, spurious), rows)
    report("not listed", base, unlisted(base, rows, spurious=True), rows - 1)


def shuffle(base: Path, rows: int) -> None:
    """Put the rows of each shard in another order: some shards have the same grids in the same."""
    for shard in range(bare_plan(rows).shards):
        table, _ = read_shard(shard_path(base, shard))
        order = np.random.default_rng([shard, 3]).permutation(len(table))
        write(base, shard, table.take(pa.array(order)), [])


def report(what: str, base: Path, shards: Path, rows: int) -> None:
    """Print what of a second version would be sent."""
    second = finalise(shards, base / "second", rows)
    before = {sha256_of(path) for path in parquet_files(base / "first")}
    sizes = {path: path.stat().st_size for path in parquet_files(second)}
    whole = sum(size for path, size in sizes.items() if sha256_of(path) not in before)
    chunks = new_bytes(base / "chunks", base / "first", second)
    total = sum(sizes.values())
    print(
        f"  {what}: {whole / total:.3f} as whole files, {chunks / total:.3f} as chunks", flush=True
    )
    for column, size in changed_columns(base / "first", second):
        print(f"    column {column}: {size / total:.3f} of all bytes changed", flush=True)


def finalise(base: Path, target: Path, rows: int) -> Path:
    """Write a version; return its directory."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    make_finaliser(base, rows).write(target, target)
    return target


def victim(base: Path, rows: int, *, spurious: bool) -> tuple[int, int]:
    """Return the shard and row of an image in the middle, of a class with such features or not."""
    labels = np.asarray(make_votes().spurious.any(axis=1))
    shard = bare_plan(rows).shards // 2
    table, _ = read_shard(shard_path(base, shard), ["label"])
    return shard, int(np.flatnonzero(labels[table["label"].to_numpy()] == spurious)[0])


def broken(base: Path, rows: int, spurious: bool) -> Path:
    """Return shards like those, but for one image that was set aside when it was read."""
    shard, row = victim(base, rows, spurious=spurious)
    copy = link(base, base / "broken")
    table, _ = read_shard(shard_path(base, shard))
    image = SetAside(table["image_id"][row].as_py(), "broken.JPEG", "truncated", "")
    write(copy, shard, without(table, row), [image])
    return copy


def unlisted(base: Path, rows: int, *, spurious: bool) -> Path:
    """Return shards as they are where an image was never there: all after it move up."""
    shard, row = victim(base, rows, spurious=spurious)
    copy = link(base, base / "unlisted")
    rest = [read_shard(shard_path(base, n))[0] for n in range(shard, bare_plan(rows).shards)]
    table = without(pa.concat_tables(rest), row)
    for n, start in enumerate(range(0, len(table), LARGEST_SHARD)):
        write(copy, shard + n, table.slice(start, LARGEST_SHARD), [])
    return copy


def link(base: Path, copy: Path) -> Path:
    shutil.rmtree(copy, ignore_errors=True)
    (copy / "shards").mkdir(parents=True)
    for path in (base / "shards").iterdir():
        (copy / "shards" / path.name).hardlink_to(path)
    return copy


def without(table: pa.Table, row: int) -> pa.Table:
    return pa.concat_tables([table.slice(0, row), table.slice(row + 1)])


def write(base: Path, shard: int, rows: pa.Table, set_aside: list[SetAside]) -> None:
    noted = json.dumps([astuple(image) for image in set_aside])
    path = shard_path(base, shard)
    path.unlink(missing_ok=True)
    pq.write_table(rows.replace_schema_metadata({"fingerprint": "", "set_aside": noted}), path)


def new_bytes(store: Path, first: Path, second: Path) -> int:
    """Return the bytes of chunks that the Hub's store does not have from the first version."""
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir()
    return [send(store, version) for version in (first, second)][1]


def send(store: Path, version: Path) -> int:
    with hf_xet.XetSession().new_upload_commit(endpoint=f"local://{store}") as commit:
        sent = [
            commit.start_upload_file(str(path), sha256=hf_xet.COMPUTE_SHA256)
            for path in parquet_files(version)
        ]
    return sum(file.result().dedup_metrics.new_bytes for file in sent)


def changed_columns(first: Path, second: Path) -> list[tuple[str, int]]:
    """Return the columns with most bytes in column chunks that the first version does not have."""
    before = {digest for _, digest, _ in column_chunks(first)}
    changed: Counter[str] = Counter()
    for column, digest, size in column_chunks(second):
        changed[column] += size * (digest not in before)
    return changed.most_common(4)


def column_chunks(directory: Path) -> Iterator[tuple[str, bytes, int]]:
    """Yield name, hash and bytes of each column of each row group."""
    for path in parquet_files(directory):
        metadata, content = pq.read_metadata(path), path.read_bytes()
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for chunk in map(group.column, range(group.num_columns)):
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                data = content[start : start + chunk.total_compressed_size]
                name = f"{path.parent.name}.{chunk.path_in_schema}"
                yield name, hashlib.sha256(data).digest(), len(data)


def parquet_files(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*.parquet"))


if __name__ == "__main__":
    main()
