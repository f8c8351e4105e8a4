"""The table of models: its columns, and how a notebook shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from builder.evaluate.measures import GAP, RCS, Score, accuracy_of, overall
from builder.templates import environment


@dataclass(frozen=True)
class Column:
    """A measure as people read it.

    Attributes
    ----------
    measure : str
    title : str
    unit : str
    factor : float
        From a score's value to one of the unit.
    form : str
        Of a number in the unit, as for `format`.
    """

    measure: str
    title: str
    unit: str = "%"
    factor: float = 100
    form: str = ".1f"

    def text(self, value: float) -> str:
        """Return a value in the column's unit, with a true minus sign."""
        return format(self.factor * value, self.form).replace("-", "\u2212")


COLUMNS = (
    Column(accuracy_of("clean"), "clean accuracy"),
    Column(accuracy_of("core"), "acc(C)"),
    Column(accuracy_of("spurious"), "acc(S)"),
    Column(RCS, "RCS", "\u22121 to 1", 1, "+z.2f"),
    Column(GAP, "spurious gap", "points", form="+z.1f"),
    Column(accuracy_of("on_core_mask"), "core masks corrupted"),
    Column(accuracy_of("on_spurious_mask"), "spurious masks corrupted"),
)
"""In their order; points are percentage points."""


def as_html(scores: Mapping[str, Sequence[Score]], columns: Sequence[Column] = COLUMNS) -> str:
    """Return the means over classes of each model, with intervals, for a notebook.

    Parameters
    ----------
    scores : mapping of str to sequence of Score
        By model.
    columns : sequence of Column
        Those in which no model has a number are left out.
    """
    rows = {model: overall(found) for model, found in scores.items()}
    template = environment("builder.evaluate").get_template("table.html")
    return template.render(rows=rows, columns=columns_of(rows, columns))


def columns_of(
    rows: Mapping[str, Mapping[str, Score]], columns: Sequence[Column] = COLUMNS
) -> list[Column]:
    """Return the columns in which a model has a number; means are by model, then by measure."""
    return [column for column in columns if any(column.measure in row for row in rows.values())]


def short_names(models: Sequence[str]) -> dict[str, str]:
    """Return names of models without library and tag, as far as that leaves them apart."""
    bare = {model: model.partition(":")[2] or model for model in models}
    untagged = {
        model: name.partition(".")[0] if model.startswith("timm:") else name
        for model, name in bare.items()
    }
    for names in (untagged, bare):
        if len(set(names.values())) == len(models):
            return names
    return {model: model for model in models}
