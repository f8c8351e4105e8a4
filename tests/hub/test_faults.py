"""Whatever befalls a publication, in the end the repository is whole, and nothing went twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from builder.errors import BuildError
from builder.hub.publish import publish
from builder.settings.publication import Publication
from tests.conftest import World
from tests.hub.conftest import NAME, TOKEN, contents
from tests.hub.server import Fault, Hub
from tests.quiet import Quiet

ROOT = Path(__file__).parents[2]

CALLS = {
    "info": ("GET", rf"/api/datasets/{NAME}$"),
    "create": ("POST", r"/repos/create$"),
    "tree": ("GET", r"/tree/"),
    "refs": ("GET", r"/refs$"),
    "preupload": ("POST", r"/preupload/"),
    "batch": ("POST", r"/objects/batch$"),
    "upload": ("PUT", r"^/upload/"),
    "card": ("POST", r"/validate-yaml$"),
    "commit": ("POST", r"/commit/main$"),
    "tag": ("POST", r"/tag/"),
}


@pytest.fixture(autouse=True)
def verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the directory for what it says it is, which takes longer to see than all the rest."""
    monkeypatch.setattr("builder.hub.publish.checks", lambda *_: iter(()))


def check_whole(hub: Hub, directory: Path) -> None:
    """The repository and its tag are the directory, byte by byte; no file was kept twice."""
    assert hub.files(NAME) == contents(directory)
    assert hub.files(NAME, "v1.0") == contents(directory)
    assert set(hub.stored.values()) == {1}
    assert hub.stored.keys() == hub.large.keys()


def publish_it(directory: Path, reporter: Quiet) -> None:
    publish(Publication(directory, NAME, tag="v1.0"), reporter)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [500, 0])
def test_what_passes_is_waited_for(
    hub: Hub, planted: Path, reporter: Quiet, waits: list[float], call: str, status: int
) -> None:
    """An error of the server, or a connection that breaks in the middle of a body, twice."""
    hub.faults.append(Fault(*CALLS[call], status, times=2))
    publish_it(planted, reporter)
    check_whole(hub, planted)
    assert not hub.faults[0].times
    # One request twice, or two at a time once.
    assert sorted(waits) in ([1, 2], [1, 1])
    assert any("trying again in 1 s" in line or "retrying in 1s" in line for line in reporter.lines)


@pytest.mark.parametrize("call", ["create", "upload", "commit", "tag"])
def test_an_answer_that_is_lost_does_no_harm(
    hub: Hub, planted: Path, reporter: Quiet, call: str
) -> None:
    """The Hub did what it was asked for, and the connection broke before it could say so."""
    hub.faults.append(Fault(*CALLS[call], after=True))
    publish_it(planted, reporter)
    assert hub.files(NAME) == hub.files(NAME, "v1.0") == contents(planted)
    assert len(hub.repos[NAME].commits) == 2
    again = sum(hub.stored.values()) - len(hub.stored)
    assert again == (call == "upload")  # One file, of which the client cannot know that it is there


def test_a_file_that_breaks_off_is_sent_again_and_no_other(
    hub: Hub, planted: Path, reporter: Quiet
) -> None:
    hub.faults.append(Fault(*CALLS["upload"], skip=2))
    publish_it(planted, reporter)
    check_whole(hub, planted)
    sizes = {sha256: len(content) for sha256, content in hub.large.items()}
    more = {sha256: n - sizes[sha256] for sha256, n in hub.received.items() if n != sizes[sha256]}
    assert len(more) == 1
    assert all(extra == sizes[sha256] // 2 for sha256, extra in more.items())


@pytest.mark.parametrize("call", ["upload", "commit", "info", "tag"])
def test_a_hub_that_is_busy_says_how_long_to_wait(
    hub: Hub, planted: Path, reporter: Quiet, waits: list[float], call: str
) -> None:
    hub.faults.append(Fault(*CALLS[call], 429, {"Retry-After": "17"}, times=2))
    publish_it(planted, reporter)
    check_whole(hub, planted)
    assert len(waits) == 2
    assert all(17 <= seconds <= 18 for seconds in waits)
    assert any("17 s" in line or "18.0s" in line for line in reporter.lines)


def test_nobody_waits_for_hours(
    hub: Hub, planted: Path, reporter: Quiet, waits: list[float]
) -> None:
    hub.faults.append(Fault(*CALLS["commit"], 429, {"Retry-After": "86400"}))
    publish_it(planted, reporter)
    assert waits == [300]


@pytest.mark.parametrize("status", [409, 412])
def test_a_conflict_is_looked_at_again(
    hub: Hub, planted: Path, reporter: Quiet, status: int
) -> None:
    hub.faults.append(Fault(*CALLS["commit"], status, times=2))
    publish_it(planted, reporter)
    check_whole(hub, planted)
    assert f"changed by somebody else meanwhile ({status})" in " ".join(reporter.lines)


def test_a_commit_of_somebody_else_meanwhile_is_kept(
    hub: Hub, planted: Path, changed: Path, reporter: Quiet
) -> None:
    publish(Publication(changed, NAME), reporter)
    repo = hub.repos[NAME]

    def interfere() -> None:
        repo.add({**repo.tree, "LICENSE": repo.tree["README.md"]})

    hub.faults.append(Fault(*CALLS["card"], status=None, skip=1, then=interfere))
    publish_it(planted, reporter)
    files = hub.files(NAME)
    assert files.pop("LICENSE")
    assert files == contents(planted)
    assert set(hub.stored.values()) == {1}
    assert "changed by somebody else meanwhile (412)" in " ".join(reporter.lines)


@pytest.mark.parametrize("call", [call for call in CALLS if call != "upload"])
@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, r"The Hub does not accept the token \(401\)"),
        (403, r"may not write to .* \(403\)"),
        (413, r"The Hub refuses \(413\)"),
    ],
)
def test_a_refusal_is_a_sentence_at_once_and_can_be_mended(
    hub: Hub,
    planted: Path,
    reporter: Quiet,
    waits: list[float],
    call: str,
    status: int,
    sentence: str,
) -> None:
    hub.faults.append(Fault(*CALLS[call], status))
    with pytest.raises(BuildError, match=sentence) as caught:
        publish_it(planted, reporter)
    assert not waits
    assert TOKEN not in str(caught.value)
    publish_it(planted, reporter)
    check_whole(hub, planted)


