"""The files of the config ``segmentations``, and of what was set aside."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from builder.dataset.configs import SEGMENTATIONS
from builder.dataset.dataset import DataSet
from builder.dataset.format import parquet_schema, segmentation_features
from builder.dataset.layout import MASKS_SET_ASIDE_FILE, SET_ASIDE_SCHEMA, file_name
from builder.dataset.truth import measure_truth
from builder.errors import BuildError, first_line
from builder.images.sources import FORMATS, LARGEST_FILE, Images, find_images, open_images
from builder.reporter import Reporter
from builder.segmentations.masks import UnusableMaskError, make_object_mask
from builder.segmentations.matching import MaskSetAside, match
from builder.segmentations.release import MaskFile, Release
from builder.settings.segmentation import Segmentation
from builder.storage.parquet import write_parquet
from builder.threads import in_threads, usable_cores

Size = Callable[[dict[str, Any]], tuple[int, int]]
"""Tells width and height of the image of a row of ``masks``."""

_COLUMNS = ["image_id", "label", "width", "height"]


class Writer:
    """Writes the masks of a release as a config: in the files of ``masks``, and in its order.

    Parameters
    ----------
    settings : Segmentation
    release : Release
    data : DataSet
        Takes note of the files that are written.
    reporter : Reporter
    """

    def __init__(
        self, settings: Segmentation, release: Release, data: DataSet, reporter: Reporter
    ) -> None:
        self._settings, self._release, self._data = settings, release, data
        self._reporter = reporter
        self._schema = parquet_schema(segmentation_features(data.names))
        self._wnids = {pair.label: pair.wnid for pair in data.votes.pairs}

    def write(self, target: Path) -> dict[str, Any]:
        """Write all files; return what the manifest says of them.

        Raises
        ------
        BuildError
            If none of the masks can be used.
        """
        matches = match(self._data, self._release)
        set_aside = list(matches.set_aside)
        rows: dict[str, int] = {}
        for split, masks in matches.masks.items():
            faults = self._write_split(target, split, masks) if masks else []
            set_aside += faults
            if len(masks) > len(faults):
                rows[split] = len(masks) - len(faults)
        if not rows:
            raise BuildError(
                f"None of the {len(set_aside)} masks can be used: the first is "
                f"{set_aside[0].path or set_aside[0].image_id} ({set_aside[0].detail}); check "
                f"{self._settings.release} and {self._settings.data}."
            )
        self._write_set_aside(target, set_aside)
        self._data.manifest.record(target)
        return {
            "source": self._release.source,
            "licence": self._release.licence,
            "given": matches.given,
            "set_aside": dict(sorted(Counter(mask.reason for mask in set_aside).items())),
            "splits": {
                split: {"rows": count, "truth": self._truth(split)} for split, count in rows.items()
            },
        }

    def _write_split(
        self, target: Path, split: str, masks: dict[str, MaskFile]
    ) -> list[MaskSetAside]:
        """Write a split's masks, unless none can be used; return those that cannot."""
        set_aside: list[MaskSetAside] = []
        files = self._data.files("masks", split)
        paths = [
            target / file_name(SEGMENTATIONS, split, index, len(files))
            for index in range(len(files))
        ]
        work = partial(self._row, split, masks, self._size(split, masks))
        with self._reporter.track(f"reading object masks of {split}", len(masks)) as advance:
            for name, path in zip(files, paths, strict=True):
                tables = self._tables(name, masks, work, set_aside, advance)
                write_parquet(path, self._schema, tables)
        if len(set_aside) == len(masks):
            for path in paths:
                path.unlink()
        return set_aside

    def _tables(
        self,
        name: str,
        masks: dict[str, MaskFile],
        work: Callable[[dict[str, Any]], dict[str, Any] | MaskSetAside],
        set_aside: list[MaskSetAside],
        advance: Callable[[int], None],
    ) -> Iterator[pa.Table]:
        """Yield the rows of those images of a file of ``masks`` that have a usable mask."""
        wanted = pa.array(masks, pa.string())
        with self._data.parquet(name) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, _COLUMNS)
                chosen = rows.filter(pc.is_in(rows["image_id"], wanted)).to_pylist()
                found = list(in_threads(chosen, work, usable_cores()))
                advance(len(found))
                set_aside += [each for each in found if isinstance(each, MaskSetAside)]
                kept = [each for each in found if isinstance(each, dict)]
                yield pa.Table.from_pylist(kept, self._schema)

    def _row(
        self, split: str, masks: dict[str, MaskFile], size: Size, image: dict[str, Any]
    ) -> dict[str, Any] | MaskSetAside:
        """Return the row of an image, or why its mask cannot be used."""
        mask = masks[image["image_id"]]
        try:
            _require_class(mask, self._wnids[image["label"]])
            made = make_object_mask(_read(mask.path), *size(image))
        except UnusableMaskError as error:
            return MaskSetAside(split, mask.image_id, mask.name, error.reason, error.detail)
        return {
            "image_id": mask.image_id,
            "label": image["label"],
            "object_mask": {"bytes": made.picture, "path": None},
            "area": made.area,
            "distance": made.distance,
            "release_rank": self._release.ranks.get(mask.image_id),
        }

    def _size(self, split: str, masks: dict[str, MaskFile]) -> Size:
        """Return what tells the sizes of images: the images themselves, or the data set."""
        if self._settings.images is None:
            return lambda row: (row["width"], row["height"])
        with self._reporter.track(f"listing images of {split}") as advance:
            images = open_images(self._settings.images, split, advance)
        return partial(_size_of_image, images, find_images(images, masks.keys()))

    def _truth(self, split: str) -> dict[str, Any]:
        with self._reporter.track(f"comparing masks with the objects of {split}"):
            return asdict(measure_truth(self._data, split))

    def _write_set_aside(self, target: Path, set_aside: list[MaskSetAside]) -> None:
        if set_aside:
            ordered = sorted(set_aside, key=lambda mask: (mask.split, mask.path, mask.image_id))
            table = pa.Table.from_pylist(list(map(asdict, ordered)), SET_ASIDE_SCHEMA)
            write_parquet(target / MASKS_SET_ASIDE_FILE, SET_ASIDE_SCHEMA, [table])


def _require_class(mask: MaskFile, wnid: str) -> None:
    if mask.wnid not in (None, wnid):
        raise UnusableMaskError("other_class", f"the image is of the class {wnid}")


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UnusableMaskError("unreadable", "it is larger than any mask")
        return path.read_bytes()
    except OSError as error:
        raise UnusableMaskError("unreadable", error.strerror or first_line(error)) from error


def _size_of_image(images: Images, places: dict[str, int], row: dict[str, Any]) -> tuple[int, int]:
    name = row["image_id"]
    if name not in places:
        raise UnusableMaskError("no_image", "its image is not there")
    try:
        with Image.open(io.BytesIO(images.read(places[name])), formats=FORMATS) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnusableMaskError(
            "no_image", f"its image cannot be read ({first_line(error)})"
        ) from error
