from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from builder.shards.stop import Interrupts, Stop


def test_sigterm_ends_the_shards_after_the_one_under_way() -> None:
    stop = Stop()
    before = signal.getsignal(signal.SIGTERM)
    with stop.on_signal():
        shards = stop.until_asked(range(5))
        assert [next(shards), next(shards)] == [0, 1]
        os.kill(os.getpid(), signal.SIGTERM)
        assert list(shards) == []
    assert stop.is_asked
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_sigterm_ends_the_run() -> None:
    with Stop().on_signal(), pytest.raises(SystemExit) as caught:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143


def test_an_interrupt_that_was_swallowed_is_remembered() -> None:
    interrupts = Interrupts()
    interrupts.check()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupts.on_signal():
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signal.SIGINT) == before
