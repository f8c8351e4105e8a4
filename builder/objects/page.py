"""The page of the suite: a table that sorts, charts, and an image of each class, in one file."""

from __future__ import annotations

from collections.abc import Sequence

from plotly.offline import get_plotlyjs

from builder.evaluate.measures import overall
from builder.evaluate.page import template
from builder.evaluate.pictures import SIDE
from builder.evaluate.scatters import groups_of
from builder.evaluate.suite import Evaluated
from builder.evaluate.table import columns_of
from builder.objects.charts import class_chart, model_charts
from builder.objects.columns import ABLATION_TITLES, COLUMNS
from builder.objects.examples import Example


def make_page(evaluated: Evaluated, images: int, examples: Sequence[Example]) -> str:
    """Return the page as HTML that needs nothing else.

    Parameters
    ----------
    evaluated : Evaluated
    images : int
        That have an object mask.
    examples : sequence of Example
    """
    groups = groups_of(evaluated)
    means = {model: overall(scores) for model, scores in evaluated.scores.items()}
    first = next(iter(evaluated.scores.values()))
    return template("report.html", __package__).render(
        plotly=get_plotlyjs(),
        models=list(means),
        means=means,
        families=evaluated.families,
        groups=groups,
        columns=columns_of(means, COLUMNS),
        robustness={},
        charts=model_charts(evaluated, groups),
        class_chart=class_chart(evaluated, evaluated.names),
        examples=examples,
        titles=ABLATION_TITLES,
        names=evaluated.names,
        side=SIDE,
        images=images,
        classes=len({score.label for score in first} - {None}),
        identity=evaluated.identity,
    )
