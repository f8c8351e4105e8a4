"""Batches through loader and network, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from builder.analysis import Analyser, Analysis
from builder.job import Job
from builder.loading import Batch, LoadedBatch, Loader

Result = TypeVar("Result")


def analyse(job: Job, batches: Sequence[Batch]) -> Iterator[Analysis]:
    """Load and analyse the batches of a job; see `process`."""
    loader = Loader(job.images, job.plan)
    analyser = Analyser(job.network, job.votes, job.plan)
    return process(batches, loader, analyser, job.workers)


def process(
    batches: Sequence[Batch],
    loader: Loader,
    work: Callable[[LoadedBatch], Result],
    workers: int,
) -> Iterator[Result]:
    """Load batches and work on them, and yield the results in the order of the batches.

    With worker processes, they load ahead while the network runs in this thread: right for a
    GPU. Without, there is a thread per CPU core, each of which loads a batch and then runs the
    network on it with one core: no core ever waits for another, which two cores sharing each
    layer do at every layer's end.

    Parameters
    ----------
    batches : sequence of Batch
    loader : Loader
    work : callable
        Runs the network; may be called from several threads.
    workers : int
        Processes that load ahead; 0 takes a thread per core instead.

    Yields
    ------
    whatever `work` returns
        One for each batch.
    """
    if workers:
        yield from map(work, _load_ahead(batches, loader, workers))
    else:
        yield from _thread_per_core(batches, loader, work)


def _thread_per_core(
    batches: Iterable[Batch], loader: Loader, work: Callable[[LoadedBatch], Result]
) -> Iterator[Result]:
    threads = torch.get_num_threads()
    remaining = iter(batches)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:

        def submit(batch: Batch) -> Future[Result]:
            return pool.submit(lambda: work(loader(batch)))

        pending = deque(submit(batch) for batch in islice(remaining, 2 * threads))
        try:
            while pending:
                yield pending.popleft().result()
                pending.extend(submit(batch) for batch in islice(remaining, 1))
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _LoadedBatches(Dataset[LoadedBatch]):
    batches: Sequence[Batch]
    loader: Loader

    def __getitem__(self, index: int) -> LoadedBatch:
        return self.loader(self.batches[index])

    def __len__(self) -> int:
        return len(self.batches)


def _load_ahead(batches: Sequence[Batch], loader: Loader, workers: int) -> Iterable[LoadedBatch]:
    return DataLoader(
        _LoadedBatches(batches, loader),
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context="fork",
    )
