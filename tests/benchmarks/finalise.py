"""How long finalising takes at the size of ImageNet and beyond, and how much memory.

    python -m tests.benchmarks.finalise [--rows 14000000] [--keep DIR]

Makes synthetic shards of the real shape: 1,000 classes, five features each with votes like the
real ones, 7 x 7 grids of smooth noise, ids like ImageNet's, shards of 1,024. Plans and finalises
each in a fresh process, and prints time, peak memory and bytes. ``--keep`` leaves the shards in
DIR and takes those that an earlier run left there.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from builder.dataset.dataset import DataSet
from builder.dataset.manifest import Manifest
from builder.images.plan import make_plan
from builder.images.sources import NO_LABEL, FileStat, Unlisted
from builder.pages.pages import write_pages
from builder.pages.preview import write_preview
from tests.benchmarks.imagenet import (
    CLASSES,
    IMAGES,
    WNIDS,
    make_finaliser,
    make_manifest,
    make_votes,
)
from tests.benchmarks.memory import peak_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=IMAGES)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--step", choices=("plan", "finalise"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "plan":
        plan_once(options.rows)
    elif options.step == "finalise":
        finalise_once(options.keep, options.rows)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            run_all(options.keep or Path(temporary), options.rows)


def run_all(base: Path, rows: int) -> None:
    print(f"{rows:,} rows", flush=True)
    print(f"  nothing but the imports: {in_process('plan', base, 100)}")
    print(f"  planning:                {in_process('plan', base, rows)}", flush=True)
    # Here, so that what only plans or only finalises does without PyTorch.
    from tests.benchmarks.synthetic import make_shards  # noqa: PLC0415

    make_shards(base, rows)
    size = sum(path.stat().st_size for path in (base / "shards").iterdir())
    print(f"  shards:                  {size / 1e6:,.0f} MB", flush=True)
    print(f"  finalising:              {in_process('finalise', base, rows)}", flush=True)


def in_process(step: str, base: Path, rows: int) -> str:
    """Return what a step prints in a process of its own, and the peak of its resident memory."""
    printed, peak = peak_memory(
        __spec__.name, "--step", step, "--rows", str(rows), "--keep", str(base)
    )
    return f"{printed.strip()}, peak memory {peak:,.0f} MB"


@dataclass
class Listed:
    """Images that are only names, in folders per class."""

    paths: pa.StringArray
    wnids: pa.StringArray
    labels: npt.NDArray[np.int64]
    unlisted: Sequence[Unlisted] = ()

    def stat(self, index: int) -> FileStat:
        raise AssertionError("a plan looks at no image")

    def read(self, index: int) -> bytes:
        raise AssertionError("a plan reads no image")


def list_images(rows: int) -> Listed:
    """Return as many paths as ImageNet's, or more, made a class at a time."""
    numbers = np.random.default_rng(0).permutation(rows)
    paths, wnids = [], []
    for wnid, members in zip(WNIDS, np.array_split(numbers, CLASSES), strict=True):
        paths.append(pa.array([f"{wnid}/{wnid}_{number}.JPEG" for number in members], pa.string()))
        wnids.append(pa.array([wnid] * len(members), pa.string()))
    return Listed(pa.concat_arrays(paths), pa.concat_arrays(wnids), np.full(rows, NO_LABEL))


def plan_once(rows: int) -> None:
    images = list_images(rows)
    start = time.perf_counter()
    plan = make_plan(images, make_votes().labels, "train", 0, None, None)
    print(f"{time.perf_counter() - start:.1f} s, sha256 {plan.sha256[:8]}")
    assert len(plan.order) == rows


def finalise_once(base: Path, rows: int) -> None:
    with tempfile.TemporaryDirectory(dir=base) as directory:
        start = time.perf_counter()
        manifest, pages = finalise(base, Path(directory), rows)
        end = time.perf_counter()
    counts = manifest.splits["train"]["counts"]
    size = sum(file["bytes"] for file in manifest.files.values())
    digest = hashlib.sha256(manifest.as_bytes()).hexdigest()
    assert counts["rows"] == rows
    print(
        f"{end - start:.1f} s (of which pages {pages:.1f} s), {size / 1e6:,.0f} MB, "
        f"{counts['grid_bytes'] / counts['masks']:.1f} bytes per mask, sha256 {digest[:8]}"
    )


def finalise(base: Path, target: Path, rows: int) -> tuple[Manifest, float]:
    """Write the data set of the shards under `base`; return how long its pages took, too."""
    counts = make_finaliser(base, rows).write(target, base)
    start = time.perf_counter()
    manifest = make_manifest(counts)
    manifest.record(target)
    data = DataSet(manifest, target)
    manifest.record(target, [write_preview(data, "train", target)])
    write_pages(data, target)
    return manifest, time.perf_counter() - start


if __name__ == "__main__":
    main()
