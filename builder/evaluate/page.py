"""The page of a report: a table that sorts, charts, and the images of each class, in one file."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Template
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from builder.evaluate.class_charts import class_charts, correlation_chart
from builder.evaluate.conditions import CLEAN
from builder.evaluate.measures import BOTTOM, GAP, TOP, Floats, accuracy_of, overall
from builder.evaluate.pictures import SIDE
from builder.evaluate.report import Report
from builder.evaluate.scatters import groups_of, scatter_charts
from builder.evaluate.table import Column, columns_of, short_names
from builder.templates import environment

ROBUSTNESS = Column("effective_robustness", "effective robustness", "points", form="+z.1f")
"""What no model has alone; the table shows it after the others."""


def make_page(report: Report) -> str:
    """Return the page as HTML that needs nothing else."""
    groups = groups_of(report)
    means = {model: overall(scores) for model, scores in report.scores.items()}
    short = short_names(list(report.scores))
    return template("report.html").render(
        plotly=get_plotlyjs(),
        columns=columns_of(means),
        robustness=report.robustness,
        robustness_column=ROBUSTNESS,
        means=means,
        families=report.families,
        groups=groups,
        scatters=scatter_charts(report, groups),
        class_charts=class_charts(report),
        correlation=correlation_chart(report),
        comparison=report.comparison,
        negative=float((report.of_classes(GAP).mean(0) < 0).mean()),
        k=report.k,
        identity=report.identity,
        total=len(report.labels_of(accuracy_of(CLEAN))),
        names=list(report.names),
        models=[{"name": model, "short": short[model]} for model in report.scores],
        classes=_classes(report),
        ends={
            label: {"most": list(map(vars, both.most)), "least": list(map(vars, both.least))}
            for label, both in report.extremes.items()
        },
        side=SIDE,
    )


def template(name: str, *packages: str) -> Template:
    """Return the template of a page, of one of the packages or of those here."""
    templates = environment(*packages, "builder.evaluate")
    templates.filters["breakable"] = _breakable
    return templates.get_template(name)


def _classes(report: Report) -> list[dict[str, Any]]:
    """Return what the page tells of each ranked class beside its images."""
    gaps = report.of_classes(GAP)
    columns = {
        "label": report.labels_of(GAP),
        "gap": _rounded(gaps.mean(0)),
        "spread": _rounded(gaps.std(0)),
        "top": _rounded(report.of_classes(TOP).mean(0)),
        "bottom": _rounded(report.of_classes(BOTTOM).mean(0)),
    }
    return [dict(zip(columns, own, strict=True)) for own in zip(*columns.values(), strict=True)]


def _breakable(name: str) -> Markup:
    """Return a name that may be broken into lines between its parts."""
    parts = re.split(r"(?<=[:/._-])", name)
    return Markup("<wbr>").join(map(escape, parts))


def _rounded(values: Floats) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