@pytest.mark.parametrize("status", [403, 400])
def test_an_address_of_the_storage_that_expired_is_asked_for_again(
    hub: Hub, planted: Path, reporter: Quiet, status: int
) -> None:
    hub.faults.append(Fault(*CALLS["upload"], status))
    publish_it(planted, reporter)
    check_whole(hub, planted)
    assert f"The Hub's storage has a problem ({status})" in " ".join(reporter.lines)


def test_a_card_that_the_hub_does_not_take_is_said(
    hub: Hub, planted: Path, reporter: Quiet
) -> None:
    hub.complaint = "license must be one of ..."
    with pytest.raises(
        BuildError, match=r"The Hub does not take the card: .*license must be one of"
    ):
        publish_it(planted, reporter)
    assert not hub.large


def test_offline_mode_is_said_at_once(
    hub: Hub, planted: Path, reporter: Quiet, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()  # Which has looked at it already
    with pytest.raises(BuildError, match="HF_HUB_OFFLINE"):
        publish_it(planted, reporter)
    close_session()
    assert not waits


@pytest.mark.parametrize("status", [500, 0])
@pytest.mark.parametrize(("call", "skip"), [("info", 2), ("upload", 3), ("commit", 0)])
def test_a_hub_that_is_down_is_left_after_some_tries_and_later_gets_the_rest(
    hub: Hub, planted: Path, reporter: Quiet, waits: list[float], call: str, skip: int, status: int
) -> None:
    hub.faults.append(Fault(*CALLS[call], status, times=10_000, skip=skip))
    with pytest.raises(BuildError, match="6 times: what was uploaded is kept, run the same"):
        publish_it(planted, reporter)
    # Five at once, six times by the client, six times by us.
    assert len(waits) < 5 * 6 * 6
    hub.faults.clear()
    publish_it(planted, reporter)
    check_whole(hub, planted)


def command(hub: Hub, home: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own; each file of images is a commit of its own."""
    code = "import builder.hub.publish as p, builder.cli as c; p._COMMIT_BYTES = 1; c.main()"
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, "publish", *map(str, arguments)],
        env=environment,
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(Fault(*CALLS["upload"], skip=3), id="between files"),
        pytest.param(Fault(*CALLS["commit"], skip=1), id="between commits"),
        pytest.param(Fault(*CALLS["tag"]), id="before the tag"),
    ],
)
def test_killed_and_run_again_it_goes_on(
    hub: Hub, planted: Path, world: World, tmp_path: Path, moment: Fault, reporter: Quiet
) -> None:
    images = moment.path == CALLS["commit"][1]
    options = ["--private", "--with-images", world.root] if images else []
    process = command(hub, tmp_path, planted, NAME, "--tag", "v1.0", *options)
    hub.faults.append(moment)
    moment.then = process.kill
    assert process.wait(60) == -signal.SIGKILL
    moment.times = 0
    kept = dict(hub.stored)
    assert kept
    assert "v1.0" not in hub.repos[NAME].tags
    publish(
        Publication(planted, NAME, images, "v1.0", str(world.root) if images else None), reporter
    )
    assert set(hub.stored.values()) == {1}
    assert kept.items() <= hub.stored.items()
    files = hub.files(NAME, "v1.0")
    assert files == hub.files(NAME)
    if images:
        listed = json.loads(files["manifest.json"])["files"]
        assert {name: len(content) for name, content in files.items() if name in listed} == {
            name: entry["bytes"] for name, entry in listed.items()
        }
        files = {name: files[name] for name in files if not name.startswith("images/")}
        assert files.keys() == contents(planted).keys()
    else:
        assert files == contents(planted)
