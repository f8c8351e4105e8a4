"""The page of what came of a command: sentences and charts, in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plotly.offline import get_plotlyjs

from builder.evaluate.charts import Chart
from builder.templates import environment


@dataclass(frozen=True)
class OutcomePage:
    """What a page tells.

    Attributes
    ----------
    title, lead : str
    facts : dict of str to str
    charts : sequence of Chart
    identity : dict
        All that the result was made from.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    charts: Sequence[Chart]
    identity: Mapping[str, Any]

    def html(self) -> str:
        """Return the page as HTML that needs nothing else."""
        template = environment(__package__).get_template("outcome.html")
        return template.render(plotly=get_plotlyjs(), **vars(self))
