"""The order of images."""

from __future__ import annotations

import pytest

from builder.mitigate.order import Order, seed_of


@pytest.mark.parametrize(
    ("processes", "accumulate", "batch_size"), [(1, 2, 4), (2, 2, 2), (4, 1, 2)]
)
def test_steps_have_the_same_images_however_they_are_shared(
    processes: int, accumulate: int, batch_size: int
) -> None:
    alone = list(Order(35, 8, seed=3).batches(2))
    orders = [Order(35, batch_size, accumulate, processes, own, 3) for own in range(processes)]
    parts = [list(order.batches(2)) for order in orders]
    assert {order.step for order in orders} == {8}
    for step, batch in enumerate(alone):
        own = slice(step * accumulate, (step + 1) * accumulate)
        shared = [place for part in parts for one in part[own] for place in one]
        assert sorted(shared) == sorted(batch)
    assert [len(part) for part in parts] == [4 * accumulate] * processes


def test_an_epoch_has_each_image_once_but_for_the_rest() -> None:
    order = Order(35, 8)
    places = [place for batch in order.batches(0) for place in batch]
    assert len(places) == len(set(places)) == order.used == 32
    assert {place.epoch for place in places} == {0}


def test_epochs_and_seeds_differ_and_an_epoch_goes_on() -> None:
    order = Order(35, 8)
    first = list(order.batches(0))
    assert first == list(order.batches(0))
    assert list(order.batches(0, 2)) == first[2:]
    positions = {
        tuple(place.position for b in o.batches(e) for place in b)
        for o in (order, Order(35, 8, seed=1))
        for e in (0, 1)
    }
    assert len(positions) == 4


def test_a_seed_is_that_of_all_its_parts() -> None:
    assert len({seed_of(1, 2), seed_of(12), seed_of(2, 1), seed_of("1", "2", "")}) == 4
