"""The command line of `publish`, as its user sees it."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from typer.testing import CliRunner

from builder.cli import main
from builder.cli.app import app
from tests.hub.conftest import NAME, TOKEN, contents
from tests.hub.server import Fault, Hub

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Return what runs the command and returns its status and what it said."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["salient-imagenet", "publish", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capfd.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return run


def test_published(hub: Hub, planted: Path, run: Run) -> None:
    status, out, err = run(planted, NAME, "--tag", "v1.0")
    assert status == 0
    assert hub.files(NAME, "v1.0") == contents(planted)
    assert not out
    lines = err.splitlines()
    assert f"Creating the repository {hub.url}/datasets/{NAME}" in lines
    count = len(contents(planted))
    size = sum(map(len, contents(planted).values())) / 1e6
    assert f"{count} of {count} files to upload ({size:,.1f} MB)" in lines
    assert lines[-1].startswith(f"Done. {hub.url}/datasets/{NAME} (v1.0, commit ")
    assert TOKEN not in err


def test_a_dry_run_lists_every_file(hub: Hub, planted: Path, run: Run) -> None:
    status, out, _ = run(planted, NAME, "--dry-run")
    assert status == 0
    assert "Nothing was sent" in out
    listed = dict(re.findall(r"upload . (\S+) +. +([\d,]+)", out))
    assert {name: int(size.replace(",", "")) for name, size in listed.items()} == {
        name: len(content) for name, content in contents(planted).items()
    }
    assert not hub.repos


def test_a_refusal_is_one_sentence(hub: Hub, planted: Path, run: Run) -> None:
    status, out, err = run(planted, "org/salient_imagenet_1m")
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1


def test_stopped_by_the_user_it_says_how_to_go_on(hub: Hub, planted: Path, run: Run) -> None:
    def interrupt() -> None:
        import _thread  # noqa: PLC0415

        _thread.interrupt_main()

    hub.faults.append(Fault("PUT", "/upload/", status=None, then=interrupt))
    status, _, err = run(planted, NAME)
    assert status == 130
    assert "Stopped. Run the same command again to go on" in err
    assert run(planted, NAME)[0] == 0
    assert hub.files(NAME) == contents(planted)
    assert set(hub.stored.values()) == {1}


def test_an_interrupt_that_a_callback_swallows_still_stops_it(
    hub: Hub, planted: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = HfApi.preupload_lfs_files

    def swallow(*arguments: Any, **options: Any) -> None:
        with suppress(KeyboardInterrupt):  # As a garbage collection's callback does.
            signal.raise_signal(signal.SIGINT)
        upload(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "preupload_lfs_files", swallow)
        status, _, err = run(planted, NAME)
    assert status == 130
    assert "Stopped. Run the same command again to go on" in err
    assert not hub.files(NAME)
    assert run(planted, NAME)[0] == 0
    assert hub.files(NAME) == contents(planted)


def test_no_upload_goes_on_after_the_command_has_returned(
    hub: Hub, planted: Path, run: Run
) -> None:
    """Though Ctrl-C is pressed again while the client waits for the files under way."""
    threads = set(threading.enumerate())
    pressed = threading.Event()

    def press_twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        pressed.set()

    def wait() -> None:
        pressed.wait()

    hub.faults.append(Fault("PUT", "/upload/", status=None, then=press_twice))
    hub.faults.append(Fault("PUT", "/upload/", status=None, then=wait, times=20))
    status, _, err = run(planted, NAME)
    assert status == 130
    assert err.count("Stopped. Run the same command again to go on") == 1
    requests = list(hub.requests)
    for thread in set(threading.enumerate()) - threads:
        if not thread.daemon:
            thread.join(1)  # It may have done all but end.
            assert not thread.is_alive()
    time.sleep(0.3)
    assert hub.requests == requests
    assert run(planted, NAME)[0] == 0
    assert hub.files(NAME) == contents(planted)


@pytest.mark.parametrize("token", ["hf_\u00e4", "hf_x y\x00", "hf_\u20ac"])
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_a_token_that_cannot_be_sent_is_a_sentence(
    hub: Hub,
    planted: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    dry_run: list[str],
) -> None:
    monkeypatch.setattr("builder.hub.publish.get_token", lambda: token)
    status, _, err = run(planted, NAME, *dry_run)
    assert status == 2
    assert err.splitlines()[-1] == (
        "Error: The token for the Hub has a character that no token has: run `hf auth login` "
        "again, or correct HF_TOKEN."
    )
    assert not hub.requests


def test_help_shows_examples() -> None:
    output = CliRunner().invoke(app, ["publish", "--help"]).output
    # As a shell reads it: a backslash at a line's end joins it to the next.
    text = " ".join(output.replace("\\", "").split())
    assert (
        "salient-imagenet publish ./salient-imagenet-1m ORG/salient-imagenet-1m --tag v1.0" in text
    )
    for option in ("--private", "--tag", "--dry-run", "--with-images"):
        assert option in text
