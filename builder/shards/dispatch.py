"""Hands out shards to workers that ask for them, whatever befalls these."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, cast

from builder.errors import BuildError, first_line
from builder.shards.work import Finished, Result

Message = Finished | Exception | None
"""What a worker says: a shard is done, something went wrong, or None, it has room for a shard."""

_PATIENCE_SECONDS = 60.0


class WorkerLostError(Exception):
    """A worker is gone, and so are the shards that it had begun."""


class Worker(Protocol):
    """A worker in another process, seen from here; `serve` is the other end."""

    def recv(self) -> Message:
        """Wait for what it says next.

        Raises
        ------
        WorkerLostError
        """

    def send(self, shard: int | None) -> None:
        """Answer one that has room: a shard, or None for finishing what it has begun."""

    def stop(self) -> None:
        """End it, whatever it does."""


@dataclass
class _Place:
    """Where there is a worker at any time, such as a GPU.

    Attributes
    ----------
    start : callable
        Starts a worker there.
    worker : Worker
    shards : set of int
        What the worker has begun.
    is_idle : bool
        Whether the worker waits for an answer.
    """

    start: Callable[[], Worker]
    worker: Worker
    shards: set[int] = field(default_factory=set)
    is_idle: bool = False


class Dispatcher(Generic[Result]):
    """Hands out shards to workers that ask for them; those of a worker that dies go to others.

    Parameters
    ----------
    starts : sequence of callable
        Each starts a worker, which may take any time until it asks, and another if that one dies.
    shards : iterable of int
        Taken up as workers have room for them.
    say : callable
        Tells the user what went wrong and was mended.
    """

    def __init__(
        self,
        starts: Sequence[Callable[[], Worker]],
        shards: Iterable[int],
        say: Callable[[str], None],
    ) -> None:
        self._starts, self._say = starts, say
        self._upcoming = iter(shards)
        self._returned: list[int] = []
        self._places: list[_Place] = []
        self._heard = SimpleQueue[tuple[_Place, Message]]()
        self._losses = 0
        self._is_over = False

    def results(self) -> Iterator[Result]:
        """Yield the result of each shard.

        Raises
        ------
        BuildError
            If workers keep dying before any of them finishes a shard, or one raised it.
        """
        try:
            for start in self._starts:
                self._places.append(_Place(start, start()))
                self._listen_to(self._places[-1])
            while self._returned or not self._is_over or self._are_any_begun:
                place, message = self._hear()
                match message:
                    case None:
                        self._answer(place)
                    case Finished():
                        place.shards.remove(message.shard)
                        self._losses = 0
                        yield cast(Result, message)
                    case WorkerLostError():
                        self._replace(place, message)
                    case _:
                        raise message
        finally:
            for place in self._places:
                place.worker.stop()

    @property
    def _are_any_begun(self) -> bool:
        return any(place.shards for place in self._places)

    def _listen_to(self, place: _Place) -> None:
        """Have all that is heard from a place, until it is lost, in one queue."""
        worker = place.worker

        def listen() -> None:
            message: Message = None
            while not isinstance(message, Exception):
                try:
                    message = worker.recv()
                except Exception as error:
                    message = error
                self._heard.put((place, message))

        threading.Thread(target=listen, daemon=True).start()

    def _hear(self) -> tuple[_Place, Message]:
        while True:
            try:
                return self._heard.get(timeout=_PATIENCE_SECONDS)
            except Empty:
                if not self._are_any_begun:
                    self._say("Still waiting for a worker to start.")

    def _answer(self, place: _Place) -> None:
        """Give a worker that has room the next shard, if there is one."""
        shard = self._returned.pop() if self._returned else next(self._upcoming, None)
        self._is_over = shard is None
        place.is_idle = shard is None and not place.shards
        if place.is_idle:
            return  # It may still get a shard of one that is lost.
        if shard is not None:
            place.shards.add(shard)
        place.worker.send(shard)

    def _replace(self, place: _Place, error: WorkerLostError) -> None:
        self._losses += 1
        if self._losses > 3 + 2 * len(self._places):
            raise BuildError(
                f"Workers die before they finish a shard (the last: {first_line(error)}): see that "
                "each has enough memory, and run the same command again."
            )
        self._say("A worker is lost; its shards go to others.")
        place.worker.stop()
        self._returned.extend(place.shards)
        place.shards.clear()
        place.is_idle = False
        place.worker = place.start()
        self._listen_to(place)
        for other in self._places:
            if other.is_idle:
                self._answer(other)
