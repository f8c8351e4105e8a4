"""Runs shards in another process than the one that takes note of what is done."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch

from builder.shards.work import Orders
from builder.storage.files import disk_errors_as_sentences


def serve(orders: Orders, connection: Connection[Any, Any]) -> None:
    """Open work and run shards for whoever is at the other end of a connection.

    Says None whenever there is room for another shard, and takes a shard for an answer, or None for
    finishing what is begun; says the result of each shard, or the error that ends it all.

    Parameters
    ----------
    orders : Orders
    connection : Connection
    """
    # The number of threads is each thread's own.
    torch.set_num_threads(orders.threads)
    try:
        work = orders.open()
        with disk_errors_as_sentences(orders.out):
            while True:
                for result in work.run(_asked_for(connection), lambda _images: None):
                    connection.send(result)
    except Exception as error:
        # The traceback stays in this process, but notes travel.
        error.add_note(traceback.format_exc())
        connection.send(error)


def _asked_for(connection: Connection[Any, Any]) -> Iterator[int]:
    """Yield shards from the other end, each asked for when there is room for it."""
    while True:
        connection.send(None)
        shard = connection.recv()
        if shard is None:
            return
        yield shard
