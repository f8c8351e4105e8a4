"""Batches through loader and network, in order, with bounded memory."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.util import Finalize

import torch
from torch.utils.data import DataLoader, Dataset

from builder.images.loader import Batch, LoadedBatch, Loader
from builder.threads import Result, in_threads

_FEEDERS = 2
_PREFETCH = 2


def process(
    batches: Iterable[Batch],
    loader: Loader,
    work: Callable[[LoadedBatch], Result],
    workers: int,
) -> Iterator[Result]:
    """Load batches and work on them, and yield the results in the order of the batches.

    With worker processes, these load ahead, and two threads feed the network: right for a GPU,
    which has the next batch while the results of the last are taken care of. Without, there is a
    thread per CPU core, each of which loads a batch and then runs the network on it with one core:
    no core ever waits for another, which two cores sharing each layer do at every layer's end.

    Parameters
    ----------
    batches : iterable of Batch
        Taken up as there is room, in the thread of the caller.
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
        yield from in_threads(_load_ahead(batches, loader, workers), work, _FEEDERS)
    else:
        cores = torch.get_num_threads()
        yield from in_threads(
            batches, lambda batch: work(loader(batch)), cores, partial(torch.set_num_threads, 1)
        )


@dataclass(frozen=True)
class _LoadedBatches(Dataset[LoadedBatch]):
    loader: Loader

    def __getitem__(self, batch: Batch) -> LoadedBatch:
        return self.loader(batch)


def _load_ahead(batches: Iterable[Batch], loader: Loader, workers: int) -> Iterable[LoadedBatch]:
    # At its exit Python waits for all that PyTorch, if it was interrupted, did not tell to end.
    Finalize(None, _kill_loaders, exitpriority=0)
    return DataLoader(
        _LoadedBatches(loader),
        batch_size=None,
        # The batches themselves serve as indices, so that they need not be known beforehand.
        sampler=batches,
        num_workers=workers,
        prefetch_factor=_PREFETCH,
        worker_init_fn=_leave_signals_to_the_parent,
        pin_memory=torch.cuda.is_available(),
        # Safe although PyTorch has run: a worker decodes, and runs none of its kernels.
        multiprocessing_context="fork",
    )


def _leave_signals_to_the_parent(_worker: int) -> None:
    # A cluster sends them to all processes at once, and the parent may want to finish its shards.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _kill_loaders() -> None:
    # Else PyTorch would take their end for a failure.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
