"""The page of a tuned head: how it stood before and stands after, and charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from builder.evaluate.charts import CUE, INK, NO_CUE, POINTS, Chart, as_text, finished
from builder.evaluate.conditions import CLEAN
from builder.evaluate.measures import BOTTOM, GAP, TOP, accuracy_of, overall
from builder.evaluate.outcome import OutcomePage
from builder.evaluate.table import Column
from builder.tune.dfr import Fitted
from builder.tune.judge import BINS, Standing
from builder.tune.report import HeadReport

COLUMNS = (
    Column(accuracy_of(CLEAN), "accuracy"),
    Column(TOP, "on the most spurious"),
    Column(BOTTOM, "on the least spurious"),
    Column(GAP, "spurious gap", "points", form="+z.1f"),
)
"""What the page tells of both heads; points are percentage points."""

_CHOSEN = {
    "least-spurious": "the least spurious",
    "random": "random ones",
    "misclassified": "misclassified ones",
}
_COLOURS = {"before": INK, "after": NO_CUE}
_HEIGHT = 380


def make_page(report: HeadReport) -> str:
    """Return the page as HTML that needs nothing else."""
    how, made_from = report.how, report.made_from
    if isinstance(how, Fitted):
        done = f"Fitted anew to {report.images:,} training images from both ends of the rankings"
        chart = _strengths(how)
    else:
        others = ", and random ones of each other" if made_from["also_unranked"] else ""
        done = (
            f"Tuned on {report.images:,} training images, {_CHOSEN[made_from['choose']]} of each "
            f"ranked class{others}. Epochs: {len(how) - 1}"
        )
        chart = _epochs(how)
    page = OutcomePage(
        f"The head of {made_from['model']}",
        f"{done}. All numbers are means over classes, of half of the validation images, every "
        "other one of each ranking, which had no say in when to stop. Ranges are 95 % bootstrap "
        "intervals over images.",
        {f"{column.title} ({column.unit})": _told(report, column) for column in COLUMNS},
        [_along_rankings(report), chart, _classes(report)],
        made_from,
    )
    return page.html()


def _told(report: HeadReport, column: Column) -> str:
    """Return a measure of both heads, with its intervals."""
    found = {name: overall(scores)[column.measure] for name, scores in report.scores.items()}
    return "; ".join(
        f"{name} {column.text(score.value)} ({column.text(score.low)} to {column.text(score.high)})"
        for name, score in found.items()
    )


def _along_rankings(report: HeadReport) -> Chart:
    figure = go.Figure()
    centres = [100 * (place + 0.5) / BINS for place in range(BINS)]
    for name, values in report.along.items():
        shown = [None if value != value else 100 * value for value in values.tolist()]  # noqa: PLR0124 (NaN)
        _line(figure, centres, shown, name, _COLOURS[name], "%{y:.1f} %<extra>" + name + "</extra>")
    figure.update_xaxes(title_text="place in the ranking (%), most spurious first", range=[0, 100])
    figure.update_yaxes(title_text="accuracy (%)")
    return Chart(
        "Accuracy along the rankings",
        "Each point is a tenth of the rankings, the mean over ranked classes. A head that does not "
        "need the cue is as right where it is missing: its line is flat.",
        _with_legend(figure),
    )


def _epochs(standings: Sequence[Standing]) -> Chart:
    figure = go.Figure()
    epochs = list(range(len(standings)))
    for name, values, colour in (
        ("accuracy (%)", [100 * s.accuracy for s in standings], NO_CUE),
        ("spurious gap (points)", [100 * s.gap for s in standings], CUE),
    ):
        _line(figure, epochs, values, name, colour, "%{y:.1f}<extra>" + name + "</extra>")
    figure.update_xaxes(title_text="epoch")
    return Chart(
        "Epoch by epoch",
        "On the images that decide when to stop, which no other number here is of.",
        _with_legend(figure),
    )


def _strengths(fitted: Fitted) -> Chart:
    figure = go.Figure()
    values = [100 * worst for worst in fitted.worst.values()]
    _line(figure, list(fitted.worst), values, "", NO_CUE, "C = %{x}: %{y:.1f} %<extra></extra>")
    figure.update_xaxes(title_text="inverse strength C of the penalty", type="log")
    figure.update_yaxes(title_text="accuracy on the worse end (%)")
    return Chart(
        "How strong a penalty",
        "Accuracy on the halves of the groups that no fit saw, at the end of the rankings where it "
        "is worse. The head is fitted with the best.",
        finished(figure, _HEIGHT),
    )


def _classes(report: HeadReport) -> Chart:
    before, after = (
        {s.label: s.value for s in report.scores[name] if s.measure == GAP and s.label is not None}
        for name in ("before", "after")
    )
    figure = go.Figure(
        go.Scatter(
            x=[100 * before[label] for label in before],
            y=[100 * after[label] for label in before],
            mode="markers",
            marker={"color": NO_CUE, "size": 7, "opacity": 0.6},
            text=[as_text(report.names[label]) for label in before],
            hovertemplate="%{text}<br>%{x:+.0f} before, %{y:+.0f} after<extra></extra>",
        )
    )
    figure.update_xaxes(title_text=f"spurious gap before ({POINTS})")
    figure.update_yaxes(title_text=f"spurious gap after ({POINTS})")
    return Chart(
        "Class by class",
        "Each point is a ranked class. On the horizontal line the cue no longer matters.",
        finished(figure, _HEIGHT),
    )


def _line(
    figure: go.Figure, x: list[Any], y: list[Any], name: str, colour: str, template: str
) -> None:
    figure.add_scatter(
        x=x,
        y=y,
        name=name,
        mode="lines+markers",
        line={"color": colour, "width": 2},
        hovertemplate=template,
    )


def _with_legend(figure: go.Figure) -> dict[str, Any]:
    plain = finished(figure, _HEIGHT)
    plain["layout"]["showlegend"] = True
    plain["layout"]["legend"] = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    return plain
