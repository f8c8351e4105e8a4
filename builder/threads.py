"""Work in threads, in order, with bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Return how many cores this process may use: in a slot of a cluster, fewer than there are."""
    # Not every system tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    threads: int,
    initializer: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """Work on items in threads, and yield the results in order; few items are under way."""
    remaining = iter(items)
    with ThreadPoolExecutor(threads, initializer=initializer) as pool:
        pending = deque(pool.submit(work, item) for item in islice(remaining, 2 * threads))
        try:
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(work, item) for item in islice(remaining, 1))
        finally:
            pool.shutdown(cancel_futures=True)
