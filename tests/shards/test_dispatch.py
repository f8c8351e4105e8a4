from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue

import pytest

from builder.errors import BuildError
from builder.shards.dispatch import Dispatcher, Message, WorkerLostError
from builder.shards.work import Finished

Script = Callable[[int, int], Exception | None]


class Staff:
    """Hires workers that do as `script` says of their number and a shard."""

    def __init__(self, size: int, script: Script) -> None:
        self.size = size
        self.script = script
        self.hired: list[Hand] = []

    def hire(self) -> Hand:
        self.hired.append(Hand(len(self.hired), self.script))
        return self.hired[-1]


class Hand:
    """A worker that takes two shards at a time, if there are so many, and finishes them at once."""

    def __init__(self, number: int, script: Script) -> None:
        self.number, self.script = number, script
        self.shards: list[int] = []
        self.dismissed = threading.Event()
        self._answers = SimpleQueue[int | None]()
        self._words = self._work()

    def recv(self) -> Message:
        return next(self._words)

    def send(self, shard: int | None) -> None:
        self._answers.put(shard)

    def stop(self) -> None:
        self.dismissed.set()
        self._answers.put(None)  # Or who listens would wait for ever.

    def _work(self) -> Iterator[Message]:
        yield from self._do(-1)
        while True:
            begun: list[int] = []
            shard: int | None = 0
            while shard is not None and len(begun) < 2:
                yield None
                shard = self._answers.get()
                if self.dismissed.is_set():
                    raise WorkerLostError("dismissed")
                begun += [] if shard is None else [shard]
            for shard in begun:
                yield from self._do(shard)

    def _do(self, shard: int) -> Iterator[Message]:
        if shard >= 0:
            self.shards.append(shard)
        error = self.script(self.number, shard)
        if isinstance(error, WorkerLostError):
            raise error
        if error:
            yield error
        elif shard >= 0:
            yield Finished(shard=shard, images=1)


def results(staff: Staff, shards: int, said: list[str]) -> list[int]:
    dispatcher: Dispatcher[Finished] = Dispatcher(
        [staff.hire] * staff.size, range(shards), said.append
    )
    return sorted(result.shard for result in dispatcher.results())


def test_every_shard_is_run_once_and_all_take_part() -> None:
    everybody = threading.Barrier(3)

    def begin_together(number: int, shard: int) -> None:
        if len(staff.hired[number].shards) == 1:
            everybody.wait()

    staff = Staff(3, begin_together)
    assert results(staff, 20, []) == list(range(20))
    assert sorted(shard for hand in staff.hired for shard in hand.shards) == list(range(20))
    assert all(hand.shards and hand.dismissed.is_set() for hand in staff.hired)


def test_a_shard_is_taken_up_only_when_a_worker_has_room() -> None:
    """A slow worker holds no shard that another could run, nor do those who stop wait for many."""
    others_are_done = threading.Event()

    def wait_if_first(number: int, shard: int) -> None:
        if shard == 0:
            others_are_done.wait()

    staff = Staff(2, wait_if_first)
    done: list[int] = []
    dispatcher: Dispatcher[Finished] = Dispatcher([staff.hire] * 2, range(20), print)
    for result in dispatcher.results():
        done.append(result.shard)
        if len(done) >= 18:
            others_are_done.set()
    slow = next(hand for hand in staff.hired if 0 in hand.shards)
    assert len(slow.shards) <= 4
    assert sorted(done) == list(range(20))


def test_shards_of_a_worker_that_dies_go_to_others_and_it_is_replaced() -> None:
    staff = Staff(2, lambda number, shard: die_once() if shard == 4 else None)
    die_once = partial(next, iter([WorkerLostError()]), None)
    said: list[str] = []
    assert results(staff, 20, said) == list(range(20))
    assert len(staff.hired) == 3
    assert said == ["A worker is lost; its shards go to others."]
    assert sum(4 in hand.shards for hand in staff.hired) == 2


def test_a_worker_that_dies_last_leaves_its_shards_to_one_that_has_nothing_to_do() -> None:
    """Its replacement may wait for room for ever, as where a node of a cluster is gone."""
    others_are_done = threading.Event()

    def script(number: int, shard: int) -> WorkerLostError | None:
        if number == 2:
            staff.hired[2].dismissed.wait()
        if len(staff.hired) == 2 and shard == 0:
            others_are_done.wait()
            return WorkerLostError()
        return None

    staff = Staff(2, script)
    done: list[int] = []
    dispatcher: Dispatcher[Finished] = Dispatcher([staff.hire] * 2, range(8), print)
    for result in dispatcher.results():
        done.append(result.shard)
        if len(done) >= 6:
            others_are_done.set()
    assert sorted(done) == list(range(8))
    assert staff.hired[2].shards == []


def test_a_worker_that_dies_while_it_opens_is_replaced() -> None:
    staff = Staff(2, lambda number, shard: WorkerLostError() if number == 0 else None)
    assert results(staff, 5, []) == list(range(5))


def test_workers_that_all_die_are_a_sentence() -> None:
    staff = Staff(2, lambda number, shard: WorkerLostError("oom") if shard >= 0 else None)
    with pytest.raises(BuildError, match=r"Workers die before .* \(the last: oom\)"):
        results(staff, 5, [])
    assert all(hand.dismissed.is_set() for hand in staff.hired)


@pytest.mark.parametrize("where", [-1, 3])
def test_what_a_worker_raises_ends_the_run(where: int) -> None:
    error = BuildError("the network is on fire")
    staff = Staff(2, lambda number, shard: error if shard == where else None)
    with pytest.raises(BuildError, match="on fire"):
        results(staff, 5, [])
    assert all(hand.dismissed.is_set() for hand in staff.hired)


def test_what_a_worker_says_and_nobody_understands_ends_the_run() -> None:
    """It raises where it is received, as an exception does that cannot be unpickled."""

    class Babbler(Hand):
        def recv(self) -> Message:
            raise TypeError("__init__() missing 1 required argument")

    hand = Babbler(0, lambda number, shard: None)
    with pytest.raises(TypeError, match="missing 1 required"):
        results_of_one: Dispatcher[Finished] = Dispatcher([lambda: hand], range(5), print)
        list(results_of_one.results())
    assert hand.dismissed.is_set()


def test_no_shards_are_no_work() -> None:
    assert results(Staff(2, lambda number, shard: None), 0, []) == []
