"""The pages of a data set as a whole."""

from __future__ import annotations

import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from builder.checks.verify import verify
from builder.dataset import manifest
from builder.dataset.layout import CARD_FILE, MANIFEST_FILE
from builder.pages.card import make_card
from builder.pages.pages import PAGES_VERSION, make_pages
from builder.run.build import build
from builder.storage.files import sha256_of
from tests.built import hashes
from tests.conftest import World
from tests.pages.fixed import write_fixed
from tests.quiet import Quiet

GOLDEN = {
    "1": {
        "plots/masks.svg": "10e07aeccfe19029",
        "plots/kinds.svg": "122554177ebc2a5e",
        "plots/spuriosity.svg": "d250137f62cc4425",
        "croissant.json": "d9ae12eb62f2345e",
        "README.md": "efcafe0beae123e9",
        "README.md with images": "64211ca718198e47",
    },
    "2": {
        "plots/masks.svg": "10e07aeccfe19029",
        "plots/kinds.svg": "122554177ebc2a5e",
        "plots/spuriosity.svg": "d250137f62cc4425",
        "croissant.json": "858d769170438edf",
        "README.md": "c236182a75823572",
        "README.md with images": "14fb15bd8c29a87f",
    },
}
"""What each version of the pages says of the fixed data set, as the beginning of a SHA-256."""


def digest(name: str, page: str) -> str:
    """Return a hash of a page, without the card's header, which libraries write."""
    text = page.split("---\n", 2)[2] if name == CARD_FILE else page
    return sha256(text.encode()).hexdigest()[:16]


def test_other_pages_have_another_version(tmp_path: Path) -> None:
    data = write_fixed(tmp_path)
    found = {name: digest(name, page.decode()) for name, page in make_pages(data).items()}
    data.manifest.files["images/train-00000-000.parquet"] = {}
    found["README.md with images"] = digest(CARD_FILE, make_card(data))
    assert found == GOLDEN.get(PAGES_VERSION), (
        "The pages of the same data have another text than before: raise PAGES_VERSION in "
        f"builder/pages/pages.py, and add here, under the new version, {found}"
    )


def test_a_data_set_of_another_version_verifies(planted: Path, tmp_path: Path) -> None:
    data = shutil.copytree(planted, tmp_path / "data")
    made = manifest.Manifest.load(data)
    assert made
    assert made.pages == PAGES_VERSION
    made.pages = "dc44047ef1c18a8ce7c0e798c2c39b88bffe16692d0cc76da99055dac3fbe59d"
    (data / MANIFEST_FILE).write_bytes(made.as_bytes())
    checks = verify(data)
    assert all(check.passed for check in checks)
    assert checks[-1].name == "card, plots and croissant are another release's: not compared"


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
