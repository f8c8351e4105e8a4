"""The summary of a training: its numbers as JSON, and a page with plots."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from builder.evaluate.charts import CUE, INK, NO_CUE, Chart, finished
from builder.evaluate.outcome import OutcomePage
from builder.mitigate.journal import STEP, Line
from builder.mitigate.objective import MASKLESS, ROBUST
from builder.mitigate.order import Order
from builder.mitigate.trainer import RATE, VALIDATION
from builder.storage.files import atomic_write

SUMMARY_FILE = "summary.json"
PAGE_FILE = "report.html"

_HEIGHT = 340


@dataclass(frozen=True)
class Summary:
    """How a training went.

    Attributes
    ----------
    identity : dict
        All that the weights were made from.
    order : Order
    lines : list of dict of str to float
        Of the journal.
    """

    identity: dict[str, Any]
    order: Order
    lines: list[Line]

    @property
    def validation_accuracy(self) -> float | None:
        """The share of validation images that the written model gets right, if there are any."""
        return self.lines[-1].get(VALIDATION)

    @property
    def without_mask(self) -> float | None:
        """The share of crops that trained as ERM, where the method looks at masks."""
        shares = [line[MASKLESS] for line in self.lines if MASKLESS in line]
        return sum(shares) / len(shares) if shares else None

    def page(self) -> OutcomePage:
        """Return the page."""
        identity = self.identity
        return OutcomePage(
            f"{identity['model']}, trained with {identity['method']}",
            f"Trained for {identity['epochs']:,} times {self.order.used:,} of the split's "
            f"{self.order.images:,} images. "
            + (
                "Labels are all it was told."
                if identity["method"] == "erm"
                else f"It was kept from the image's {_REGIONS[identity['region']]}."
            )
            + _REWEIGHTINGS.get(identity["reweight"], ""),
            self._facts(),
            list(self._charts()),
            identity,
        )

    def _facts(self) -> dict[str, str]:
        last = self.lines[-1]
        facts = {
            "Loss of labels": f"{last['loss']:.3f} in the last line of the log.",
            "Accuracy in training": f"{last['accuracy']:.1%} of crops in the last line of the log.",
        }
        if self.validation_accuracy is not None:
            facts["Accuracy in validation"] = f"{self.validation_accuracy:.1%} of images."
        if self.without_mask is not None:
            facts["Without a mask"] = (
                f"{self.without_mask:.1%} of crops, which trained as with erm: their class has no "
                "such mask, or the crop shows nothing of it."
            )
        return facts

    def _charts(self) -> list[Chart]:
        charts = [
            Chart("Loss", "Of labels, over the crops since the line before.", self._of("loss")),
            Chart(
                "Accuracy",
                "Of crops in training, and of validation images as they are.",
                self._of("accuracy", VALIDATION, factor=100),
            ),
        ]
        if ROBUST in self.lines[-1]:
            reading = "Of subgroups, by what they weigh: those of larger losses weigh more."
            charts.append(Chart("Robust loss", reading, self._of(ROBUST)))
        for name in ("saliency", "cam"):
            if name in self.lines[-1]:
                reading = "Before its weight: what is left of looking where it is not to look."
                charts.append(Chart(f"Penalty of {name}", reading, self._of(name)))
        charts.append(Chart("Learning rate", "After each line's steps.", self._of(RATE)))
        return charts

    def _of(self, *names: str, factor: float = 1) -> dict[str, Any]:
        figure = go.Figure()
        for name, colour in zip(names, (INK, CUE, NO_CUE), strict=False):
            own = [line for line in self.lines if name in line]
            figure.add_scatter(
                x=[line[STEP] for line in own],
                y=[factor * line[name] for line in own],
                name=name.replace("_", " "),
                mode="lines+markers" if len(own) < 50 else "lines",
                line={"color": colour, "width": 2},
            )
        figure.update_xaxes(title_text="steps")
        figure.update_yaxes(title_text="%" if factor == 100 else "", rangemode="tozero")
        return finished(figure, _HEIGHT)


_REGIONS = {
    "core": "surroundings, all but its dilated core mask",
    "spurious": "spurious mask",
    "either": "surroundings, or its spurious mask where its class has no core mask",
}


_REWEIGHTINGS = {
    "soft": " Images were drawn so that all subgroups of a class weigh the same.",
    "dro": " Subgroups weighed more, the larger their loss was (group DRO).",
}


def write_summary(out: Path, summary: Summary) -> None:
    """Write the numbers and the page."""
    numbers = {
        "validation_accuracy": summary.validation_accuracy,
        "without_mask": summary.without_mask,
        **asdict(summary),
    }
    texts = {
        SUMMARY_FILE: json.dumps(numbers, indent=2) + "\n",
        PAGE_FILE: summary.page().html(),
    }
    for name, text in texts.items():
        with atomic_write(out / name) as file:
            file.write(text.encode())
