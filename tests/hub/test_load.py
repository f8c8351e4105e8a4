"""A published data set is loaded by its id, from the stand-in, as its directory is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

import salient_imagenet_1m as si
from builder.hub.publish import publish
from builder.settings.publication import Publication
from tests.conftest import World
from tests.hub.conftest import NAME, TOKEN
from tests.hub.server import Fault, Hub
from tests.quiet import Quiet

ROOT = Path(__file__).parents[2]


def read(hub: Hub, home: Path, token: str | None, *arguments: object) -> None:
    """Run the reader in a process of its own, where everything takes the stand-in for the Hub."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("HF_TOKEN", None)
    environment |= {"HF_TOKEN": token} if token else {}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.hub.reader", *map(str, arguments)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "all is equal\n"


def test_by_id_all_is_as_in_the_directory(
    hub: Hub, planted: Path, world: World, tmp_path: Path, reporter: Quiet
) -> None:
    publish(Publication(planted, NAME, tag="v1.0"), reporter)
    read(hub, tmp_path, None, NAME, planted, world.root, "v1.0")


def test_a_private_one_with_its_token_and_over_a_bad_connection(
    hub: Hub, planted: Path, world: World, tmp_path: Path, reporter: Quiet
) -> None:
    publish(Publication(planted, NAME, private=True), reporter)
    hub.faults += [
        Fault("GET", r"^/content/", times=3, skip=2),
        Fault("GET", r"^/content/", 503, times=2, skip=7),
        Fault("GET", r"^/content/", 429, {"Retry-After": "0"}, times=2, skip=9),
    ]
    read(hub, tmp_path, TOKEN, NAME, planted, world.root)
    assert not any(fault.times for fault in hub.faults)


@pytest.mark.parametrize("name", ["org/missing", "hf://datasets/org/missing@v1.0"])
def test_a_build_that_is_not_on_the_hub_is_a_sentence(hub: Hub, name: str) -> None:
    with pytest.raises(si.SalientImageNetError, match=r"There is no build .* at .*org/missing"):
        si.load(name, "masks", split="train")


def test_a_private_one_is_not_read_without_its_token(
    hub: Hub, planted: Path, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(Publication(planted, NAME, private=True), reporter)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(si.SalientImageNetError, match="or none that you may see"):
        si.load(NAME, "masks", split="train")
    assert not any("/content/" in request for request in hub.requests)


def test_a_hub_that_cannot_be_reached_is_a_sentence(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    sentence = rf"hf://datasets/{NAME} cannot be read \(.*refused\): check your connection"
    with pytest.raises(si.SalientImageNetError, match=sentence):
        si.load(NAME, "masks", split="train")


@pytest.mark.parametrize("status", [403, 410])
def test_a_file_that_the_hub_refuses_is_not_called_corrupt(
    hub: Hub, planted: Path, reporter: Quiet, status: int
) -> None:
    publish(Publication(planted, NAME), reporter)
    hub.faults.append(Fault("GET", r"^/content/", status, times=100))
    sentence = rf"masks/.*parquet cannot be read \(.*{status}.*\): check your connection"
    with pytest.raises(si.SalientImageNetError, match=sentence):
        si.load(NAME, "masks", split="train")
