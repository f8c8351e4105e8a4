"""Synthetic shards of the real shape: grids of smooth noise, ids like ImageNet's."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from builder.dataset.layout import order_keys
from builder.images.content import Content, digest_of
from builder.images.plan import LARGEST_SHARD, Plan
from builder.network.analysis import Analysis
from builder.network.masks import make_masks
from builder.network.network import Output
from builder.shards.shard import shard_path, write_shard
from builder.stages import Stages
from tests.benchmarks.imagenet import CLASSES, FEATURES, GRID, SEED, WNIDS, bare_plan, make_votes

BLOCKS = 64
"""Different shards' worth of maps; repeats are too far apart to compress well."""


def make_shards(base: Path, rows: int) -> None:
    """Write the shards that are not there yet; what they hold is as consistent as a build's."""
    plan, votes = bare_plan(rows), make_votes()
    missing = [n for n in range(plan.shards) if not shard_path(base, n).exists()]
    ids, labels = make_ids(rows) if missing else (pa.array([]), np.array([]))
    for shard in missing:
        members = plan.members(shard)
        part = Plan(
            "train",
            np.arange(len(members)),
            ids.take(pa.array(members)),
            labels[members],
            [],
            LARGEST_SHARD,
        )
        analysis = make_analysis(shard, votes.spurious[labels[members]])
        write_shard(shard_path(base, shard), part, [analysis], "", embeddings=False)


def make_ids(rows: int) -> tuple[pa.StringArray, npt.NDArray[np.int64]]:
    """Return image ids in the order of a build, and their labels."""
    labels = np.random.default_rng(0).integers(0, CLASSES, rows)
    ids = [f"{WNIDS[label]}_{number}" for number, label in enumerate(labels)]
    order = np.argsort(np.frombuffer(b"".join(order_keys(ids, SEED)), ">u8"))
    return pa.array(ids).take(pa.array(order)), labels[order]


def make_analysis(shard: int, spurious: npt.NDArray[np.bool_]) -> Analysis:
    """Return a shard's analysis: its block's maps, each as strong as the shard says."""
    count = len(spurious)
    generator = np.random.default_rng([shard, 1])
    strength = torch.from_numpy(generator.uniform(0.1, 8, (count, FEATURES, 1, 1)))
    maps = make_maps(shard % BLOCKS)[:count] * strength.float()
    features = np.tile(np.arange(FEATURES, dtype=np.int32), (count, 1))
    return Analysis(
        shard=shard,
        members=np.arange(count),
        sizes=generator.integers(300, 500, (count, 2)).astype(np.int32),
        activations=np.empty((count, 0), np.float32),
        predicted=generator.integers(0, CLASSES, count),
        masks=make_masks(Output(maps, maps.mean(dim=(2, 3)), maps), features, spurious),
        contents=make_contents(shard, count),
        set_aside=[],
        stages=Stages(),
    )


def make_contents(shard: int, count: int) -> list[Content]:
    """Return as many contents of files as ImageNet's are: no two alike."""
    sizes = np.random.default_rng([shard, 2]).integers(50_000, 200_000, count).tolist()
    digests = [digest_of(f"{shard} {number}".encode()) for number in range(count)]
    stamps = [f"{size} {shard * 10**15 + size}" for size in sizes]
    return list(map(Content, sizes, digests, stamps))


@cache
def make_maps(block: int) -> torch.Tensor:
    """Return the maps of a shard's images: smooth noise."""
    generator = torch.Generator().manual_seed(block)
    noise = torch.rand(LARGEST_SHARD, FEATURES, 3, 3, generator=generator)
    maps = torch.nn.functional.interpolate(noise, size=(GRID, GRID), mode="bicubic").clamp(min=0)
    return torch.where(maps < 0.4, 0, maps)
