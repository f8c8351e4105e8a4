"""What a repository on the Hub lacks of a data set, and what it has too much."""

from __future__ import annotations

from dataclasses import dataclass

import salient_imagenet_1m
from builder.dataset.layout import IMAGES, MANIFEST_FILE
from builder.errors import BuildError
from builder.hub.part import Part
from builder.hub.repository import Repository, State
from builder.storage.objects import json_object

_HUBS_OWN = ".gitattributes"


@dataclass(frozen=True)
class Changes:
    """What a repository lacks and what it has too much.

    Attributes
    ----------
    new : list of Part
        Files that it does not hold, or holds with other bytes, the card and manifest last.
    gone : list of str
        Files that are no longer part of the data set.
    kept : list of str
        Files that never were, and stay.
    same : int
        How many files it holds already.
    """

    new: list[Part]
    gone: list[str]
    kept: list[str]
    same: int

    @property
    def size(self) -> int:
        """Bytes of the new files."""
        return sum(part.size for part in self.new)


def find_changes(repository: Repository, parts: list[Part], state: State) -> Changes:
    """Compare what a repository holds with what it should.

    Parameters
    ----------
    repository : Repository
    parts : list of Part
        All files of the data set.
    state : State
        What the repository holds.

    Raises
    ------
    BuildError
        If it holds something else than a data set, or lost a file that cannot be sent again.
    """
    new = [part for part in parts if not part.equals(state.files.get(part.name))]
    lost = [part.name for part in new if part.source is None]
    if lost:
        raise BuildError(f"{lost[0]} vanished from {repository.name}: run the same command again.")
    others = sorted(set(state.files) - {part.name for part in parts} - {_HUBS_OWN})
    folders = {part.name.partition("/")[0] for part in parts if "/" in part.name}
    folders |= {*salient_imagenet_1m.CONFIGS, IMAGES}
    strange = [name for name in others if name.partition("/")[0] not in folders]
    if not strange:
        return Changes(new, others, [], len(parts) - len(new))
    theirs = _published_files(repository, state)
    kept = [name for name in strange if name not in theirs]
    if kept and not theirs:
        raise BuildError(
            f"{repository.name} holds something else, such as {kept[0]}: give the name of a new "
            "repository, or empty that one."
        )
    return Changes(new, [name for name in others if name not in kept], kept, len(parts) - len(new))


def _published_files(repository: Repository, state: State) -> set[str]:
    """Return the files of the data set that the repository holds, by its own manifest."""
    content = repository.read(MANIFEST_FILE, state.head) if MANIFEST_FILE in state.files else None
    try:
        return {MANIFEST_FILE, *json_object(content or b"{}")["files"]}
    except (ValueError, KeyError, TypeError):
        return set()


def summary(changes: Changes) -> str:
    """Say in a line what changes."""
    total = len(changes.new) + changes.same
    text = f"{len(changes.new)} of {total} files to upload ({changes.size / 1e6:,.1f} MB)"
    if changes.gone:
        text += f"; {len(changes.gone)} to remove, no longer part of the data set"
    if changes.kept:
        text += f"; {len(changes.kept)} to leave, never part of it, such as {changes.kept[0]}"
    return text
