"""Charts of classes: their gaps in each model, and how these correlate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from builder.evaluate.charts import (
    CUE,
    EVEN,
    LINE,
    NO_CUE,
    POINTS,
    Chart,
    are_named,
    as_text,
    as_tick,
    finished,
)
from builder.evaluate.measures import GAP, Floats
from builder.evaluate.report import Report
from builder.evaluate.table import short_names

SHOWN_CLASSES = 20
"""Rows of a chart of some classes."""

_COLOURS = "Orange: more accurate with the cue than without; green: less."
_CHOOSE = "Choose a row to see the images of its class."


def class_charts(report: Report) -> list[Chart]:
    """Return the gaps of classes: of those on which models agree most, and least.

    How far models disagree on a class is the standard deviation of its gap over models. Of a model
    alone the classes with the largest and the smallest gaps are shown.
    """
    gaps = report.of_classes(GAP)
    several = len(gaps) > 1
    # Of classes with the same spread those come first whose mean gaps are the furthest from 0.
    keys = (-np.abs(gaps.mean(0)), gaps.std(0)) if several else (-gaps[0],)
    order = np.lexsort(keys)
    if len(order) <= 2 * SHOWN_CLASSES:
        titles = ["The gap of each class" + (", where models agree most first" if several else "")]
        parts = [order]
    else:
        ends = ("on which models agree most", "on which models disagree most")
        ends = ends if several else ("with the largest gaps", "with the smallest gaps")
        titles = [f"The {SHOWN_CLASSES} classes {end}" for end in ends]
        parts = [order[:SHOWN_CLASSES], order[::-1][:SHOWN_CLASSES]]
    if several:
        limit = max(1, np.ceil(100 * np.abs(gaps[:, np.concatenate(parts)]).max()))
        reading = f"Each row is a class, each column a model. {_COLOURS} {_CHOOSE}"
        figures = [_heat_map(report, places, limit) for places in parts]
    else:
        reading = f"Each bar is a class, with its 95 % interval. {_COLOURS} {_CHOOSE}"
        figures = [_bar_chart(report, places) for places in parts]
    return [Chart(title, reading, figure) for title, figure in zip(titles, figures, strict=True)]


def correlation_chart(report: Report) -> Chart | None:
    """Return how far the class-wise gaps of every two models correlate, from three models on."""
    gaps, models = report.of_classes(GAP), _by_family(report)
    if len(models) < 3 or gaps.shape[1] < 2:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs: Floats = np.asarray(np.corrcoef(gaps[_places(report, models)]))
    cells = [[None if np.isnan(r) else round(r, 3) for r in row] for row in pairs.tolist()]
    short = short_names(models)
    names = [as_text(short[model]) for model in models]
    figure = _heat(
        cells,
        hover=[[f"{one}<br>{other}" for other in names] for one in names],
        limit=1,
        title="Pearson correlation",
        template="%{hovertext}<br>r = %{z:.2f}<extra></extra>",
    )
    figure.update_xaxes(**_model_ticks(report, models))
    figure.update_yaxes(**_model_ticks(report, models), autorange="reversed")
    return Chart(
        "Do models need the same cues?",
        "Each cell is a pair of models: the Pearson correlation of their gaps over classes. Near 1 "
        "both need the cue in the same classes; models of a family lie beside each other.",
        finished(figure, 500),
    )


def _heat_map(report: Report, places: npt.NDArray[np.int64], limit: float) -> dict[str, Any]:
    """Return the gaps of some classes, the first above, and of models, by family."""
    models = _by_family(report)
    labels, names = _classes(report, places)
    gaps = report.of_classes(GAP)[_places(report, models)][:, places]
    figure = _heat(
        np.round(100 * gaps.T, 1).tolist(),
        hover=[[f"{as_text(name)}<br>{as_text(model)}" for model in models] for name in names],
        limit=limit,
        title=f"spurious gap ({POINTS})",
        template="%{hovertext}<br>%{z:+.0f} points<extra></extra>",
    )
    figure.data[0].customdata = [[label] * len(models) for label in labels]
    figure.update_xaxes(**_model_ticks(report, models))
    figure.update_yaxes(**_class_ticks(names))
    return finished(figure, 280 + 20 * len(names))


def _bar_chart(report: Report, places: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return the gaps of some classes in the only model, the first above."""
    labels, names = _classes(report, places)
    [scores] = report.scores.values()
    of_label = {score.label: score for score in scores if score.measure == GAP}
    gaps = [of_label[label] for label in labels]
    figure = go.Figure(
        go.Bar(
            x=[100 * gap.value for gap in gaps],
            y=list(range(len(gaps))),
            orientation="h",
            error_x={
                "array": [100 * (gap.high - gap.value) for gap in gaps],
                "arrayminus": [100 * (gap.value - gap.low) for gap in gaps],
                "color": "#8a8577",
                "thickness": 1,
                "width": 0,
            },
            marker={"color": [CUE if gap.value > 0 else NO_CUE for gap in gaps]},
            customdata=labels,
            hovertext=list(map(as_text, names)),
            hovertemplate="%{hovertext}<br>%{x:+.0f} points<extra></extra>",
        )
    )
    figure.update_xaxes(title_text=f"spurious gap ({POINTS})", side="top")
    figure.update_yaxes(**_class_ticks(names))
    return finished(figure, 100 + 20 * len(names))


