"""Thumbnails of the images at both ends of components, for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from builder.evaluate.pictures import gather_pictures, seen_window
from builder.reporter import Reporter
from builder.settings.subgrouping import Subgrouping
from builder.subgroups.report import DividedClass, Report


def shown_classes(report: Report, count: int) -> list[DividedClass]:
    """Return the classes of which images are shown: the widest gaps to their worst subgroup."""
    by_gap = sorted(report.divided, key=lambda own: (-own.division.gap, own.division.label))
    return by_gap[:count]


def make_thumbnails(settings: Subgrouping, report: Report, reporter: Reporter) -> Mapping[str, str]:
    """Return thumbnails as data URIs, by image id."""
    ids = [name for own in shown_classes(report, settings.pictures) for name in _ids(own)]
    return gather_pictures(settings, ids, seen_window, reporter)


def _ids(own: DividedClass) -> Iterator[str]:
    for component in own.components:
        for row in component.rows:
            yield own.division.image_ids[row]
