from __future__ import annotations

import io

import pytest
from rich.console import Console

from builder.reporter import ConsoleReporter, Reporter, SilentReporter


def on_console(*, terminal: bool) -> tuple[Reporter, io.StringIO]:
    file = io.StringIO()
    return ConsoleReporter(Console(file=file, force_terminal=terminal, width=120)), file


@pytest.mark.parametrize("terminal", [False, True])
def test_a_line_is_said_as_it_is(terminal: bool) -> None:
    reporter, file = on_console(terminal=terminal)
    line = f"{'/long/path' * 30} [bold]and[/bold] :smile: 3"
    reporter.say(line)
    assert file.getvalue() == f"{line}\n"


def test_a_terminal_shows_progress() -> None:
    reporter, file = on_console(terminal=True)
    with reporter.track("images", total=4, done=1) as advance:
        advance(3)
    assert "images" in file.getvalue()
    assert "4/4" in file.getvalue()


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("builder.reporter.time.monotonic", lambda: now)
    reporter, file = on_console(terminal=False)
    with reporter.track("images", total=100, done=10) as advance:
        for _ in range(4):
            now += 10.0
            advance(20)
    assert file.getvalue().splitlines() == [
        "images: 70 of 100, 2.0/s, 15 s left",
        "images: 90, 2.0/s",
    ]


def test_a_silent_reporter_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    reporter: Reporter = SilentReporter()
    reporter.say("a line")
    with reporter.track("images", total=4) as advance:
        advance(4)
    assert capfd.readouterr() == ("", "")
