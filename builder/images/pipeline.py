"""Batches through loader and network, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

import torch

from builder.errors import BuildError
from builder.images.loader import Batch, LoadedBatch, Loader
from builder.images.loader_process import AHEAD, LoaderProcess
from builder.threads import Item, Result, in_threads

_FEEDERS = 2


def process(
    batches: Iterable[Batch],
    loader: Loader,
    work: Callable[[LoadedBatch], Result],
    workers: int,
    batch_size: int,
    *,
    on_cpu: bool,
) -> Iterator[Result]:
    """Load batches and work on them, and yield the results in the order of the batches.

    Two threads feed a GPU, which has the next batch while the results of the last are taken care
    of. On a CPU there is a thread per core, each of which runs the network with one core: no core
    ever waits for another, which two cores sharing each layer do at every layer's end, and the
    last bits do not depend on how many there are. Processes load ahead, or else each thread, of
    which there is one per core then, loads its batch itself.

    Parameters
    ----------
    batches : iterable of Batch
        Taken up as there is room, in the thread of the caller.
    loader : Loader
    work : callable
        Runs the network; may be called from several threads.
    workers : int
        Processes that load ahead; 0 has threads load.
    batch_size : int
        Images in a batch at most.
    on_cpu : bool
        Whether the network runs on the CPU.

    Yields
    ------
    whatever `work` returns
        One for each batch.

    Raises
    ------
    BuildError
        If a process that loads is lost, or there is no room for it.
    """
    if not workers:
        yield from on_each_core(batches, lambda batch: work(loader(batch)))
        return
    loaded = _load_ahead(batches, loader, workers, batch_size)
    if on_cpu:
        yield from on_each_core(loaded, work)
    else:
        yield from in_threads(loaded, work, _FEEDERS)


def on_each_core(items: Iterable[Item], work: Callable[[Item], Result]) -> Iterator[Result]:
    """Work on items in a thread per core, each of which computes on one: none waits for another.

    Parameters
    ----------
    items : iterable
        Taken up as there is room, in the thread of the caller.
    work : callable
        Called in several threads.

    Yields
    ------
    whatever `work` returns
        In the order of the items.
    """
    cores, use_one_core = torch.get_num_threads(), partial(torch.set_num_threads, 1)
    return in_threads(items, work, cores, use_one_core)


def _load_ahead(
    batches: Iterable[Batch], loader: Loader, workers: int, batch_size: int
) -> Iterator[LoadedBatch]:
    """Have processes load the batches, each in its turn, and yield them in their order."""
    processes = _start(loader, workers, batch_size)
    remaining = iter(batches)
    busy: deque[LoaderProcess] = deque()
    try:
        for process, batch in zip(AHEAD * processes, remaining, strict=False):
            process.give(batch)
            busy.append(process)
        while busy:
            process = busy.popleft()
            loaded = process.take()
            for batch in islice(remaining, 1):
                process.give(batch)
                busy.append(process)
            yield loaded
    finally:
        for process in processes:
            process.end()


def _start(loader: Loader, workers: int, batch_size: int) -> list[LoaderProcess]:
    try:
        return [LoaderProcess(loader, batch_size) for _ in range(workers)]
    except OSError as error:
        raise BuildError(
            f"There is no room for {workers} processes that load {batch_size} images at a time "
            f"({error.strerror}): use fewer --workers or a smaller --batch-size."
        ) from error
