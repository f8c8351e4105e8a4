"""What the gallery shows of a class: its pairs, and images with their masks over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.errors import BuildError
from builder.images.decode import UnusableImageError, decode
from builder.images.extent import CENTRAL_CROP, Extent, WholeImage
from builder.images.sources import Images
from builder.pages.highlights import Highlights, Row
from builder.pages.pictures import (
    SIDE,
    crop_outline,
    fitted,
    outlines,
    spotlight,
    thumbnail,
    whole_spotlight,
    whole_thumbnail,
)
from builder.reporter import Reporter
from salient_imagenet_1m import KINDS, Box, unpack_grids

_WHOLE = WholeImage(stride=1, longest=1024)
"""All of an image and nothing else, to be looked at."""


@dataclass(frozen=True)
class GroundTruth:
    """What is known beyond the data set; a planted world knows the truth.

    Attributes
    ----------
    title : str
        Of the pages.
    names : dict of str to str
        Of classes, by wnid, where the data set has none.
    classes : dict of int to str
        A remark on a class, by label.
    pairs : dict of (int, int) to str
        A remark on a class-feature pair, by label and feature.
    images : dict of str to str
        A remark on an image, by id.
    scores : list of dict
        The table of recovery; see the template.
    """

    title: str
    names: dict[str, str] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)
    pairs: dict[tuple[int, int], str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    scores: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """An image on a page, with a layer over it, both data URIs of that width and height."""

    image_id: str
    source: str
    layer: str
    caption: str
    size: tuple[int, int] = (SIDE, SIDE)


@dataclass(frozen=True)
class PairView:
    """A class-feature pair on a page; `row` is its row of the config features."""

    row: Row
    words: list[str]
    remark: str
    pictures: list[Picture]


@dataclass(frozen=True)
class ClassView:
    """A class on a page."""

    label: int
    wnid: str
    name: str
    images: int
    accuracy: float
    remark: str
    pairs: list[PairView]
    most: list[Picture]
    least: list[Picture]
    parts: list[Picture]
    whole: list[Picture]

    @property
    def file(self) -> str:
        """The name of the class's own page."""
        return f"{self.label:04d}.html"

    @property
    def spurious(self) -> int:
        """How many of its features are spurious."""
        return sum(pair.row["kind"] == "spurious" for pair in self.pairs)


@dataclass(frozen=True)
class Views:
    """All classes of a split, one after another.

    Attributes
    ----------
    highlights : dict of int to Highlights
        By label.
    pairs : dict of int to list of dict
        The rows of the config features, by label.
    images : Images
    places : dict of str to int
        Where in `images` each of the highlights is, by id.
    words : dict of (int, int) to list of str
        What people wrote on a pair, by label and feature.
    known : GroundTruth
    whole : dict of str to dict
        Rows of the config whole, by id: of images whose masks are shown one by one.
    """

    highlights: dict[int, Highlights]
    pairs: dict[int, list[Row]]
    images: Images
    places: dict[str, int]
    words: dict[tuple[int, int], list[str]]
    known: GroundTruth
    whole: dict[str, Row]

    def each(self, reporter: Reporter) -> Iterator[ClassView]:
        """Yield the classes by label, each once its images are read."""
        with (
            reporter.track("pages", len(self.highlights)) as advance,
            ThreadPoolExecutor(2) as pool,
        ):
            for label, highlights in self.highlights.items():
                ids = sorted(highlights.ids)
                thumbnails = dict(zip(ids, pool.map(self._thumbnail, ids), strict=True))
                yield self._view(label, highlights, thumbnails)
                advance(1)

    def _thumbnail(self, name: str) -> str:
        return self._picture_of(name, CENTRAL_CROP, thumbnail)

    def _picture_of(
        self, name: str, extent: Extent, picture: Callable[[npt.NDArray[np.uint8]], str]
    ) -> str:
        try:
            return picture(decode(self.images.read(self.places[name]), extent).pixels)
        except (OSError, UnusableImageError) as error:
            raise BuildError(
                f"The image {name} could be used when the data set was built and now cannot "
                f"({error}): check --images."
            ) from error

    def _view(self, label: int, highlights: Highlights, thumbnails: dict[str, str]) -> ClassView:
        known, rows = self.known, self.pairs[label]
        pairs = [
            PairView(
                row,
                self.words.get((label, row["feature"]), []),
                known.pairs.get((label, row["feature"]), ""),
                [
                    self._picture(image, thumbnails, _pair_layer(image, row["feature"]), "")
                    for image in highlights.top.get(row["feature"], [])
                ],
            )
            for row in rows
        ]
        wnid, name = str(rows[0]["wnid"]), str(rows[0]["name"])
        ends = [
            [
                self._picture(row, thumbnails, outlines(_grids(row), row["kinds"]), _score(row))
                for row in group
            ]
            for group in (highlights.most, highlights.least)
        ]
        return ClassView(
            label=label,
            wnid=wnid,
            name=known.names.get(wnid, name),
            images=highlights.images,
            accuracy=highlights.accuracy,
            remark=known.classes.get(label, ""),
            pairs=pairs,
            most=ends[0],
            least=ends[1],
            parts=self._parts(highlights, thumbnails),
            whole=self._whole(highlights),
        )

    def _parts(self, highlights: Highlights, thumbnails: dict[str, str]) -> list[Picture]:
        """Take one image apart: its core mask and its spurious mask."""
        row = highlights.first
        name, grids = row["image_id"], _grids_by_kind(row)
        return [
            Picture(name, thumbnails[name], spotlight(own, kind), f"{kind} mask")
            for kind, own in grids.items()
        ]

    def _whole(self, highlights: Highlights) -> list[Picture]:
        """Take the whole of the same image apart; without masks of whole images there is none."""
        row = self.whole.get(highlights.first["image_id"])
        if row is None:
            return []
        name, size = row["image_id"], (row["width"], row["height"])
        source, box = self._picture_of(name, _WHOLE, whole_thumbnail), Box(*row["box"])
        layers = {"whole image, crop in white": crop_outline(*size)} | {
            f"{kind}, whole image": whole_spotlight(own, kind, box, *size)
            for kind, own in _grids_by_kind(row).items()
        }
        return [
            Picture(name, source, layer, caption, fitted(*size))
            for caption, layer in layers.items()
        ]

    def _picture(self, row: Row, thumbnails: dict[str, str], layer: str, caption: str) -> Picture:
        name = row["image_id"]
        remark = self.known.images.get(name, "")
        text = " · ".join(part for part in (caption, remark) if part)
        return Picture(name, thumbnails[name], layer, text)


def _pair_layer(row: Row, feature: int) -> str:
    place = row["features"].index(feature)
    return spotlight(_grids(row)[[place]], row["kinds"][place])


def _grids_by_kind(row: Row) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the grids of each kind that the class has."""
    return {
        kind: _grids(row)[chosen]
        for kind in KINDS
        if any(chosen := [own == kind for own in row["kinds"]])
    }


def _score(row: Row) -> str:
    return f"{row['spuriosity']:+.1f}".replace("-", "\N{MINUS SIGN}")


def _grids(row: Row) -> Any:
    return unpack_grids(row["grids"], row["grid_height"], row["grid_width"])
