"""Thumbnails of the images at both ends of components, for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import salient_imagenet_1m as si
from builder.evaluate.extremes import with_thumbnail
from builder.reporter import Reporter
from builder.settings import Subgrouping
from builder.subgroups.report import DividedClass, Report
from builder.threads import usable_cores

_COLUMNS = ["image", "image_id", "width", "height"]


def shown_classes(report: Report, count: int) -> list[DividedClass]:
    """Return the classes of which images are shown: the widest gaps to their worst subgroup."""
    by_gap = sorted(report.divided, key=lambda own: (-own.division.gap, own.division.label))
    return by_gap[:count]


def make_thumbnails(settings: Subgrouping, report: Report, reporter: Reporter) -> Mapping[str, str]:
    """Return thumbnails as data URIs, by image id."""
    ids = sorted({name for own in shown_classes(report, settings.pictures) for name in _ids(own)})
    if not ids:
        return {}
    stream = si.load(
        settings.data,
        "images",
        images=settings.images,
        split=settings.split,
        streaming=True,
        columns=_COLUMNS,
        select=si.Selection(ids=ids),
        transform=with_thumbnail,
        threads=usable_cores(),
    )
    found = {}
    with reporter.track("thumbnails", len(ids)) as advance:
        for example in stream:
            found[example["image_id"]] = example["thumbnail"]
            advance(1)
    return found


def _ids(own: DividedClass) -> Iterator[str]:
    for component in own.components:
        for row in component.rows:
            yield own.division.image_ids[row]
