"""The batches of a stream, shard by shard, and models at work on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch

from builder.images.pipeline import on_each_core
from builder.threads import Item, Result, in_threads


def batches_of_shards(
    stream: Any, shards: Iterable[int], size: int
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield shards' numbers and their examples, a batch at a time; an empty one ends each shard.

    Parameters
    ----------
    stream : datasets.IterableDataset
    shards : iterable of int
        Taken up as there is room.
    size : int
        Of a batch, which is of one shard.
    """
    for shard in shards:
        examples = iter(stream.shard(num_shards=stream.num_shards, index=shard))
        while batch := list(islice(examples, size)):
            yield shard, batch
        yield shard, []


def at_work(
    device: torch.device, batches: Iterable[Item], work: Callable[[Item], Result]
) -> Iterator[Result]:
    """Have models work on batches, and yield the results in order.

    Parameters
    ----------
    device : torch.device
        While a GPU computes, the thread of the caller loads; on a CPU each core takes batches.
    batches : iterable
        Taken up as there is room, in the thread of the caller.
    work : callable
        Called in other threads.
    """
    if device.type == "cpu":
        return on_each_core(batches, work)
    return in_threads(batches, work, 1)
