"""Ctrl-C stops every command that takes its time, whatever becomes of the first one."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.cli import main
from builder.cli.stopping import BEGINS_ANEW, GOES_ON
from builder.reporter import Reporter

COMMANDS = {
    "build": ("builder.run.build.build", "--images x --votes x --out OUT", GOES_ON),
    "build --task 0/2": ("builder.run.build.run_task", "--images x --votes x --out OUT", GOES_ON),
    "demo": ("builder.demo.demo.run_demo", "--out OUT", GOES_ON),
    "publish": ("builder.hub.publish.publish", "OUT org/name", GOES_ON),
    "discover": (
        "builder.annotate.discover.discover",
        "--images x --network small-convnet --out OUT",
        BEGINS_ANEW,
    ),
    "gallery": ("builder.pages.gallery.make_gallery", "OUT --images x", BEGINS_ANEW),
}

Work = Callable[..., object]


@pytest.fixture(params=COMMANDS)
def stopped(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[Work], None]:
    """Return what has each command do some work, and sees that it says that it was stopped."""
    name, options, said = COMMANDS[request.param]
    arguments = f"{request.param} {options}".replace("OUT", str(tmp_path / "out")).split()

    def run(work: Work) -> None:
        monkeypatch.setattr(name, work)
        monkeypatch.setattr("sys.argv", ["salient-imagenet", *arguments])
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(SystemExit) as caught:
            main()
        assert signal.getsignal(signal.SIGINT) == before
        assert caught.value.code == 130
        assert capsys.readouterr().err.splitlines()[-1] == said

    return run


def swallow() -> None:
    """Press Ctrl-C in a callback of a garbage collection."""
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_it_stops_at_once(stopped: Callable[[Work], None]) -> None:
    def work(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    stopped(work)


def test_it_stops_at_the_next_sign_of_progress(stopped: Callable[[Work], None]) -> None:
    def work(_settings: Any, second: Any, *others: Any) -> None:
        reporter: Reporter = next(each for each in (second, *others) if hasattr(each, "track"))
        with reporter.track("images", 3) as advance:
            advance(1)
            swallow()
            advance(1)
        pytest.fail("went on")

    stopped(work)


def test_it_does_not_end_as_if_nothing_had_been(stopped: Callable[[Work], None]) -> None:
    def work(*_: Any) -> SimpleNamespace:
        swallow()
        return SimpleNamespace(left=0)

    stopped(work)
