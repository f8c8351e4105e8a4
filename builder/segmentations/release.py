"""Releases of object masks: which layouts there are, and what a release holds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import BuildError
from builder.segmentations.pickles import read_pickle
from builder.settings.options import parse_split
from builder.settings.segmentation import Segmentation
from salient_imagenet_1m import image_id

_WNID_BEFORE = re.compile(r"(n\d{8})_(?=n\d{8}_|ILSVRC2012_)")
"""How both releases begin the name of a mask: with the wnid, before the image's own name."""

_RIVAL10_MASKS = "entire_object_masks"
_RANKS = ("meta/paths_by_rank.pkl", "paths_by_rank2.pkl")
"""Where Hard ImageNet keeps its ranking; the second name is an earlier release's."""


@dataclass(frozen=True)
class MaskFile:
    """A file of a mask.

    Attributes
    ----------
    path : Path
    name : str
        The path in the release.
    image_id : str
    split, wnid : str, optional
        Of the image, where folder or name tells them.
    """

    path: Path
    name: str
    image_id: str
    split: str | None
    wnid: str | None


@dataclass(frozen=True)
class Release:
    """Masks of objects, as somebody drew them.

    Attributes
    ----------
    source : str
        Who drew them: a name or a URL.
    licence : str
        Empty where nobody said.
    masks : list of MaskFile
        In the order of their names.
    ranks : dict of str to int
        By image id: 0 is the image that shows most of its class's spurious features, of those that
        the release ranks.
    """

    source: str
    licence: str
    masks: list[MaskFile]
    ranks: dict[str, int]


def open_release(settings: Segmentation) -> Release:
    """Open the release that a user names.

    Raises
    ------
    BuildError
        If it is not laid out as it should be, or holds no mask.
    """
    if settings.hard_imagenet:
        release = _hard_imagenet(settings.hard_imagenet)
    elif settings.rival10:
        release = _rival10(settings.rival10)
    else:
        release = _folder(settings.release)
    if not release.masks:
        raise BuildError(f"{settings.release} holds no files of masks: check its path.")
    return Release(
        settings.source or release.source,
        settings.licence or release.licence,
        release.masks,
        release.ranks,
    )


def _hard_imagenet(root: Path) -> Release:
    """``{train,val}/<wnid>_<name of the image>``, and pickles that rank the training images."""
    folders = [root / name for name in ("train", "val") if (root / name).is_dir()]
    if not folders:
        raise BuildError(
            f"{root} has no folder train or val of masks: give --hard-imagenet the directory that "
            "the release of Hard ImageNet was unpacked to."
        )
    ranks = next((root / name for name in _RANKS if (root / name).is_file()), None)
    return Release(
        "Hard ImageNet",
        "CC0 1.0",
        _mask_files(root, folders),
        {} if ranks is None else _ranks(ranks),
    )


def _rival10(root: Path) -> Release:
    """``{train,test}/entire_object_masks/<wnid>_<name of the image>``."""
    folders = sorted(path for path in root.rglob(_RIVAL10_MASKS) if path.is_dir())
    if not folders:
        raise BuildError(
            f"{root} has no folder {_RIVAL10_MASKS}: give --rival10 the directory that RIVAL10 was "
            "unpacked to."
        )
    # Its test images are ImageNet's as well, of either split.
    masks = [MaskFile(m.path, m.name, m.image_id, None, m.wnid) for m in _mask_files(root, folders)]
    return Release("RIVAL10", "non-commercial research, by the terms of RIVAL10", masks, {})


def _folder(root: Path) -> Release:
    """Any folder of files that are called as their images are, but for the ending."""
    if not root.is_dir():
        raise BuildError(f"There is no directory {root}: check --masks.")
    return Release(root.resolve().name, "", _mask_files(root, [root]), {})


def _mask_files(root: Path, folders: list[Path]) -> list[MaskFile]:
    paths = sorted(path for folder in folders for path in _files_below(folder))
    return [_mask_file(root, path) for path in paths]


def _files_below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(place, name) for name in names if not name.startswith("."))
        yield from (path for path in paths if path.is_file())


def _mask_file(root: Path, path: Path) -> MaskFile:
    name = path.relative_to(root).as_posix()
    before = _WNID_BEFORE.match(path.name)
    own = path.name.removeprefix(before[0]) if before else path.name
    split = _split_of(name)
    folder = path.parent.name
    is_class = path.parent != root and _as_split(folder) is None
    return MaskFile(
        path=path,
        name=name,
        image_id=image_id(f"{folder}/{own}" if is_class else own),
        split=split,
        wnid=before[1] if before else None,
    )


def _split_of(name: str) -> str | None:
    """Return the split that a folder of a path is called after, the outermost one."""
    return next(filter(None, map(_as_split, name.split("/")[:-1])), None)


def _as_split(folder: str) -> str | None:
    try:
        return parse_split(folder)
    except BuildError:
        return None


def _ranks(path: Path) -> dict[str, int]:
    """Read Hard ImageNet's ranking: for each class the paths of images, the cue's absence first."""
    found = read_pickle(path)
    if not isinstance(found, dict) or not all(map(_is_list_of_paths, found.values())):
        raise BuildError(
            f"{path} is no dict of lists of paths, as the ranking of Hard ImageNet is: take "
            "another copy of it."
        )
    return {
        image_id(name): rank
        for names in found.values()
        for rank, name in enumerate(reversed(names))
    }


def _is_list_of_paths(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
