"""The page of a report: a table that sorts, and charts, in one file."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

from builder.evaluate.measures import GAP, RCS, Score, accuracy_of, overall
from builder.evaluate.report import Report
from builder.pages.templates import environment

MEASURES = {
    accuracy_of("clean"): "clean",
    accuracy_of("core"): "acc(C)",
    accuracy_of("spurious"): "acc(S)",
    RCS: "RCS",
    GAP: "spurious gap",
    accuracy_of("on_core_mask"): "noise on core masks",
    accuracy_of("on_spurious_mask"): "noise on spurious masks",
}
"""The columns of the table, in its order."""

SHOWN_CLASSES = 40
"""Classes of the heat map: those whose gaps are the largest and the smallest."""

_LAYOUT = {"template": "plotly_white", "margin": {"l": 60, "r": 20, "t": 40, "b": 50}}


def make_page(report: Report) -> str:
    """Return the page as HTML that needs nothing else."""
    charts = [
        _scatter(report, RCS, "Who uses the core: RCS over clean accuracy"),
        _scatter(report, GAP, f"Who needs the cue: spurious gap (k = {report.k})"),
    ]
    heat = _heat_map(report)
    return (
        environment("builder.evaluate")
        .get_template("report.html")
        .render(
            plotly=get_plotlyjs(),
            measures=MEASURES,
            rows=[
                (model, report.families[model], overall(report.scores[model]))
                for model in report.scores
            ],
            charts=list(map(_div, [*charts, *([heat] if heat else [])], count())),
            comparison=report.comparison,
            models=list(report.scores),
            identity=report.identity,
        )
    )


def _scatter(report: Report, measure: str, title: str) -> go.Figure:
    figure = go.Figure(layout={**_LAYOUT, "title": title})
    families = list(dict.fromkeys(report.families.values()))
    for family in families:
        models = [model for model in report.scores if report.families[model] == family]
        found = [overall(report.scores[model]) for model in models]
        known = [(m, f) for m, f in zip(models, found, strict=True) if measure in f]
        x = [f[accuracy_of("clean")] for _, f in known]
        y = [f[measure] for _, f in known]
        figure.add_scatter(
            x=[score.value for score in x],
            y=[score.value for score in y],
            error_x=_bars(x),
            error_y=_bars(y),
            text=[model for model, _ in known],
            name=family or "models",
            mode="markers",
        )
    figure.update_xaxes(title="clean accuracy", tickformat=".0%")
    figure.update_yaxes(title=MEASURES[measure])
    return figure


def _bars(scores: list[Score]) -> dict[str, Any]:
    return {
        "array": [score.high - score.value for score in scores],
        "arrayminus": [score.value - score.low for score in scores],
        "thickness": 0.7,
        "width": 0,
    }


def _heat_map(report: Report) -> go.Figure | None:
    """Return gaps by class and model, of the classes where they are furthest from the others'."""
    gaps = report.of_classes(GAP)
    if not gaps.size:
        return None
    first = next(iter(report.scores.values()))
    labels = [s.label for s in first if s.measure == GAP and s.label is not None]
    order = np.argsort(-gaps.mean(0), kind="stable")
    if len(order) > SHOWN_CLASSES:
        half = SHOWN_CLASSES // 2
        order = np.concatenate([order[:half], order[-half:]])
    names = [report.names[labels[place]].split(",")[0] for place in order]
    figure = go.Figure(
        go.Heatmap(
            z=gaps[:, order].T,
            x=list(report.scores),
            y=names,
            zmid=0,
            colorscale="RdBu_r",
            colorbar={"tickformat": ".0%"},
        ),
        layout={**_LAYOUT, "title": "Spurious gap of each class", "height": 200 + 18 * len(order)},
    )
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def _div(figure: go.Figure, number: int) -> str:
    html: str = plotly.io.to_html(
        figure,
        full_html=False,
        include_plotlyjs=False,
        config={"responsive": True},
        div_id=f"chart-{number}",
    )
    return html
