"""Data sets on URLs: in memory, and in an object store by its own protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
from datasets import load_dataset

from builder.checks.verify import checks, verify
from builder.errors import BuildError
from builder.run.build import build
from builder.run.status import read_status
from builder.storage.files import atomic_write
from builder.storage.remote import (
    is_remote,
    parse_local,
    parse_location,
    parse_target,
    remote_errors_as_sentences,
)
from tests.built import hashes
from tests.conftest import World
from tests.forked import Command, run_command
from tests.killed import KilledError, build_all_but_the_end
from tests.quiet import Quiet
from tests.run.test_build import command


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """Serve S3's protocol on this machine, and return the URL of a bucket."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            patch.setenv(name, "us-east-1")
        parse_location("s3://bucket").mkdir()
        yield "s3://bucket"
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def home(request: pytest.FixtureRequest) -> Path:
    """Return a URL where nothing is."""
    store = "memory:/" if request.param == "memory" else request.getfixturevalue("object_store")
    return parse_location(f"{store}/{uuid4().hex}/a b")


def test_a_url_gets_the_bytes_of_a_directory_and_keeps_no_work(
    planted: Path, world: World, home: Path, reporter: Quiet
) -> None:
    build(world.settings(home), reporter)
    build(world.settings(home, split="validation"), reporter)
    assert hashes(home) == hashes(planted)
    assert [check for check in verify(home) if not check.passed] == []
    card = home / "README.md"
    card.write_bytes(card.read_bytes()[1:])
    failed = next(check.name for check in checks(home) if not check.passed)
    assert failed == "files are whole"


def test_a_finished_build_is_known_and_another_refused(
    world: World, home: Path, reporter: Quiet
) -> None:
    build(world.settings(home), reporter)
    before = hashes(home)
    assert build(world.settings(home), reporter).images == 0
    with pytest.raises(BuildError, match=rf"{home} holds another build: its seed is 0"):
        build(world.settings(home, seed=1), reporter)
    assert hashes(home) == before


def test_status_reads_a_url_while_others_build_there(
    world: World, home: Path, reporter: Quiet
) -> None:
    build_all_but_the_end(world.settings(home))
    (split,) = read_status(home).unfinished
    assert (split.split, split.shards, split.shards_done, split.rows_done) == ("train", 6, 6, 36)
    build(world.settings(home), reporter)
    status = read_status(home)
    assert (list(status.finished), status.unfinished) == (["train"], [])


def test_a_url_that_holds_something_else_is_refused(
    world: World, home: Path, reporter: Quiet
) -> None:
    with atomic_write(home / "thesis.tex") as file:
        file.write(b"mine")
    with pytest.raises(BuildError, match="is not empty and holds no build"):
        build(world.settings(home), reporter)


