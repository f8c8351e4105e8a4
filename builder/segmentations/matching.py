"""Which image of a data set each mask of a release is of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from builder.dataset.dataset import DataSet
from builder.segmentations.release import MaskFile, Release

NOWHERE = ""
"""The split of a mask whose image the data set does not have."""


@dataclass(frozen=True)
class MaskSetAside:
    """A mask that is not in the data set, and why; the columns of the table of them."""

    split: str
    image_id: str
    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Matches:
    """What became of all masks of a release, before any is read.

    Attributes
    ----------
    masks : dict of str to dict of str to MaskFile
        By split, then by image id.
    set_aside : list of MaskSetAside
        The others; and, of ranked images, those without a mask.
    """

    masks: dict[str, dict[str, MaskFile]]
    set_aside: list[MaskSetAside]

    @property
    def given(self) -> int:
        """How many masks there should be: files, and ranked images that have none."""
        return sum(map(len, self.masks.values())) + len(self.set_aside)


def match(data: DataSet, release: Release) -> Matches:
    """Find the image of each mask by its id."""
    masks: dict[str, dict[str, MaskFile]] = {split: {} for split in data.splits}
    set_aside = []
    drawn = {mask.image_id for mask in release.masks}
    known = _splits_of(data, drawn | release.ranks.keys())
    for mask in release.masks:
        places = [s for s in known.get(mask.image_id, []) if mask.split in (None, s)]
        fault = _fault(mask, places, masks)
        if fault:
            split = places[0] if len(places) == 1 else NOWHERE
            set_aside.append(MaskSetAside(split, mask.image_id, mask.name, *fault))
        else:
            masks[places[0]][mask.image_id] = mask
    return Matches(masks, [*set_aside, *_without_mask(release, drawn, known)])


def _splits_of(data: DataSet, wanted: set[str]) -> dict[str, list[str]]:
    """Return the splits that have an image of each id, if any."""
    found: dict[str, list[str]] = {}
    values = pa.array(sorted(wanted), pa.string())
    for split in data.splits:
        for table in data.tables("masks", split, ["image_id"]):
            ids = table["image_id"]
            for name in ids.filter(pc.is_in(ids, values)).to_pylist():
                found.setdefault(name, []).append(split)
    return found


def _fault(
    mask: MaskFile, places: list[str], taken: dict[str, dict[str, MaskFile]]
) -> tuple[str, str] | None:
    """Return why a mask cannot be one of the data set's, by its name alone."""
    if not places:
        where = f"split {mask.split}" if mask.split else "data set"
        return "unknown_image", f"the {where} has no image {mask.image_id}"
    if len(places) > 1:
        return "ambiguous", f"{' and '.join(places)} have an image of this name each"
    other = taken[places[0]].get(mask.image_id)
    return ("duplicate", f"{other.name} is of the same image") if other else None


def _without_mask(
    release: Release, drawn: set[str], known: dict[str, list[str]]
) -> Iterator[MaskSetAside]:
    for name in sorted(release.ranks.keys() - drawn):
        split = next(iter(known.get(name, [])), NOWHERE)
        detail = "the release ranks the image, and has no mask of it"
        yield MaskSetAside(split, name, "", "no_mask", detail)
