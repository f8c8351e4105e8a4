"""Pages that show people what is in a data set: images, masks, votes, class by class."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet as pq

from builder.dataset.manifest import Manifest
from builder.dataset.votes import read_votes
from builder.errors import BuildError
from builder.images.decode import UnusableImageError, decode
from builder.images.sources import Images, open_images
from builder.pages.highlights import Highlights, Row, find_highlights
from builder.pages.pictures import outlines, spotlight, thumbnail
from builder.pages.templates import environment
from builder.reporter import Reporter
from builder.settings import GallerySettings
from builder.storage.files import atomic_write, disk_errors_as_sentences, require_directory
from salient_imagenet_1m import image_id, unpack_grids

TOP_IMAGES = 5
END_IMAGES = 5
LARGEST_PAGE = 50
"""Classes on one page at most; each weighs about 300 kB."""

_TEMPLATE = "gallery.html.jinja"


@dataclass(frozen=True)
class GroundTruth:
    """What is known beyond the data set; a planted world knows the truth.

    Attributes
    ----------
    title : str
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

    title: str = "Salient ImageNet-1M"
    names: dict[str, str] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)
    pairs: dict[tuple[int, int], str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    scores: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """An image on a page, with a layer over it; both are data URIs."""

    image_id: str
    source: str
    layer: str
    caption: str


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

    @property
    def file(self) -> str:
        """The name of the class's own page."""
        return f"{self.label:04d}.html"

    @property
    def spurious(self) -> int:
        """How many of its features are spurious."""
        return sum(pair.row["kind"] == "spurious" for pair in self.pairs)


def make_gallery(
    settings: GallerySettings, reporter: Reporter, known: GroundTruth | None = None
) -> Path:
    """Write one page, or an index and a page per class.

    Parameters
    ----------
    settings : GallerySettings
        Where its target ends in .html it is the one page, otherwise a directory; both are new.
    reporter : Reporter
    known : GroundTruth, optional

    Returns
    -------
    Path
        The page to open.

    Raises
    ------
    BuildError
        If an input cannot be used.
    """
    known = known or GroundTruth()
    manifest = _check(settings)
    gallery = Gallery(settings, known, reporter)
    shared = {
        "known": known,
        "data": str(settings.data),
        "split": settings.split,
        "network": manifest.origin["network"],
        "counts": manifest.splits[settings.split]["counts"],
    }
    template = _template()
    with disk_errors_as_sentences(settings.target.parent):
        if settings.target.suffix == ".html":
            views = list(gallery.views(reporter))
            _write(settings.target, template.render(page="all", views=views, **shared))
            return settings.target
        unfinished = settings.target.with_name(f".{settings.target.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        cards = []
        for view in gallery.views(reporter):
            html = template.render(page="class", views=[view], **shared)
            _write(unfinished / view.file, html)
            cards.append(_card(view))
        _write(unfinished / "index.html", template.render(page="index", cards=cards, **shared))
        unfinished.rename(settings.target)
        return settings.target / "index.html"


def _check(settings: GallerySettings) -> Manifest:
    data, split, out = settings.data, settings.split, settings.target
    manifest = Manifest.load(data)
    if manifest is None:
        raise BuildError(f"{data} holds no finished build: give the directory that build wrote.")
    if split not in manifest.splits:
        there = ", ".join(sorted(manifest.splits))
        raise BuildError(f"{data} has no split {split}, only {there}: check --split.")
    if settings.votes and read_votes(settings.votes).sha256 != manifest.origin["votes_sha256"]:
        raise BuildError(f"{settings.votes} are not the votes of {data}: check --votes.")
    if out.suffix == ".html" and not out.parent.is_dir():
        raise BuildError(f"There is no directory {out.parent}: check --out.")
    if out.suffix != ".html":
        require_directory(out)
    if out.exists():
        raise BuildError(f"{out} exists already: remove it, or use another --out.")
    classes = manifest.splits[split]["counts"]["classes"]
    if out.suffix == ".html" and classes > LARGEST_PAGE:
        raise BuildError(
            f"One page of {classes:,} classes would be too large for a browser: give --out a "
            "directory, for a page per class."
        )
    return manifest


class Gallery:
    """Puts together what is shown of each class."""

    def __init__(self, settings: GallerySettings, known: GroundTruth, reporter: Reporter) -> None:
        self._known = known
        self._words = _words(settings.votes) if settings.votes else {}
        with reporter.track("choosing images"):
            self._highlights = find_highlights(
                settings.data, settings.split, TOP_IMAGES, END_IMAGES
            )
        self._pairs = defaultdict(list)
        for row in _pair_rows(settings):
            self._pairs[row["label"]].append(row)
        with reporter.track("listing images") as advance:
            self._images = open_images(settings.images, settings.split, advance)
        wanted = {name for highlights in self._highlights.values() for name in highlights.ids}
        self._places = _places(self._images, wanted)
        missing = wanted - self._places.keys()
        if missing:
            raise BuildError(
                f"{settings.images} lacks {len(missing):,} of the {len(wanted):,} images to "
                f"show, {min(missing)} for one: check --images and --split."
            )

    def views(self, reporter: Reporter) -> Iterator[ClassView]:
        """Yield the classes by label, each once its images are read."""
        with (
            reporter.track("pages", len(self._highlights)) as advance,
            ThreadPoolExecutor(2) as pool,
        ):
            for label, highlights in self._highlights.items():
                ids = sorted(highlights.ids)
                thumbnails = dict(zip(ids, pool.map(self._thumbnail, ids), strict=True))
                yield self._view(label, highlights, thumbnails)
                advance(1)

    def _thumbnail(self, name: str) -> str:
        try:
            return thumbnail(decode(self._images.read(self._places[name])).pixels)
        except (OSError, UnusableImageError) as error:
            raise BuildError(
                f"The image {name} could be used when the data set was built and now cannot "
                f"({error}): check --images."
            ) from error

    def _view(self, label: int, highlights: Highlights, thumbnails: dict[str, str]) -> ClassView:
        known, rows = self._known, self._pairs[label]
        pairs = [
            PairView(
                row,
                self._words.get((label, row["feature"]), []),
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
        )

    def _parts(self, highlights: Highlights, thumbnails: dict[str, str]) -> list[Picture]:
        """Take one image apart: its core mask and its spurious mask."""
        rows = highlights.most or next(iter(highlights.top.values()))
        row = rows[0]
        layers = {
            kind: spotlight(_grids(row)[chosen], kind)
            for kind in ("core", "spurious")
            if any(chosen := [own == kind for own in row["kinds"]])
        }
        name = row["image_id"]
        return [
            Picture(name, thumbnails[name], layer, f"{kind} mask") for kind, layer in layers.items()
        ]

    def _picture(self, row: Row, thumbnails: dict[str, str], layer: str, caption: str) -> Picture:
        name = row["image_id"]
        remark = self._known.images.get(name, "")
        text = " · ".join(part for part in (caption, remark) if part)
        return Picture(name, thumbnails[name], layer, text)


def _pair_layer(row: Row, feature: int) -> str:
    place = row["features"].index(feature)
    return spotlight(_grids(row)[[place]], row["kinds"][place])


def _score(row: Row) -> str:
    return f"{row['spuriosity']:+.1f}".replace("-", "\N{MINUS SIGN}")


def _grids(row: Row) -> Any:
    return unpack_grids(row["grids"], row["grid_height"], row["grid_width"])


def _pair_rows(settings: GallerySettings) -> list[Row]:
    files = sorted((settings.data / "features").glob(f"{settings.split}-*.parquet"))
    rows: list[Row] = pq.read_table(files).to_pylist()
    return rows


def _places(images: Images, wanted: set[str]) -> dict[str, int]:
    names = ((image_id(path.as_py()), index) for index, path in enumerate(images.paths))
    return {name: index for name, index in names if name in wanted}


def _words(votes: Path) -> dict[tuple[int, int], list[str]]:
    """Read what the workers wrote on each pair, each sentence once."""
    words: defaultdict[tuple[int, int], dict[str, None]] = defaultdict(dict)
    with votes.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            pair = int(row["Input.class_index"]), int(row["Input.feature_index"])
            if row["Answer.reasons"]:
                words[pair][row["Answer.reasons"]] = None
    return {pair: list(sentences) for pair, sentences in words.items()}


def _card(view: ClassView) -> dict[str, Any]:
    """Return what the index keeps of a class, so that no other class need be in memory."""
    pictures: Iterable[Picture] = view.most or view.pairs[0].pictures
    return {
        "file": view.file,
        "name": view.name,
        "wnid": view.wnid,
        "spurious": view.spurious,
        "pairs": len(view.pairs),
        "source": next((picture.source for picture in pictures), ""),
    }


def _template() -> jinja2.Template:
    pages = environment()
    # A string of JSON is a string of Python.
    pages.filters["python"] = json.dumps
    return pages.get_template(_TEMPLATE)


def _write(path: Path, html: str) -> None:
    with atomic_write(path) as file:
        file.write(html.encode())
