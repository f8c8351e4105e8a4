"""Charts of models without the object, with noise, and by the object's size and place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from builder.evaluate.charts import CUE, LINE, NO_CUE, Chart, Judged, as_text, as_tick, finished
from builder.evaluate.conditions import CLEAN
from builder.evaluate.measures import accuracy_of, overall
from builder.evaluate.scatters import Group, over_accuracy, points_of
from builder.objects.columns import ABLATION_TITLES
from builder.objects.measures import THIRDS, rfs_of, top1_of
from builder.objects.sensitivity import LEVELS

SHOWN_CLASSES = 30
"""Rows of the chart of classes."""

_HEIGHT = 380


def model_charts(judged: Judged, groups: Sequence[Group]) -> list[Chart]:
    """Return the charts that have a line for each model.

    Parameters
    ----------
    judged : Judged
    groups : sequence of Group
        The traces of each chart are theirs, in their order.
    """
    sigmas, norms = (
        {rfs_of(level): f"{level.value:g}" for level in LEVELS if level.kind == kind}
        for kind in ("sigma", "norm")
    )
    size, place = THIRDS["area"], THIRDS["distance"]

    def lines(measures: Mapping[str, str], title: str, factor: float, axis: str) -> dict[str, Any]:
        return _lines(judged, groups, measures, title, factor, axis)

    return [
        Chart(
            "Without the object",
            "Top-1 accuracy over images, as they are and with the object removed in four ways. A "
            "model that looks at the object falls to chance; one that does not need it stays.",
            lines(
                {top1_of(name): title for name, title in ABLATION_TITLES.items()},
                "top-1 accuracy (%)",
                100,
                "",
            ),
        ),
        Chart(
            "Noise, the same on each pixel",
            "RFS over the noise's standard deviation. Above 0 a model suffers more from noise on "
            "the object than on all else, below 0 less. The larger region gets more noise.",
            lines(sigmas, "RFS (\u22121 to 1)", 1, "standard deviation"),
        ),
        Chart(
            "Noise, the same on object and rest",
            "RFS over the L2 norm of all noise in the image, so that it does not matter how large "
            "the object is.",
            lines(norms, "RFS (\u22121 to 1)", 1, "L2 norm"),
        ),
        Chart(
            "Size of the object",
            "Accuracy on the third of each class's images with the smallest, the middle and the "
            "largest objects.",
            lines(_titled(size), "accuracy (%)", 100, "object"),
        ),
        Chart(
            "Place of the object",
            "Accuracy on the third of each class's images whose object is nearest to the middle, "
            "between, and farthest from it.",
            lines(_titled(place), "accuracy (%)", 100, "object, from the middle"),
        ),
        *_alignment_chart(judged, groups),
    ]


def _alignment_chart(judged: Judged, groups: Sequence[Group]) -> list[Chart]:
    if not any("iou" in overall(scores) for scores in judged.scores.values()):
        return []
    return [
        Chart(
            "Where GradCAM is",
            "Each point is a model, with the 95 % intervals of both means. Higher: what speaks for "
            "the true class is more where the object is.",
            over_accuracy(judged, groups, "iou", "IoU with the object (%)", 100),
        )
    ]


def _titled(parts: Sequence[str]) -> dict[str, str]:
    return {accuracy_of(part): part for part in parts}


def _lines(
    judged: Judged,
    groups: Sequence[Group],
    measures: Mapping[str, str],
    title: str,
    factor: float,
    axis: str,
) -> dict[str, Any]:
    figure = go.Figure()
    for group in groups:
        x: list[str | None] = []
        y: list[float | None] = []
        names: list[str] = []
        for model in group.models:
            means = overall(judged.scores[model])
            known = [measure for measure in measures if measure in means]
            # A gap between models, as they are one trace.
            x += [*(measures[measure] for measure in known), None]
            y += [*(factor * means[measure].value for measure in known), None]
            names += [model] * (len(known) + 1)
        points = points_of(judged, group, names)
        figure.add_scatter(
            x=x,
            y=y,
            **{**points, "mode": "lines+markers", "line": {"color": group.colour, "width": 1.5}},
            hovertemplate="%{text}<br>%{x}: %{y:.2f}<extra>%{customdata}</extra>",
        )
    figure.update_xaxes(title_text=axis, type="category", categoryarray=list(measures.values()))
    figure.update_yaxes(title_text=title, rangemode="tozero")
    return finished(figure, _HEIGHT)


def class_chart(judged: Judged, names: Sequence[str]) -> Chart:
    """Return accuracy with and without the object of each class, in the mean over models."""
    clean, gray = (_of_classes(judged, name) for name in (CLEAN, "gray_mask"))
    order = sorted(gray, key=lambda label: gray[label], reverse=True)
    chosen = order
    title = "What is left in each class without its object"
    if len(order) > SHOWN_CLASSES:
        chosen = [*order[: SHOWN_CLASSES // 2], *order[-SHOWN_CLASSES // 2 :]]
        title = f"The {SHOWN_CLASSES} classes in which most and least is left without the object"
    shown = chosen[::-1]
    ticks = [as_tick(names[label].split(",")[0]) for label in shown]
    hover = [as_text(names[label]) for label in shown]
    figure = go.Figure()
    for values, colour, what in ((clean, NO_CUE, "as they are"), (gray, CUE, "object gray")):
        figure.add_scatter(
            x=[100 * values[label] for label in shown],
            y=list(range(len(shown))),
            mode="markers",
            marker={"color": colour, "size": 9},
            customdata=hover,
            hovertemplate=f"%{{customdata}}<br>{what}: %{{x:.1f}} %<extra></extra>",
        )
    figure.update_layout(
        shapes=[
            {
                "type": "line",
                "layer": "below",
                "line": {"color": LINE, "width": 3},
                "x0": 100 * clean[label],
                "x1": 100 * gray[label],
                "y0": row,
                "y1": row,
            }
            for row, label in enumerate(shown)
        ]
    )
    figure.update_xaxes(title_text="accuracy (%)", range=[-3, 103])
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=ticks, zeroline=False)
    several = " in the mean over models" if len(judged.scores) > 1 else ""
    reading = (
        f"Green: images as they are; orange: their objects gray{several}. The closer the two, the "
        "less the class's images need their object."
    )
    return Chart(title, reading, finished(figure, 90 + 22 * len(shown)))


def _of_classes(judged: Judged, condition: str) -> dict[int, float]:
    """Return the accuracy of each class under a condition, the mean over models."""
    found: dict[int, list[float]] = {}
    for scores in judged.scores.values():
        for score in scores:
            if score.label is not None and score.measure == accuracy_of(condition):
                found.setdefault(score.label, []).append(score.value)
    return {label: sum(values) / len(values) for label, values in found.items()}
