from __future__ import annotations

from pathlib import Path

import pytest

from builder.run.build import build
from tests.built import hashes
from tests.conftest import World
from tests.quiet import Quiet


@pytest.fixture
def many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each shard a file of its own."""
    monkeypatch.setattr("builder.images.plan.SMALLEST_FILE", 1)


@pytest.mark.usefixtures("many_files")
def test_bytes_do_not_depend_on_the_number_of_threads(
    world: World, tmp_path: Path, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for threads in (1, 5):
        monkeypatch.setattr("builder.run.finished.usable_cores", lambda threads=threads: threads)
        out = tmp_path / str(threads)
        build(world.settings(out, keep_embeddings=True), reporter)
        found.append(hashes(out))
    assert sum(name.startswith(("masks/", "embeddings/")) for name in found[0]) == 2 * 6
    assert found[0] == found[1]
