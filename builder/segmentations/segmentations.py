"""The config ``segmentations``: object masks of a release, written beside a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from builder.dataset.configs import SEGMENTATIONS
from builder.dataset.dataset import DataSet
from builder.dataset.layout import MASKS_SET_ASIDE_FILE
from builder.dataset.manifest import Manifest
from builder.pages.pages import write_pages
from builder.reporter import Reporter
from builder.run.workspace import Workspace
from builder.segmentations.release import open_release
from builder.segmentations.writer import Writer
from builder.settings.segmentation import Segmentation
from builder.storage.files import disk_errors_as_sentences, exclusive


def add_segmentations(settings: Segmentation, reporter: Reporter) -> dict[str, Any]:
    """Add the object masks of a release to a data set, in place of those that it has, if any.

    Nothing is seen of them before all is written. Whoever was stopped gives the command again.

    Parameters
    ----------
    settings : Segmentation
    reporter : Reporter

    Returns
    -------
    dict
        What the manifest says of them: what was given, what was set aside, what came of each split.

    Raises
    ------
    BuildError
        If there is no such data set or release, or none of the masks can be used.
    """
    manifest = Manifest.of_finished(settings.data, "masks are added to a local directory")
    release = open_release(settings)
    with exclusive(settings.data), disk_errors_as_sentences(settings.data):
        workspace = Workspace(settings.data, SEGMENTATIONS)
        bare = _without(manifest)
        staged = workspace.new_stage()
        full = replace(bare, files=dict(bare.files), additions=dict(bare.additions))
        data = DataSet(full, staged, settings.data)
        told = Writer(settings, release, data, reporter).write(staged)
        full.additions[SEGMENTATIONS] = told
        write_pages(data, staged)
        if full.as_bytes() == manifest.as_bytes():
            reporter.say(f"Nothing to do: {settings.data} already holds these very masks.")
        else:
            if bare != manifest:
                _withdraw(settings.data, bare)
            workspace.install(full)
        workspace.clean()
        _remove_strays(settings.data, full)
    return told


def _without(manifest: Manifest) -> Manifest:
    """Return the manifest of the data set without its object masks."""
    additions = {n: told for n, told in manifest.additions.items() if n != SEGMENTATIONS}
    files = {name: told for name, told in manifest.files.items() if not _is_ours(name)}
    return replace(manifest, files=files, additions=additions)


def _is_ours(name: str) -> bool:
    return name.startswith(f"{SEGMENTATIONS}/") or name == MASKS_SET_ASIDE_FILE


def _withdraw(directory: Path, bare: Manifest) -> None:
    """Take object masks out, so that nobody ever sees some of one release, some of another."""
    workspace = Workspace(directory, f"{SEGMENTATIONS}-withdrawn")
    write_pages(DataSet(bare, directory), workspace.new_stage())
    workspace.install(bare)
    workspace.clean()
    _remove_strays(directory, bare)


def _remove_strays(directory: Path, manifest: Manifest) -> None:
    """Remove object masks that the manifest does not list: of another release, or a killed run."""
    for path in [*directory.glob(f"{SEGMENTATIONS}/*"), directory / MASKS_SET_ASIDE_FILE]:
        if path.relative_to(directory).as_posix() not in manifest.files:
            path.unlink(missing_ok=True)
    folder = directory / SEGMENTATIONS
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
