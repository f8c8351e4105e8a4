"""The loader at the size of ImageNet: time to the first example, memory, look-ups, rows per second.

    python -m tests.benchmarks.loader_scale [--rows 1281167] [--directory DIR]

Makes a synthetic build (a minute, 400 MB) in DIR, or in a temporary directory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

import salient_imagenet_1m as si
from builder.dataset.format import mask_features, pair_features, parquet_schema

CLASSES, SHARDS = 1000, 64
NUMBERS = ["image_id", "label", "features", "activations", "peaks", "grids", "spuriosity"]


def wnid(label: int) -> str:
    return f"n{1000000 + label * 137:08d}"


def write_build(target: Path, rows: int) -> None:
    """Write a build of random rows in random order, with no pictures."""
    rng = np.random.default_rng(0)
    names = [f"class {label}" for label in range(CLASSES)]
    schema = parquet_schema(mask_features(names, 5))
    order = rng.permutation(rows)
    spurious = rng.random((CLASSES, 5)) < 0.126
    (target / "masks").mkdir(parents=True)
    (target / "features").mkdir()
    for shard, part in enumerate(np.array_split(order, SHARDS)):
        count, labels = len(part), part % CLASSES
        numbers = part // CLASSES * 7 + 1
        kinds = np.where(spurious[labels], "spurious", "core")
        ranked = spurious[labels].any(axis=1)
        columns: dict[str, Any] = {
            "image_id": [f"{wnid(a)}_{b}" for a, b in zip(labels, numbers, strict=True)],
            "label": labels,
            "width": rng.integers(100, 600, count),
            "height": rng.integers(100, 600, count),
            "features": lists(rng.integers(0, 2048, (count, 5))),
            "kinds": lists(kinds),
            "activations": lists(rng.random((count, 5), np.float32)),
            "peaks": lists(rng.random((count, 5), np.float32)),
            "activation_ranks": lists(rng.integers(0, 1300, (count, 5))),
            "grids": [rng.bytes(245) for _ in range(count)],
            "grid_height": np.full(count, 7),
            "grid_width": np.full(count, 7),
            "core_mask": pa.nulls(count, schema.field("core_mask").type),
            "spurious_mask": pa.nulls(count, schema.field("spurious_mask").type),
            "spuriosity": pa.array(rng.random(count), mask=~ranked),
            "spuriosity_rank": pa.array(part // CLASSES, mask=~ranked),
            "predicted": labels,
        }
        name = target / "masks" / f"train-{shard:05d}-of-{SHARDS:05d}.parquet"
        table = pa.table(columns).cast(schema)
        pq.write_table(table, name, compression="zstd", row_group_size=2048)
    pairs = [
        {"label": label, "wnid": wnid(label), "name": names[label], "feature": position}
        for label in range(CLASSES)
        for position in range(5)
    ]
    table = pa.Table.from_pylist(pairs, parquet_schema(pair_features(names)))
    pq.write_table(table, target / "features" / "train-00000-of-00001.parquet")
    files = {p.relative_to(target).as_posix(): 0 for p in sorted(target.rglob("*.parquet"))}
    manifest = {"format_version": 1, "origin": {}, "splits": {"train": {}}, "files": files}
    (target / "manifest.json").write_text(json.dumps(manifest))


def lists(values: Any) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def write_some_images(build: Path, images: Path) -> None:
    """Write the images of the first rows, so that the first example is there."""
    table = pq.ParquetFile(build / "masks" / f"train-00000-of-{SHARDS:05d}.parquet")
    for row in next(table.iter_batches(64)).to_pylist():
        path = images / "train" / wnid(row["label"]) / f"{row['image_id']}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (row["width"], row["height"])).save(path)


FIRST = """
import sys, time
import torch  # a second of its own, and datasets would import it
import salient_imagenet_1m as si
build, images, cache = sys.argv[1:]
start = time.perf_counter()
stream = si.load(
    build, images=images, split="train", streaming=True, on_missing="skip", cache_dir=cache
)
example = next(iter(stream))
example["core_mask"].load()
print(time.perf_counter() - start)
"""
OPEN = """
import sys, time
import salient_imagenet_1m as si
build, images, cache = sys.argv[1:]
start = time.perf_counter()
records = si._Records(si.Build.open(build), "train", si._cache(cache))
records.take(records.find([records.ids[0]]))
print(time.perf_counter() - start)
"""
MEMORY = """
import re, sys
from pathlib import Path
import torch
import salient_imagenet_1m as si
build, images, cache = sys.argv[1:]

def private():
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(n) for n in re.findall(r"Private_\\w+:\\s+(\\d+)", text)) / 1024

class Rows(torch.utils.data.IterableDataset):
    def __init__(self, kind):
        self.kind = kind
        self.stream = si.load(build, "masks", split="train", streaming=True, cache_dir=cache)
        self.records = si._Records(si.Build.open(build), "train", si._cache(cache))
    def __iter__(self):
        start = private()
        if self.kind == "stream":
            for count, row in enumerate(self.stream):
                if count == 20000:
                    break
        else:
            names = self.records._table[:200000]["image_id"].to_pylist()[::10]
            for begin in range(0, len(names), 16):
                self.records.take(self.records.find(names[begin:begin + 16]))
        yield start, private()

for kind in ("stream", "join"):
    loader = torch.utils.data.DataLoader(Rows(kind), batch_size=None, num_workers=2)
    print(kind, *max((after, after - start) for start, after in loader))
"""


def run(program: str, *arguments: Path) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


def look_ups(build: Path, cache: Path) -> None:
    started = time.perf_counter()
    records = si._Records(si.Build.open(build), "train", si._cache(cache))
    print(f"look-up table, made once      {time.perf_counter() - started:9.1f} s")
    rng = np.random.default_rng(1)
    rows = rng.integers(0, len(records._table), 200_000)
    names = records.take(rows)["image_id"].to_pylist()
    started = time.perf_counter()
    assert (records.find(names) == rows).all()
    found = len(rows) / (time.perf_counter() - started)
    print(f"look-ups in batches           {found:9,.0f} /s   (goal 200,000)")
    started = time.perf_counter()
    for begin in range(0, len(rows), 16):
        records.take(rows[begin : begin + 16])
    taken = len(rows) / (time.perf_counter() - started)
    print(f"rows taken, 16 at a time      {taken:9,.0f} /s")


def stream_numbers(build: Path, rows: int) -> None:
    stream = si.load(build, "masks", split="train", streaming=True, columns=NUMBERS)
    started = time.perf_counter()
    count = sum(len(table) for table in stream.with_format("arrow").iter(1000))
    speed = count / (time.perf_counter() - started)
    assert count == rows
    print(f"masks in Arrow batches        {speed:9,.0f} rows/s   (goal 200,000)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.directory or Path(temporary)
        build, images, cache = root / "build", root / "images", root / "cache"
        if not build.exists():
            write_build(build, options.rows)
            write_some_images(build, images)
        look_ups(build, cache)
        firsts = [float(run(FIRST, build, images, cache)[-1]) for _ in range(3)]
        print(f"time to the first example     {min(firsts):9.2f} s   (goal 1)")
        opened = [float(run(OPEN, build, images, cache)[-1]) for _ in range(3)]
        print(f"opening the look-up table     {min(opened):9.2f} s")
        for line in run(MEMORY, build, images, cache):
            kind, private, growth = line.split()
            print(
                f"private memory of a worker    {float(private):9.0f} MB, of which "
                f"{float(growth):.0f} MB by its work ({kind}; goal 150)"
            )
        stream_numbers(build, options.rows)


if __name__ == "__main__":
    main()
