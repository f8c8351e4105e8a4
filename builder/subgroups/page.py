"""The page of subgroups: a table of classes, and each component with images of both ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from builder.evaluate.pictures import SIDE
from builder.subgroups.groups import Share
from builder.subgroups.names import Named, Word, first_that_tells, tells
from builder.subgroups.report import DividedClass, Report
from builder.subgroups.thumbnails import shown_classes
from builder.templates import environment

METHODS = {
    "dim": "by DIM: partial least squares of what images look like on how wrong the model is",
    "pca": "by PCA, which knows nothing of the model's mistakes",
    "kmeans": "by k-means, which knows nothing of the model's mistakes",
    "random": "at random, as a control",
}
"""How classes were divided, in words."""

_REASONS = 3
"""That are shown of a feature."""


def make_page(report: Report, pictures: Mapping[str, str]) -> str:
    """Return the page as HTML that needs nothing else.

    Parameters
    ----------
    report : Report
    pictures : mapping of str to str
        Data URIs of thumbnails, by image id; an image without one is named.
    """
    shown = shown_classes(report, report.made_from["pictures"])
    by_gap = shown_classes(report, len(report.classes))
    return (
        environment(__package__, "builder.evaluate")
        .get_template("page.html")
        .render(
            model=report.made_from["model"],
            method=METHODS[report.made_from["method"]],
            space=report.space,
            subgroups=report.subgroups,
            are_together=_are_together(report),
            is_dim=report.made_from["method"] == "dim",
            split=report.made_from["split"],
            images=sum(len(own.division.image_ids) for own in report.classes),
            means=report.means(),
            rows=[_row(report, own) for own in by_gap],
            not_divided=[
                report.names[own.division.label] for own in report.classes if own.division.is_whole
            ],
            shown=[
                {"label": own.division.label, "told": _told(report, own, pictures)} for own in shown
            ],
            identity=report.made_from,
            side=SIDE,
            percent=percent,
        )
    )


def _are_together(report: Report) -> bool:
    """Return whether both ends of a component are one subgroup."""
    return report.made_from.get("ends") == "together"


def percent(value: float) -> str:
    """Return a share as a percentage, a dash for none."""
    return "\u2013" if math.isnan(value) else f"{100 * value:.0f} %"


def _row(report: Report, own: DividedClass) -> dict[str, Any]:
    division = own.division
    worst = division.worst.accuracy
    named = first_that_tells(own.components[0].features, len(division.image_ids))
    return {
        "label": division.label,
        "name": report.names[division.label],
        "images": len(division.image_ids),
        "accuracy": percent(division.accuracy.value),
        "worst": percent(worst.value),
        "interval": _interval(worst),
        "chance": percent(division.random_worst),
        "unseen": percent(division.unseen.value),
        "unseen_interval": _interval(division.unseen),
        "gap": f"{100 * division.gap:.0f}",
        "feature": f"{named.pair.kind} {named.pair.feature}" if named else "",
    }


def _interval(share: Share) -> str:
    if not share.images:
        return ""
    return f"{percent(share.low)} to {percent(share.high)} of {share.images}"


def _told(report: Report, own: DividedClass, pictures: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page's script shows of a class."""
    division = own.division
    images = len(division.image_ids)
    rows = sorted({row for component in own.components for row in component.rows})
    return {
        "label": division.label,
        "name": report.names[division.label],
        "images": images,
        "accuracy": _share(division.accuracy),
        "chance": _rounded(division.random_worst),
        "unseen": _share(division.unseen),
        "pictures": {
            row: {
                "id": division.image_ids[row],
                "right": bool(division.right[row]),
                "loss": round(float(division.losses[row]), 2),
                "source": pictures.get(division.image_ids[row]),
            }
            for row in rows
        },
        "subgroups": [
            {
                "accuracy": _share(subgroup.accuracy),
                "loss": _rounded(subgroup.loss),
                "high": {
                    "accuracy": _share(subgroup.high),
                    "pictures": component.high,
                    "words": _words(component.high_words),
                },
                "low": {
                    "accuracy": _share(subgroup.low),
                    "pictures": component.low,
                    "words": _words(component.low_words),
                },
                "features": [_feature(named, images) for named in component.features],
            }
            for subgroup, component in zip(division.subgroups, own.components, strict=True)
        ],
    }


def _feature(named: Named, images: int) -> dict[str, Any]:
    return {
        "feature": named.pair.feature,
        "kind": named.pair.kind,
        "votes": [
            f"{count} {answer.replace('_', ' ')}"
            for answer, count in named.pair.votes.items()
            if count
        ],
        "reasons": list(named.pair.reasons[:_REASONS]),
        "correlation": _rounded(named.correlation),
        "tells": bool(tells(named, images)),
    }


def _words(words: Sequence[Word]) -> list[str]:
    return [word.word for word in words]


def _share(share: Share) -> dict[str, Any]:
    return {
        "images": share.images,
        "value": _rounded(share.value),
        "low": _rounded(share.low),
        "high": _rounded(share.high),
    }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)
