"""Plots of the card, as SVG: the same numbers always give the same bytes, on any machine."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from builder.dataset.statistics import EDGES, MASK_KINDS, SplitStatistics
from builder.pages.pictures import COLOURS
from builder.templates import environment
from salient_imagenet_1m import KINDS

WIDTH = 760
_LEFT, _RIGHT, _TOP = 110, 30, 64
_SPAN = WIDTH - _LEFT - _RIGHT
_PANEL, _BARS_HEIGHT = 150, 110
_LEGEND_HEIGHT, _ROW, _ROW_BAR = 34, 58, 26

KIND_COLOURS = {
    "core": "#{:02x}{:02x}{:02x}".format(*COLOURS["core"]),
    "background": "#{:02x}{:02x}{:02x}".format(*COLOURS["spurious"]),
    "separate_object": "#ffa763",
    "mixed": "#b3541c",
}

_LEGEND = {
    "core": (0, "core"),
    "background": (75, "spurious: background"),
    "separate_object": (250, "spurious: separate object"),
    "mixed": (455, "spurious: mixed"),
}
"""Where each kind's name stands, in pixels, and the name."""

_SMALLEST_LABEL = 60
"""Pixels of a bar that has room for its number."""


@dataclass(frozen=True)
class Bar:
    """A rectangle, in pixels."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    label: str = ""


def spuriosity_plot(statistics: dict[str, SplitStatistics]) -> str:
    """Return a histogram of spuriosity for each split, as an SVG."""
    panels = [_histogram(place, *item) for place, item in enumerate(statistics.items())]
    ticks = [
        {"x": _LEFT + _SPAN * (value - EDGES[0]) / (EDGES[-1] - EDGES[0]), "label": label}
        for value, label in _tick_labels()
    ]
    return _render(
        "histogram",
        title="Spuriosity of images within their classes",
        subtitle="mean z-score of the class's spurious features: to the right the cue is strong",
        height=_TOP + len(panels) * _PANEL,
        panels=panels,
        ticks=ticks,
    )


def _histogram(place: int, split: str, found: SplitStatistics) -> dict[str, Any]:
    base = _TOP + place * _PANEL + _BARS_HEIGHT
    counts = found.spuriosity.tolist()
    highest = max(1, *counts)
    step = _SPAN / len(counts)
    bars = [
        Bar(
            x=_LEFT + index * step,
            y=base - _BARS_HEIGHT * count / highest,
            width=step - 1,
            height=_BARS_HEIGHT * count / highest,
            colour=_shade(index / (len(counts) - 1)),
        )
        for index, count in enumerate(counts)
    ]
    return {"name": split, "note": f"{sum(counts):,} ranked images", "base": base, "bars": bars}


def kinds_plot(statistics: dict[str, SplitStatistics]) -> str:
    """Return how many masks of each kind each split has, as bars in an SVG."""
    panels = [_kinds_bar(place, *item) for place, item in enumerate(statistics.items())]
    legend = [
        {"x": _LEFT + x, "colour": KIND_COLOURS[kind], "label": label}
        for kind, (x, label) in _LEGEND.items()
    ]
    return _render(
        "bars",
        title="Masks by kind",
        subtitle="a mask per image and feature of its class",
        height=_TOP + _LEGEND_HEIGHT + len(panels) * _ROW,
        panels=panels,
        legend=legend,
    )


def _kinds_bar(place: int, split: str, found: SplitStatistics) -> dict[str, Any]:
    top = _TOP + _LEGEND_HEIGHT + place * _ROW
    total = sum(found.masks_by_kind.values())
    bars, x = [], float(_LEFT)
    for kind in MASK_KINDS:
        count = found.masks_by_kind[kind]
        width = _SPAN * count / total
        label = f"{count:,}" if width >= _SMALLEST_LABEL else ""
        bars.append(Bar(x, top, width, _ROW_BAR, KIND_COLOURS[kind], label))
        x += width
    return {"name": split, "note": f"{total:,}", "base": top + _ROW_BAR, "bars": bars}


def masks_plot(rows: list[dict[str, Any]], names: list[str]) -> str:
    """Return the core and spurious masks of a few images, in their colours on black.

    Parameters
    ----------
    rows : list of dict
        Of the config masks; their pictures are used as they are.
    names : list of str
        The name of each class, by label.

    Returns
    -------
    str
        An SVG.
    """
    side = (WIDTH - 48 - 10 * (len(rows) - 1)) / len(rows)
    tiles = [
        {
            "x": 24 + index * (side + 10),
            "name": row["image_id"],
            "note": names[row["label"]],
            "layers": [
                {
                    "id": f"{kind}-{index}",
                    "colour": "#{:02x}{:02x}{:02x}".format(*COLOURS[kind]),
                    "picture": b64encode(row[f"{kind}_mask"]["bytes"]).decode(),
                }
                for kind in KINDS
                if row[f"{kind}_mask"]
            ],
        }
        for index, row in enumerate(rows)
    ]
    return _render(
        "masks",
        title="Where the network looks",
        subtitle="core masks are teal, spurious masks orange, both light; no image is shown",
        height=_TOP + side + 52,
        panels=[],
        side=side,
        top=_TOP,
        tiles=tiles,
    )


def _tick_labels() -> list[tuple[int, str]]:
    low, high = int(EDGES[0]), int(EDGES[-1])
    minus = "\N{MINUS SIGN}"
    labels = [(value, f"{value}".replace("-", minus)) for value in range(low, high + 1)]
    labels[0] = (low, f"\N{LESS-THAN OR EQUAL TO} {minus}{-low}")
    labels[-1] = (high, f"\N{GREATER-THAN OR EQUAL TO} {high}")
    return labels


def _shade(place: float) -> str:
    """Return a colour between those of core, at 0, and spurious, at 1."""
    ends = zip(COLOURS["core"], COLOURS["spurious"], strict=True)
    return "#" + "".join(f"{round(low + (high - low) * place):02x}" for low, high in ends)


def _render(kind: str, **values: object) -> str:
    return _template().render(kind=kind, width=WIDTH, left=_LEFT, span=_SPAN, **values)


@cache
def _template() -> jinja2.Template:
    plots = environment()
    plots.filters["px"] = "{:.1f}".format
    return plots.get_template("plot.svg.jinja")