def _heat(
    cells: list[list[Any]], hover: list[list[str]], limit: float, title: str, template: str
) -> go.Figure:
    figure = go.Figure(
        go.Heatmap(
            z=cells,
            hovertext=hover,
            hovertemplate=template,
            zmin=-limit,
            zmax=limit,
            colorscale=[[0, NO_CUE], [0.5, EVEN], [1, CUE]],
            xgap=0.5,
            ygap=0.5,
            colorbar={
                "title": {"text": title, "side": "top", "font": {"size": 13}},
                "orientation": "h",
                "x": 0.5,
                "y": 1,
                "yanchor": "bottom",
                "thickness": 8,
                "len": 0.9,
                "outlinewidth": 0,
                "tickvals": [-limit, 0, limit],
                "ticktext": [f"\u2212{limit:.0f}", "0", f"+{limit:.0f}"],
            },
        )
    )
    figure.update_layout(plot_bgcolor=LINE)
    figure.update_xaxes(showgrid=False, zeroline=False)
    figure.update_yaxes(showgrid=False, zeroline=False)
    return figure


def _by_family(report: Report) -> list[str]:
    """Return the models, those of a family beside each other."""
    families = list(dict.fromkeys(report.families.values()))
    return sorted(report.scores, key=lambda model: families.index(report.families[model]))


def _places(report: Report, models: Sequence[str]) -> list[int]:
    known = list(report.scores)
    return [known.index(model) for model in models]


def _classes(report: Report, places: npt.NDArray[np.int64]) -> tuple[list[int], list[str]]:
    """Return labels and names of ranked classes."""
    known = report.labels_of(GAP)
    labels = [known[place] for place in places.tolist()]
    return labels, [report.names[label] for label in labels]


def _class_ticks(names: Sequence[str]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [as_tick(name.split(",")[0]) for name in names],
        "autorange": "reversed",
    }


def _model_ticks(report: Report, models: Sequence[str]) -> dict[str, Any]:
    """Return the ticks of models along an axis: their names, or those of families if many."""
    if are_named(report):
        short = short_names(models)
        places, texts = list(map(float, range(len(models)))), [short[model] for model in models]
    else:
        members: dict[str, list[int]] = {}
        for place, model in enumerate(models):
            members.setdefault(report.families[model], []).append(place)
        places, texts = [float(np.mean(own)) for own in members.values()], list(members)
    # No tick is left out for want of room.
    angles = {"autotickangles": [0, 90], "ticklabeloverflow": "allow"}
    return {"tickvals": places, "ticktext": list(map(as_tick, texts)), **angles}
