"""The pages of a data set as a whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from builder.dataset import manifest
from builder.run.build import build
from builder.storage.files import sha256_of
from tests.built import hashes
from tests.conftest import World
from tests.quiet import Quiet


def test_a_build_hashes_each_file_once(
    world: World, tmp_path: Path, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: Counter[str] = Counter()

    def count(path: Path) -> str:
        hashed[path.as_posix().partition("/staged/")[2]] += 1
        return sha256_of(path)

    monkeypatch.setattr(manifest, "sha256_of", count)
    out = tmp_path / "out"
    build(world.settings(out), reporter)
    written = hashes(out)
    assert written.pop("manifest.json")
    assert hashed == dict.fromkeys(written, 1)
    made = manifest.Manifest.load(out)
    assert made
    assert {name: entry["sha256"] for name, entry in made.files.items()} == written
