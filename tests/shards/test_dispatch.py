from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from builder.errors import BuildError
from builder.network.importance import Importance
from builder.shards.dispatch import Dispatcher
from builder.shards.worker import ShardResult
from builder.stages import Stages

Outcome = ShardResult | BaseException


class DeadError(Exception):
    """The worker is gone."""


class Staff:
    """Hires workers that do as `script` says of their number and a shard."""

    def __init__(self, size: int, script: Callable[[int, int], BaseException | None]) -> None:
        self.size = size
        self.script = script
        self.hired: list[Hand] = []

    def start(self) -> Hand:
        self.hired.append(Hand(len(self.hired), self.script))
        return self.hired[-1]

    def cause(self, error: BaseException) -> BaseException | None:
        return None if isinstance(error, DeadError) else error


class Hand:
    """A worker that wants two shards at a time and finishes them at once."""

    def __init__(self, number: int, script: Callable[[int, int], BaseException | None]) -> None:
        self.number, self.script = number, script
        self.shards: list[int] = []
        self.dismissed = False
        self.opened = Future[int]()
        error = script(number, -1)
        if error:
            self.opened.set_exception(error)
        else:
            self.opened.set_result(2)

    def run(self, shard: int) -> Future[ShardResult]:
        future = Future[ShardResult]()
        self.shards.append(shard)
        error = self.script(self.number, shard)
        if error:
            future.set_exception(error)
        else:
            nothing = Importance.empty(1, 1).contribution()
            future.set_result(ShardResult(shard, "", nothing, 1, Stages()))
        return future

    def stop(self) -> None:
        self.dismissed = True


def results(staff: Staff, shards: int, said: list[str]) -> list[int]:
    dispatcher = Dispatcher(staff, range(shards), said.append)
    return sorted(result.shard for result in dispatcher.results())


def test_every_shard_is_run_once_and_all_take_part() -> None:
    staff = Staff(3, lambda number, shard: None)
    assert results(staff, 20, []) == list(range(20))
    assert sorted(shard for hand in staff.hired for shard in hand.shards) == list(range(20))
    assert all(hand.shards and hand.dismissed for hand in staff.hired)


def test_shards_of_a_worker_that_dies_go_to_others_and_it_is_replaced() -> None:
    staff = Staff(2, lambda number, shard: DeadError() if (number, shard) == (0, 4) else None)
    said: list[str] = []
    assert results(staff, 20, said) == list(range(20))
    assert len(staff.hired) == 3
    assert said == ["A worker is lost; its shards go to others."]


def test_a_worker_that_dies_while_it_opens_is_replaced() -> None:
    staff = Staff(2, lambda number, shard: DeadError() if number == 0 else None)
    assert results(staff, 5, []) == list(range(5))


def test_workers_that_all_die_are_a_sentence() -> None:
    staff = Staff(2, lambda number, shard: DeadError("oom") if shard >= 0 else None)
    with pytest.raises(BuildError, match=r"Workers die before .* \(the last: oom\)"):
        results(staff, 5, [])
    assert all(hand.dismissed for hand in staff.hired)


@pytest.mark.parametrize("where", [-1, 3])
def test_what_a_worker_raises_ends_the_run(where: int) -> None:
    error = BuildError("the network is on fire")
    staff = Staff(2, lambda number, shard: error if shard == where else None)
    with pytest.raises(BuildError, match="on fire"):
        results(staff, 5, [])
    assert all(hand.dismissed for hand in staff.hired)


def test_no_shards_are_no_work() -> None:
    assert results(Staff(2, lambda number, shard: None), 0, []) == []
