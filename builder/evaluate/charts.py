"""Charts: figures of Plotly with a heading and how they are read, all in one style."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from typing import Any, Protocol

import plotly.graph_objects as go

from builder.evaluate.measures import Score

INK, LINE = "#1b1f2a", "#dcd8cd"
CUE, EVEN, NO_CUE = "#b84a00", "#f8f6f1", "#00806f"
"""Colours of a gap above, at and below 0."""

POINTS = "percentage points"

_NAMED_MODELS, _NAMED_WITHOUT_FAMILY = 8, 40

_FONT = {"family": "system-ui, sans-serif", "size": 13, "color": INK}
_AXIS = {
    "automargin": True,
    "gridcolor": "#ece9e1",
    "linecolor": LINE,
    "ticks": "",
    "title": {"font": _FONT, "standoff": 8},
    "zerolinecolor": "#b9b4a7",
}


@dataclass(frozen=True)
class Chart:
    """A figure with what stands above it.

    Attributes
    ----------
    title, reading : str
    figure : dict
        As Plotly's JavaScript takes it.
    """

    title: str
    reading: str
    figure: dict[str, Any]


class Judged(Protocol):
    """Models with their scores and families, in the same order."""

    @property
    def scores(self) -> dict[str, list[Score]]: ...  # noqa: D102
    @property
    def families(self) -> dict[str, str]: ...  # noqa: D102


def are_named(report: Judged) -> bool:
    """Tell whether models are told apart one by one, as they are few, or else by family."""
    most = _NAMED_MODELS if any(report.families.values()) else _NAMED_WITHOUT_FAMILY
    return len(report.scores) <= most


def finished(figure: go.Figure, height: int) -> dict[str, Any]:
    """Return a figure in the style of all, of so many pixels, as Plotly's JavaScript takes it."""
    figure.update_xaxes(_AXIS)
    figure.update_yaxes(_AXIS)
    figure.update_layout(
        template="none",
        font=_FONT,
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        showlegend=False,
        paper_bgcolor="rgba(0, 0, 0, 0)",
        modebar={"bgcolor": "rgba(0, 0, 0, 0)", "color": "#a9a498", "activecolor": INK},
        hoverlabel={"bgcolor": "#fff", "bordercolor": LINE, "font": _FONT, "align": "left"},
    )
    plain: dict[str, Any] = json.loads(figure.to_json())
    return plain


def as_text(name: str) -> str:
    """Return a name as Plotly shows it: it takes some tags for its own markup."""
    return html.escape(name, quote=False)


def as_tick(name: str, length: int = 24) -> str:
    """Return a name as text beside an axis, cut where it is long."""
    return as_text(name if len(name) <= length else f"{name[: length - 1]}\u2026")
