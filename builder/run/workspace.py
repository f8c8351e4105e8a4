"""The output directory: what may be built into it, and how finished work becomes visible."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from builder.dataset.configs import WHOLE_IMAGES
from builder.dataset.layout import CARD_FILE, MANIFEST_FILE
from builder.dataset.manifest import Manifest
from builder.errors import BuildError
from builder.storage.claim import require_same
from builder.storage.files import (
    atomic_write,
    make_directory,
    move_into_place,
    remove_directory,
    require_directory,
)
from builder.storage.objects import saved_object
from builder.storage.remote import is_remote
from builder.threads import in_threads

WORK = ".build"

_UPLOADS = 8

_UNFINISHED_CARD = b"""---
configs:
- config_name: masks
  data_files: [{split: train, path: this-build-is-unfinished-run-the-same-command-again}]
---
"""


_ROWS = ("split", "seed", "limit", "images", "images_sha256", "shard_size")
"""On which of the inputs it depends which rows a split has, and in which files."""


class Workspace:
    """A data set's directory with, hidden in it, the work on one of its splits.

    Attributes
    ----------
    out : Path
        The data set.
    split : str
    is_whole : bool
        Whether the work is on masks of whole images, which a split that is finished gains.
    directory : Path
        ``.build/<split>``, or ``.build/<split>-whole``: shards and running sums while it is built.
    staged : Path
        The split's published files before they are moved into place.
    """

    def __init__(self, out: Path, split: str, *, is_whole: bool = False) -> None:
        self.out, self.split, self.is_whole = out, split, is_whole
        self.directory = out / WORK / (f"{split}-{WHOLE_IMAGES}" if is_whole else split)
        self.staged = self.directory / "staged"

    def check(self, origin: dict[str, Any], inputs: dict[str, Any]) -> Manifest:
        """See whether this build may go into the directory; write nothing.

        Parameters
        ----------
        origin : dict
            What all splits of a data set have in common.
        inputs : dict
            All that the bytes of this split depend on.

        Returns
        -------
        Manifest
            Of the data set as it is; see `finished`.

        Raises
        ------
        BuildError
            If the directory holds something else, or a build from other inputs; the sentence
            names what differs.
        """
        require_directory(self.out)
        manifest = Manifest.load(self.out)
        if manifest is None:
            names = [path.name for path in self.out.iterdir()] if self.out.exists() else []
            if names and WORK not in names:
                raise BuildError(
                    f"{self.out} is not empty and holds no build: use an empty or new --out."
                )
            manifest = Manifest(origin)
        other = "use another --out, or the same inputs"
        self._compare(manifest.origin, origin, other)
        finished = self.finished(manifest)
        if finished is not None:
            self._compare(finished["inputs"], inputs, other)
            return manifest
        if self.split in manifest.splits:
            masks = manifest.splits[self.split]["inputs"]
            found, expected = ({n: own.get(n) for n in _ROWS} for own in (masks, inputs))
            self._compare(found, expected, other)
            self._compare_noted(origin, inputs, other)
            return manifest
        for name, split in manifest.splits.items():
            # Of other images than ImageNet's the same ids may well be in each split.
            same = split["inputs"]["images_sha256"] == inputs["images_sha256"]
            if same and "source" not in origin:
                raise BuildError(
                    f"All images have the ids of the split {name}, which {self.out} already holds: "
                    "check --images and --split; images that are others need other file names, by "
                    "which their masks are found."
                )
        self._compare_noted(origin, inputs, other)
        return manifest

    def finished(self, manifest: Manifest) -> dict[str, Any] | None:
        """Return what the manifest tells of the work once it is done, None before."""
        split: dict[str, Any] | None = manifest.splits.get(self.split)
        return split.get(WHOLE_IMAGES) if split and self.is_whole else split

    def claim(self, origin: dict[str, Any], inputs: dict[str, Any]) -> None:
        """Take note of what this build is made from, so that only the same is ever resumed."""
        with atomic_write(self._inputs_path) as file:
            file.write(json.dumps({**origin, **inputs}, indent=2).encode())

    def noted(self) -> dict[str, Any] | None:
        """Return what `claim` took note of, None where it is not there, or damaged."""
        return saved_object(self._inputs_path)

    def begun_on(self) -> str | None:
        """Return the kind of device that the split was begun on, None where it was not.

        Raises
        ------
        BuildError
            If the note of it is damaged.
        """
        manifest = Manifest.load(self.out)
        finished = manifest and self.finished(manifest)
        if finished:
            return str(finished["inputs"]["device"])
        if not self._inputs_path.exists():
            return None
        device = (self.noted() or {}).get("device")
        if not isinstance(device, str):
            raise BuildError(
                f"{self._inputs_path} is damaged: run the same command without --finalise-only, "
                "which makes it anew and keeps all shards."
            )
        return device

    def new_stage(self) -> Path:
        """Return an empty local directory for the split's published files."""
        if is_remote(self.out):
            # Goes with this object, however the build ends.
            self._temporary = tempfile.TemporaryDirectory(prefix="salient-imagenet-")
            self.staged = Path(self._temporary.name)
        remove_directory(self.staged)
        make_directory(self.staged)
        return self.staged

    def install(self, manifest: Manifest) -> None:
        """Move the staged files into place.

        The card's YAML names the splits that exist, so the card is what makes a split visible: it
        comes after all data. The manifest comes last and says that all is done.
        """
        card = self.staged / CARD_FILE
        data = [path for path in sorted(self.staged.rglob("*")) if path.is_file() and path != card]
        if not (self.out / CARD_FILE).exists():
            self._write(CARD_FILE, _UNFINISHED_CARD)
        # Uploads wait for the network more than for a core.
        for _ in in_threads(data, self._install, _UPLOADS if is_remote(self.out) else 1):
            pass
        self._install(card)
        self._write(MANIFEST_FILE, manifest.as_bytes())

    def _write(self, name: str, content: bytes) -> None:
        # Staged first: whoever dies here leaves no temporary file among what is published.
        staged = self.staged / f"{name}.new"
        with atomic_write(staged) as file:
            file.write(content)
        move_into_place(staged, self.out / name)

    def _install(self, path: Path) -> None:
        move_into_place(path, self.out / path.relative_to(self.staged).as_posix())

    def clean(self) -> None:
        """Remove the work; what is published stays."""
        remove_directory(self.directory)
        work = self.out / WORK
        if not is_remote(work) and work.is_dir() and not any(work.iterdir()):
            work.rmdir()

    @property
    def _inputs_path(self) -> Path:
        return self.directory / "inputs.json"

    def _compare_noted(self, origin: dict[str, Any], inputs: dict[str, Any], other: str) -> None:
        # A note alone, without any shard, binds nobody.
        noted = self.noted() if any(self.directory.glob("shards/*")) else None
        if noted:
            self._compare(
                noted,
                {**origin, **inputs},
                f"{other}, or remove {self.directory} to begin anew",
            )

    def _compare(self, found: dict[str, Any], expected: dict[str, Any], remedy: str) -> None:
        require_same(self.out, "build", found, expected, remedy)
