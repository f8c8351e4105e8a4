from __future__ import annotations

import io

import pytest
from rich.table import Table

from builder.reporter import ConsoleReporter, Reporter, Screen, SilentReporter


def on_console(*, terminal: bool) -> tuple[Reporter, io.StringIO]:
    file = io.StringIO()
    return ConsoleReporter(Screen(file=file, force_terminal=terminal, width=120)), file


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


HOSTILE = "a\x1b[2J\x1b]0;title\x07\r\x9bb\u202e\u2028c\udcff"
SHOWN = r"a\x1b[2J\x1b]0;title\x07\r\x9bb\u202e\u2028c\udcff"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_obeys_no_name(terminal: bool) -> None:
    reporter, file = on_console(terminal=terminal)
    reporter.say(f"{HOSTILE}\nand so on")
    assert file.getvalue() == f"{SHOWN}\\nand so on\n"


def test_nor_one_in_a_table_or_beside_a_bar() -> None:
    file = io.StringIO()
    screen = Screen(file=file, force_terminal=True, width=120)
    table = Table(title=f"[/markup] {HOSTILE}", show_header=False)
    table.add_row(f"[bold] {HOSTILE}", ":smile:")
    screen.print(table)
    with ConsoleReporter(screen).track(f"[/markup] {HOSTILE}", total=2) as advance:
        advance(1)
    said = file.getvalue()
    assert said.count(r"a\x1b[2J\x1b]0;title") >= 3
    assert "[/markup]" in said
    assert "[bold]" in said
    assert ":smile:" in said
    for character in ("\x1b[2J", "\x07", "\x9b", "\u202e", "\u2028", "\udcff"):
        assert character not in said


def test_no_password_is_shown() -> None:
    reporter, file = on_console(terminal=False)
    reporter.say("s3://KEY:SEC/RET@bucket/name")
    with reporter.track("reading sftp://me:SECRET@host/name") as advance:
        advance(1)
    assert file.getvalue().startswith("s3://...@bucket/name\nreading sftp://...@host/name: 1,")


@pytest.mark.parametrize("terminal", [False, True])
def test_each_sign_of_progress_is_a_moment_to_stop(terminal: bool) -> None:
    asked = []
    file = io.StringIO()
    screen = Screen(file=file, force_terminal=terminal)
    reporter = ConsoleReporter(screen, lambda: asked.append(True))
    reporter.say("a line")
    with reporter.track("images", total=4) as advance:
        advance(1)
        advance(1)
    assert len(asked) >= 3


def test_a_silent_reporter_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    reporter: Reporter = SilentReporter()
    reporter.say("a line")
    with reporter.track("images", total=4) as advance:
        advance(4)
    assert capfd.readouterr() == ("", "")
