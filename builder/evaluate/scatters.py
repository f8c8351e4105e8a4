"""Scatter charts: a point for each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from builder.evaluate.charts import INK, POINTS, Chart, Judged, are_named, as_text, finished
from builder.evaluate.measures import BOTTOM, GAP, RCS, TOP, Score, accuracy_of, overall
from builder.evaluate.report import Report

_COLOURS = ("#00806f", "#b84a00", "#3b5bdb", "#a61e6d", "#8a6d00", "#4b5563", "#1487b8", "#7048b6")
_SYMBOLS = {
    "circle": "\u25cf",
    "square": "\u25a0",
    "diamond": "\u25c6",
    "triangle-up": "\u25b2",
    "star": "\u2605",
}
_HEIGHT = 400


@dataclass(frozen=True)
class Group:
    """Models that are drawn alike, a trace of each chart.

    Attributes
    ----------
    name : str
    models : list of str
    colour : str
    symbol : str
        Plotly's name of it.
    """

    name: str
    models: list[str]
    colour: str
    symbol: str

    @property
    def glyph(self) -> str:
        """The symbol as a character."""
        return _SYMBOLS[self.symbol]


def groups_of(report: Judged) -> list[Group]:
    """Return the models by family, or one by one where they are few."""
    models = list(report.scores)
    names = {model: report.families[model] or "no family" for model in models}
    if are_named(report):
        names = {model: model for model in models}
    groups = []
    for place, name in enumerate(dict.fromkeys(names.values())):
        # Numbers of colours and symbols have no common divisor: all pairs come before one again.
        colour, symbol = _COLOURS[place % len(_COLOURS)], list(_SYMBOLS)[place % len(_SYMBOLS)]
        groups.append(Group(name, [m for m in models if names[m] == name], colour, symbol))
    return groups


def scatter_charts(report: Report, groups: Sequence[Group]) -> list[Chart]:
    """Return clean accuracy against RCS and the gap, and the accuracies at both ends of rankings.

    Parameters
    ----------
    report : Report
    groups : sequence of Group
        The first traces of each chart are theirs, in their order.
    """
    charts = [
        Chart(
            "Who uses the core",
            "Each point is a model, with the 95 % intervals of both means. Higher: accuracy "
            "suffers more when the core is corrupted than when all else is. At 0 it makes no "
            "difference which.",
            over_accuracy(report, groups, RCS, "RCS (\u22121 to 1)", 1),
        ),
        Chart(
            "Who needs the cue",
            "Each point is a model, with the 95 % intervals of both means. Higher: the model loses "
            "more accuracy where what usually comes with a class is missing. At 0 it does not need "
            "it.",
            over_accuracy(report, groups, GAP, f"spurious gap ({POINTS})", 100),
        ),
    ]
    if report.robustness:
        charts.append(
            Chart(
                "Effective robustness",
                "Accuracy at both ends of the rankings; the line fits all models. A model above it "
                "does better without the cue than its accuracy with the cue lets expect: its "
                "effective robustness is how far it lies above.",
                _robustness(report, groups),
            )
        )
    return charts


def over_accuracy(
    report: Judged, groups: Sequence[Group], measure: str, title: str, factor: float
) -> dict[str, Any]:
    """Return a figure of a measure, times a factor, over clean accuracy, with intervals."""
    figure = go.Figure()
    for group in groups:
        found = {model: overall(report.scores[model]) for model in group.models}
        known = {model: means for model, means in found.items() if measure in means}
        x = [means[accuracy_of("clean")] for means in known.values()]
        y = [means[measure] for means in known.values()]
        figure.add_scatter(
            x=[100 * score.value for score in x],
            y=[factor * score.value for score in y],
            error_x=_bars(x, 100, group.colour),
            error_y=_bars(y, factor, group.colour),
            **points_of(report, group, list(known)),
            hovertemplate="%{text}<br>%{x:.1f} % clean, %{y:.2f}<extra>%{customdata}</extra>",
        )
    figure.update_xaxes(title_text="clean accuracy (%)")
    figure.update_yaxes(title_text=title, rangemode="tozero")
    return finished(figure, _HEIGHT)


def _robustness(report: Report, groups: Sequence[Group]) -> dict[str, Any]:
    top, bottom = (100 * report.of_classes(measure).mean(1) for measure in (TOP, BOTTOM))
    places = {model: place for place, model in enumerate(report.scores)}
    figure = go.Figure()
    for group in groups:
        own = [places[model] for model in group.models]
        figure.add_scatter(
            x=top[own].tolist(),
            y=bottom[own].tolist(),
            **points_of(report, group, group.models),
            hovertemplate="%{text}<br>%{x:.1f} % with the cue, %{y:.1f} % without"
            "<extra>%{customdata}</extra>",
        )
    ends = [int(top.argmin()), int(top.argmax())]
    line = bottom - 100 * np.array(list(report.robustness.values()))
    figure.add_scatter(
        x=top[ends].tolist(),
        y=line[ends].tolist(),
        mode="lines",
        line={"color": INK, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )
    figure.update_xaxes(title_text="accuracy, most spurious (%)")
    figure.update_yaxes(title_text="accuracy, least spurious (%)")
    return finished(figure, _HEIGHT)


def points_of(report: Judged, group: Group, models: Sequence[str]) -> dict[str, Any]:
    """Return how the points of models of a group look, and what is told of each."""
    return {
        "text": list(map(as_text, models)),
        "customdata": [as_text(report.families[model]) for model in models],
        "mode": "markers",
        "marker": {
            "color": group.colour,
            "symbol": group.symbol,
            "size": 9,
            "line": {"color": "#fff", "width": 1},
        },
    }


def _bars(scores: Sequence[Score], factor: float, colour: str) -> dict[str, Any]:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return {
        "array": [factor * (score.high - score.value) for score in scores],
        "arrayminus": [factor * (score.value - score.low) for score in scores],
        "color": f"rgba({red}, {green}, {blue}, .35)",
        "thickness": 1,
        "width": 0,
    }
