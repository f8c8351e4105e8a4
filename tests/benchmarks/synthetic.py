"""Synthetic shards of the real shape: grids of smooth noise, ids like ImageNet's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from builder.dataset.votes import Votes
from builder.images.plan import LARGEST_SHARD, Plan
from builder.network.analysis import Analysis
from builder.network.masks import Masks, make_masks
from builder.network.network import Output
from builder.shards.shard import shard_path, write_shard
from builder.stages import Stages
from tests.benchmarks.imagenet import CLASSES, FEATURES, GRID, WNIDS, bare_plan, make_votes

BLOCKS = 64
"""Different shards' worth of grids and masks; repeats are too far apart to compress well."""


def make_shards(base: Path, rows: int) -> None:
    """Write the shards that are not there yet."""
    plan, votes = bare_plan(rows), make_votes()
    missing = [n for n in range(plan.shards) if not shard_path(base, n).exists()]
    blocks: dict[int, Callable[[int, npt.NDArray[np.int64]], Analysis]] = {}
    for shard in missing:
        block = shard % BLOCKS
        if block not in blocks:
            blocks[block] = partial(analysis_of, *make_block(block, votes))
        images = plan.members(shard)
        analysis = blocks[block](shard, np.arange(len(images)))
        labels = block_labels(block)[: len(images)]
        ids = [f"{WNIDS[label]}_{n}" for label, n in zip(labels, images, strict=True)]
        part = Plan("train", np.arange(len(ids)), pa.array(ids), labels, [], LARGEST_SHARD)
        write_shard(shard_path(base, shard), part, [analysis], "", embeddings=False)


def block_labels(block: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(block).integers(0, CLASSES, LARGEST_SHARD)


def make_block(block: int, votes: Votes) -> tuple[Masks, npt.NDArray[np.int32]]:
    """Return the masks of smooth noise, and sizes, of a shard's images."""
    labels = block_labels(block)
    generator = torch.Generator().manual_seed(block)
    noise = torch.rand(len(labels), FEATURES, 3, 3, generator=generator)
    maps = torch.nn.functional.interpolate(noise, size=(GRID, GRID), mode="bicubic").clamp(min=0)
    maps = torch.where(maps < 0.4, 0, maps)
    features = np.tile(np.arange(FEATURES, dtype=np.int32), (len(labels), 1))
    output = Output(maps, maps.mean(dim=(2, 3)), torch.zeros(len(labels), 1))
    masks = make_masks(output, features, votes.spurious[labels])
    sizes = np.random.default_rng(block).integers(300, 500, (len(labels), 2)).astype(np.int32)
    return masks, sizes


def analysis_of(
    masks: Masks, sizes: npt.NDArray[np.int32], shard: int, members: npt.NDArray[np.int64]
) -> Analysis:
    """Return a shard's analysis: the block's masks with activations and peaks of its own."""
    count = len(members)
    numbers = np.random.default_rng([shard, 1]).random((2, count, FEATURES), np.float32)
    return Analysis(
        shard=shard,
        members=members,
        sizes=sizes[:count],
        activations=np.empty((count, 0), np.float32),
        predicted=np.random.default_rng([shard, 2]).integers(0, CLASSES, count),
        masks=Masks(
            numbers[0],
            8 * numbers[1],
            masks.grids[:count],
            masks.core[:count],
            masks.spurious[:count],
        ),
        set_aside=[],
        stages=Stages(),
    )