def test_killed_before_any_upload_it_resumes_to_the_same_bytes(
    world: World, home: Path, tmp_path: Path, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builder.storage.remote import put  # noqa: PLC0415

    build(world.settings(tmp_path / "out", limit=8, shard_size=4), reporter)
    undisturbed = hashes(tmp_path / "out")
    out = home / "out"
    left: list[Path] = []
    # A request takes its time: not before each of them.
    every = 1 if home.as_uri().startswith("memory") else 3
    uploads = 0
    one_at_a_time = Lock()  # What is copied must not be renamed meanwhile.

    def keep_and_put(source: Path, target: Path) -> None:
        nonlocal uploads
        with one_at_a_time:
            uploads += 1
            if uploads % every == 0:
                left.append(home / f"killed-{uploads}")
                copy(out, left[-1])
            put(source, target)

    with monkeypatch.context() as patch:
        for module in ("storage.files", "storage.remote"):
            patch.setattr(f"builder.{module}.put", keep_and_put)
        build(world.settings(out, limit=8, shard_size=4), reporter)
    for killed in (*left, out):
        assert (killed / "manifest.json").exists() == (killed == out)
        build(world.settings(killed, limit=8, shard_size=4), reporter)
        assert hashes(killed) == undisturbed
        assert not list(killed.glob(".build/*"))
    assert uploads > 2 + 3 + 3


def copy(directory: Path, target: Path) -> None:
    """Copy all that lies in a directory at a URL to another URL."""
    for path in directory.rglob("*"):
        if path.is_file():
            (target / path.relative_to(directory)).write_bytes(path.read_bytes())


def test_readers_see_the_old_file_until_the_new_one_is_whole(home: Path) -> None:
    path = home / "a.bin"
    for content in (b"old", b"new"):
        with atomic_write(path) as file:
            file.write(content)
            file.flush()
            assert not path.exists() or path.read_bytes() == b"old"
        assert path.read_bytes() == content
    with pytest.raises(KilledError), atomic_write(path) as file:
        file.write(b"half")
        raise KilledError
    assert {each.name: each.read_bytes() for each in home.iterdir()} == {"a.bin": b"new"}


def test_a_bucket_that_is_not_there_is_a_sentence_and_not_made(
    world: World, object_store: str, reporter: Quiet
) -> None:
    out = parse_location(f"{object_store}-other/out")
    with pytest.raises(BuildError) as caught:
        build(world.settings(out), reporter)
    assert str(caught.value) == (
        f"{out} cannot be read or written (FileNotFoundError: The specified bucket does not "
        "exist): check the address, its permissions and your credentials, and run the same "
        "command again, finished work is kept."
    )
    assert not parse_location(f"{object_store}-other").exists()


def test_a_url_that_may_not_be_written_is_a_sentence(
    world: World, object_store: str, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem  # noqa: PLC0415

    call = S3FileSystem._call_s3

    async def may_only_read(self: S3FileSystem, method: str, *args: Any, **options: Any) -> Any:
        if method == "put_object":
            raise PermissionError("Access Denied")
        return await call(self, method, *args, **options)

    monkeypatch.setattr(S3FileSystem, "_call_s3", may_only_read)
    with pytest.raises(BuildError, match=r"\(PermissionError: Access Denied\): check the address"):
        build(world.settings(parse_location(f"{object_store}/denied")), reporter)


def test_the_command_line_builds_to_an_object_store(
    planted: Path, world: World, object_store: str, tmp_path: Path
) -> None:
    url = f"{object_store}/by-command"
    said = run_command(command(world, url), tmp_path).stderr
    advice = re.findall(r"Done. Look: load_dataset\((.*)\)", said)[0]
    rows = eval(f"load_dataset({advice}, streaming=True)", {"load_dataset": load_dataset})
    assert sum(1 for _ in rows) == 36
    train = {
        name: digest for name, digest in hashes(parse_location(url)).items() if "train" in name
    }
    assert train
    assert train.items() <= hashes(planted).items()


def test_tasks_at_the_same_time_share_an_object_store(
    planted: Path, world: World, object_store: str, tmp_path: Path
) -> None:
    url = f"{object_store}/by-tasks"
    whole = command(world, url)
    tasks = [Command([*whole, "--task", f"{index}/2"], tmp_path) for index in range(2)]
    assert [task.wait() for task in tasks] == [0, 0]
    run_command([*whole, "--finalise-only"], tmp_path)
    train = {
        name: digest for name, digest in hashes(parse_location(url)).items() if "train" in name
    }
    assert train
    assert train.items() <= hashes(planted).items()


def test_two_builds_at_once_do_the_same_work_and_no_harm(
    planted: Path, world: World, object_store: str, tmp_path: Path
) -> None:
    url = f"{object_store}/twice"
    whole = command(world, url)
    builds = [Command(whole, tmp_path) for _ in range(2)]
    # The work of the slower one may be gone in the middle, removed by the other that needs no more.
    assert {each.wait() for each in builds} <= {0, 2}
    assert "Nothing to do" in run_command(whole, tmp_path).stderr
    assert not list(parse_location(url).glob(".build/*"))
    train = {
        name: digest for name, digest in hashes(parse_location(url)).items() if "train" in name
    }
    assert train
    assert train.items() <= hashes(planted).items()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nope://bucket/out", "nope://bucket/out cannot be opened"),
        ("oci://bucket/out", "oci://bucket/out needs a package that is not installed"),
    ],
)
def test_a_url_that_nothing_opens_is_a_sentence(
    world: World, tmp_path: Path, text: str, said: str
) -> None:
    refused = Command(command(world, text), tmp_path)
    assert refused.wait() == 2
    assert refused.stderr.startswith(f"Error: {said}")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["out", "./out", "/data/out", "file:///data/out", "C:\\out"])
def test_local_paths_are_local(text: str) -> None:
    assert isinstance(parse_location(text), Path)
    assert not is_remote(parse_location(text))
    assert parse_location(text) == Path(text.removeprefix("file://"))


@pytest.mark.parametrize("text", ["http://host/out", "https://host/out", "memory://out"])
def test_a_url_that_keeps_nothing_is_no_target(text: str) -> None:
    with pytest.raises(BuildError) as caught:
        parse_target(text)
    assert str(caught.value) == (
        f"Nothing that is written to {text} is kept: give --out a directory, or a URL of a store "
        "such as s3://bucket/name."
    )


def test_a_directory_and_a_store_are_targets(tmp_path: Path, object_store: str) -> None:
    assert parse_target(str(tmp_path)) == tmp_path
    assert parse_target(f"{object_store}/out") == parse_location(f"{object_store}/out")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "An empty name is no place: give a directory, or a URL."),
        ("out-\udcff", "out-\udcff is not written in UTF-8"),
        ("data:text/plain,otter", "data:text/plain,otter cannot be opened"),
    ],
)
def test_what_is_no_place_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(BuildError) as caught:
        parse_location(text)
    assert str(caught.value).startswith(said)


def test_what_is_made_here_takes_no_url(tmp_path: Path) -> None:
    assert parse_local(str(tmp_path)) == tmp_path
    with pytest.raises(BuildError, match="memory://out is a URL: give --out a path of this"):
        parse_local("memory://out")


def test_a_password_that_a_library_takes_for_a_name_is_not_passed_on() -> None:
    place = Mock(__str__=lambda _: "s3://KEY:SEC/RET@bucket/out")

    def refuse(path: str) -> None:
        namespace = {"__name__": "fsspec.spec"}
        exec("def fail(path): raise ValueError(f'Invalid bucket name {path}')", namespace)
        namespace["fail"](path)  # type: ignore[operator]

    with pytest.raises(BuildError) as caught, remote_errors_as_sentences(place):
        refuse("KEY:SEC/RET@bucket")
    assert "Invalid bucket name ...@bucket" in str(caught.value)
