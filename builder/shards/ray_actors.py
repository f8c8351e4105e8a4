"""Shards on a Ray cluster: an actor per GPU, or per CPU slot where there are none."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import Pipe

import ray
import torch
from ray.exceptions import RayError

from builder.errors import BuildError, first_line
from builder.shards.dispatch import Dispatcher, Message, WorkerLostError
from builder.shards.serve import serve
from builder.shards.work import Orders, Result, Work

_KNOCK_SECONDS = 10.0


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be part of a Ray cluster while the block lasts.

    Parameters
    ----------
    address : str, optional
        Of the cluster; by default that of the environment, else one on this machine alone is
        started and ended.

    Raises
    ------
    BuildError
        If there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _knock(address)
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        raise BuildError(
            f"No Ray cluster answers at {address or 'the default address'} ({first_line(error)}): "
            "check --address, `ray status` shows what runs."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """See that something answers, for which Ray would wait minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


class Actors:
    """Computes shards in actors of the Ray cluster that this process is connected to; see `Engine`.

    Parameters
    ----------
    device : str
        ``auto`` takes the GPUs of the cluster if it has any.
    say : callable
        Tells the user what went wrong and was mended.
    """

    def __init__(self, device: str, say: Callable[[str], None]) -> None:
        self._say = say
        resources = ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if device not in ("auto", "cpu", "cuda"):
            raise BuildError(f"Ray chooses devices itself: use --device cuda or cpu, not {device}.")
        if device == "auto":
            device = "cuda" if gpus else "cpu"
        self.device, self.runs_on = torch.device("cpu"), device
        self._size = gpus if device == "cuda" else cpus
        if not self._size:
            raise BuildError(f"The Ray cluster has no {device} to run on: check --device.")
        self._cpus = _cpus_beside_a_gpu() if device == "cuda" else 1

    def run(
        self, work: Work[Result], shards: Iterable[int], advance: Callable[[int], None]
    ) -> Iterator[Result]:
        """Compute shards; see `Engine`."""
        on_gpu = self.runs_on == "cuda"
        workers = min(work.workers, self._cpus) if on_gpu else 0
        orders = work.elsewhere(self.runs_on, self._cpus, workers)
        start = partial(_Actor, orders, num_cpus=self._cpus, num_gpus=int(on_gpu))
        dispatcher: Dispatcher[Result] = Dispatcher([start] * self._size, shards, self._say)
        for result in dispatcher.results():
            advance(result.images)
            yield result


def _cpus_beside_a_gpu() -> int:
    """Return how many CPUs each actor can have: CPUs of nodes without a GPU serve none."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    shares = [node.get("CPU", 0) // node["GPU"] for node in nodes if node.get("GPU")]
    return max(1, int(min(shares)))


class ShardServer:
    """Serves in a thread, and passes on what is said to and by it; the actor."""

    def __init__(self, orders: Orders) -> None:
        self._connection, other_end = Pipe()
        threading.Thread(target=serve, args=(orders, other_end), daemon=True).start()

    def recv(self) -> Message:
        """Wait for what is said next."""
        message: Message = self._connection.recv()
        return message

    def send(self, shard: int | None) -> None:
        """Answer."""
        self._connection.send(shard)


class _Actor:
    """A worker in an actor; see `Worker`."""

    def __init__(self, orders: Orders, **resources: int) -> None:
        # A lost actor is replaced by a new one, not restarted: where its node is gone for good, the
        # new one waits for room while others take over its shards; calls to a restarting one wait.
        options = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 2, **resources}
        self._actor = ray.remote(ShardServer).options(**options).remote(orders)

    def recv(self) -> Message:
        try:
            message: Message = ray.get(self._actor.recv.remote())
        except RayError as error:
            raise WorkerLostError(first_line(error)) from error
        return message

    def send(self, shard: int | None) -> None:
        self._actor.send.remote(shard)

    def stop(self) -> None:
        ray.kill(self._actor)
