"""What a repository lacks and has too much, without a Hub."""

from __future__ import annotations

import json
from typing import Any

import pytest
from huggingface_hub.hf_api import RepoFile

from builder.errors import BuildError
from builder.hub.changes import find_changes, summary
from builder.hub.part import Part
from builder.hub.repository import Repository, State

CARD = Part.of_bytes("README.md", b"hello\n")
MASKS = Part.of_bytes("masks/train-0.parquet", b"many rows")
CARDS_OID = "ce013625030ba8dba906f756967f9e9ca394464a"
"""What ``git hash-object`` says of the card."""


class Fake(Repository):
    """A repository whose manifest lists some files."""

    def __init__(self, *listed: str) -> None:
        super().__init__("org/name", None)
        self._listed = listed

    def read(self, path: str, revision: str) -> bytes:
        assert (path, revision) == ("manifest.json", "head")
        return json.dumps({"files": dict.fromkeys(self._listed)}).encode()


def small(path: str, oid: str = "0" * 40, size: int = 6) -> RepoFile:
    return RepoFile(path=path, size=size, oid=oid)  # type: ignore[no-untyped-call]


def large(part: Part, **changes: Any) -> RepoFile:
    pointer = {"size": part.size, "oid": part.sha256, "pointerSize": 134, **changes}
    file = {"path": part.name, "size": part.size, "oid": "0" * 40, "lfs": pointer}
    return RepoFile(**file)  # type: ignore[no-untyped-call]


def state(*files: RepoFile) -> State:
    return State("head", private=False, files={file.path: file for file in files})


def test_a_small_file_is_known_by_what_git_calls_it_and_a_large_one_by_its_hash() -> None:
    assert CARD.equals(small("README.md", CARDS_OID))
    assert not CARD.equals(small("README.md"))
    assert not CARD.equals(small("README.md", CARDS_OID, size=7))
    assert not CARD.equals(None)
    assert MASKS.equals(large(MASKS))
    assert not MASKS.equals(large(MASKS, oid="1" * 64))


def test_what_is_there_stays_what_differs_is_new_and_what_is_no_part_goes() -> None:
    there = state(
        small(".gitattributes"), small("README.md"), large(MASKS), small("masks/old.parquet")
    )
    changes = find_changes(Fake(), [MASKS, CARD], there)
    assert (changes.new, changes.gone, changes.kept, changes.same) == (
        [CARD],
        ["masks/old.parquet"],
        [],
        1,
    )
    assert changes.size == 6
    assert summary(changes) == (
        "1 of 2 files to upload (0.0 MB); 1 to remove, no longer part of the data set"
    )


def test_of_strange_files_only_those_of_its_manifest_go() -> None:
    there = state(small("manifest.json"), small("plots/x.svg"), small("LICENSE"))
    changes = find_changes(Fake("plots/x.svg"), [CARD], there)
    assert changes.gone == ["manifest.json", "plots/x.svg"]
    assert changes.kept == ["LICENSE"]
    assert summary(changes).endswith("; 1 to leave, never part of it, such as LICENSE")


def test_a_repository_of_something_else_is_refused() -> None:
    with pytest.raises(BuildError, match=r"org/name holds something else, such as model\.bin"):
        find_changes(Fake(), [CARD], state(small("model.bin")))


def test_a_file_that_cannot_be_sent_again_must_be_there() -> None:
    image = Part("images/train-0.parquet", None, 5, "a1" * 32)
    assert find_changes(Fake(), [image], state(large(image))).same == 1
    with pytest.raises(BuildError, match=r"images/train-0\.parquet vanished from org/name"):
        find_changes(Fake(), [image], state())
