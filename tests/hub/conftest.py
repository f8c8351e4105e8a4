"""The stand-in of the Hub, and the real client turned to it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

from builder.hub import repository
from builder.run.build import build
from tests.conftest import World
from tests.hub.server import Hub, running
from tests.hub.store import User
from tests.quiet import Quiet

NAME = "org/salient-imagenet-1m"
TOKEN = "hf_thistokenmaywrite"
READER = "hf_thistokenmayread"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Return a running stand-in that this process takes for the Hub."""
    with running() as hub:
        hub.users[TOKEN] = User("member", ("member", "org"))
        hub.users[READER] = User("guest")
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub
        assert not hub.leaked


@pytest.fixture(scope="session")
def changed(planted_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return another version of the build: without the validation split, one image set aside."""
    directory = tmp_path_factory.mktemp("changed")
    images = directory / "images"
    shutil.copytree(planted_world.root, images)
    image = sorted((images / "train").glob("*/*"))[3]
    image.write_bytes(image.read_bytes()[:100])
    build(planted_world.settings(directory / "out", images=str(images)), Quiet())
    return directory / "out"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that were waited for the Hub, instead of waiting."""
    waited: list[float] = []
    clock = SimpleNamespace(**vars(time))
    clock.sleep = waited.append
    monkeypatch.setattr(_http, "time", clock)
    monkeypatch.setattr(repository, "time", clock)
    return waited


def contents(directory: Path) -> dict[str, bytes]:
    """Return all files of a directory."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
