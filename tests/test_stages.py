from __future__ import annotations

from contextlib import ExitStack

import pytest

from builder.stages import Occupancy, Stages


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("builder.stages.time.perf_counter", clock)
    return clock


def test_network_and_wait_add_up_to_all_time_of_all_places(clock: Clock) -> None:
    """Two places; three batches come and go: a 1 to 5, b 2 to 9, c 4 to 6 (which has to wait)."""
    stages = {name: Stages() for name in "abc"}
    occupancy = Occupancy(2)
    blocks = {name: ExitStack() for name in "abc"}
    for moment, name, comes in [
        *((1, "a", True), (2, "b", True), (4, "c", True)),
        *((5, "a", False), (6, "c", False), (9, "b", False)),
    ]:
        clock.now = 100.0 + moment
        if comes:
            blocks[name].enter_context(occupancy.occupied(stages[name]))
        else:
            blocks[name].close()
    total = Stages()
    for each in stages.values():
        total.add(each)
    # Of 2 x 9 seconds, idle are: both until 1, one from 1 to 2 and one from 6 to 9.
    assert total.seconds["wait"] == pytest.approx(2 + 1 + 3)
    assert total.seconds["network"] == pytest.approx(18 - 6)
    assert total.waited == pytest.approx(6 / 18)


@pytest.mark.parametrize(
    ("seconds", "limit"),
    [
        ({"network": 95.0, "wait": 5.0, "decode": 300.0}, "network"),
        ({"network": 50.0, "wait": 50.0, "decode": 300.0, "read": 20.0}, "decode"),
        ({"network": 50.0, "wait": 50.0, "decode": 30.0, "read": 200.0}, "read"),
        ({"network": 50.0, "wait": 50.0, "write": 70.0, "read": 20.0}, "write"),
        ({"network": 9.0, "wait": 1.0, "write": 1.0, "read": 0.5}, "network"),
    ],
)
def test_the_limit_is_what_the_network_waits_for(seconds: dict[str, float], limit: str) -> None:
    stages = Stages()
    stages.seconds |= seconds
    assert stages.limit == limit
