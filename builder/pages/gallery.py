"""Pages that show people what is in a data set: images, masks, votes, class by class."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

from builder.dataset.dataset import DataSet
from builder.dataset.manifest import Manifest
from builder.dataset.subject import Subject
from builder.dataset.votes import read_votes, reasons_of
from builder.errors import BuildError, printable
from builder.images.sources import find_images, open_images
from builder.pages.highlights import Row, find_highlights, find_whole
from builder.pages.views import ClassView, GroundTruth, Picture, Views
from builder.reporter import Reporter
from builder.settings.gallery import GallerySettings
from builder.storage.files import (
    atomic_write,
    disk_errors_as_sentences,
    require_directory,
    require_writable,
)
from builder.templates import environment

TOP_IMAGES = 5
END_IMAGES = 5
LARGEST_PAGE = 50
"""Classes on one page at most; each weighs about 300 kB."""

_TEMPLATE = "gallery.html.jinja"


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
    with disk_errors_as_sentences(settings.data):
        data = _open(settings)
        counts = data.manifest.splits[settings.split]["counts"]
        _check_out(settings.target, counts["classes"])
        known = known or GroundTruth(Subject.of(data.manifest).title)
        views = _views(data, settings, known, reporter)
    shared = {
        "known": known,
        "data": printable(str(settings.data)),
        "split": settings.split,
        "network": data.manifest.origin["network"],
        "counts": counts,
    }
    template = _template()
    with disk_errors_as_sentences(settings.target.parent):
        if settings.target.suffix == ".html":
            html = template.render(page="all", views=list(views.each(reporter)), **shared)
            _write(settings.target, html)
            return settings.target
        unfinished = settings.target.with_name(f".{settings.target.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        cards = []
        for view in views.each(reporter):
            html = template.render(page="class", views=[view], **shared)
            _write(unfinished / view.file, html)
            cards.append(_card(view))
        _write(unfinished / "index.html", template.render(page="index", cards=cards, **shared))
        unfinished.rename(settings.target)
        return settings.target / "index.html"


def _open(settings: GallerySettings) -> DataSet:
    data, split = settings.data, settings.split
    manifest = Manifest.load(data)
    if manifest is None:
        raise BuildError(f"{data} holds no finished build: give the directory that build wrote.")
    if split not in manifest.splits:
        there = ", ".join(sorted(manifest.splits))
        raise BuildError(f"{data} has no split {split}, only {there}: check --split.")
    if settings.votes and read_votes(settings.votes, 1).sha256 != manifest.origin["votes_sha256"]:
        raise BuildError(f"{settings.votes} are not the votes of {data}: check --votes.")
    return DataSet(manifest, data)


def _check_out(out: Path, classes: int) -> None:
    is_page = out.suffix == ".html"
    require_writable(out)
    if is_page and not out.parent.is_dir():
        raise BuildError(f"There is no directory {out.parent}: check --out.")
    if not is_page:
        require_directory(out)
    if out.exists():
        raise BuildError(f"{out} exists already: remove it, or use another --out.")
    if is_page and classes > LARGEST_PAGE:
        raise BuildError(
            f"One page of {classes:,} classes would be too large for a browser: give --out a "
            "directory, for a page per class."
        )


def _views(
    data: DataSet, settings: GallerySettings, known: GroundTruth, reporter: Reporter
) -> Views:
    """Read all that is shown, but for the images themselves, of which only places are found."""
    with reporter.track("choosing images"):
        highlights = find_highlights(data, settings.split, TOP_IMAGES, END_IMAGES)
    pairs: defaultdict[int, list[Row]] = defaultdict(list)
    for row in data.read("features", settings.split).to_pylist():
        pairs[row["label"]].append(row)
    with reporter.track("listing images") as advance:
        images = open_images(settings.images, settings.split, advance)
    wanted = {name for chosen in highlights.values() for name in chosen.ids}
    places = find_images(images, wanted)
    missing = wanted - places.keys()
    if missing:
        raise BuildError(
            f"{settings.images} lacks {len(missing):,} of the {len(wanted):,} images to "
            f"show, {min(missing)} for one: check --images and --split."
        )
    words = reasons_of(settings.votes) if settings.votes else {}
    whole = find_whole(data, settings.split, {h.first["image_id"] for h in highlights.values()})
    return Views(highlights, pairs, images, places, words, known, whole)


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
