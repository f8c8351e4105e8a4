from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from builder.threads import in_threads, usable_cores


def test_results_come_in_order_and_few_items_are_under_way() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield number

    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    for number, square in enumerate(in_threads(items(), work, threads=2)):
        assert square == number * number
        assert taken - number <= 4
    assert number == 49


def test_an_error_is_raised_where_its_result_would_come() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError(number)
        return number

    before = threading.active_count()
    results = in_threads(range(10), work, threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(results)
    assert threading.active_count() <= before


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 5, 7})
    assert usable_cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    assert usable_cores() == os.cpu_count()
