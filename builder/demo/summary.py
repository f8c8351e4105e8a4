"""What the user sees of the demo: what was recovered, what networks rely on, where to look next."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from builder.demo.demo import NETWORK, Folder
from builder.demo.recovery import KEYS, MEANINGS
from builder.evaluate.conditions import CLEAN, CORE, SPURIOUS
from builder.evaluate.measures import GAP, RCS, accuracy_of

_STYLES = {"at chance": "dim", "below chance": "dim", "falls": "yellow", "stays": "red"}

_MEASURES = {
    accuracy_of(CLEAN): "accuracy",
    accuracy_of(CORE.name): "all but the core gray: acc(C)",
    accuracy_of(SPURIOUS.name): "the core gray: acc(S)",
    RCS: "relative core sensitivity",
    GAP: "spurious gap",
}


def recovery_table(report: dict[str, Any]) -> Table:
    """Return the table of recovery: a row per score, a column per control."""
    controls = report["controls"]
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=0,
        title="What was planted, and what the data set gives back",
        caption="Each control breaks one link. Dim: within 0.05 of chance, or below; yellow: "
        "falls, but not to chance; red: stays. A class without a feature of the kind does not "
        "enter: 'covers' is the share of classes that do, 'all classes' the score if the others "
        "count as chance.",
        caption_justify="left",
    )
    table.add_column("on validation images", no_wrap=True)
    for name in ("found", "goal", "chance"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in controls:
        # A word per line, so that the table fits into 80 columns.
        table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    table.add_column("covers", justify="right", no_wrap=True)
    table.add_column("all\nclasses", justify="right", no_wrap=True)
    for key in KEYS:
        goal = report["goals"].get(key)
        met = "" if goal is None else Text(f"{goal:.2f}", "green" if report[key] >= goal else "red")
        cells = []
        for name, scores in controls.items():
            style = _STYLES.get(report["verdicts"][name].get(key, ""), "")
            cells.append(Text(f"{scores[key]:.2f}" if key in scores else "", style))
        table.add_row(
            MEANINGS[key],
            Text(f"{report[key]:.2f}", "bold"),
            met,
            f"{report['chance'][key]:.2f}",
            *cells,
            f"{report['coverage'][key]:.0%}",
            f"{report['all_classes'][key]:.2f}",
        )
    return table


def reliance_table(report: dict[str, Any]) -> Table:
    """Return the table of what the networks rely on: a row per measure, a column per network."""
    evaluation = report["evaluation"]
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        title="What the networks rely on",
        caption="With 95 % intervals; means over classes, those with a core mask, or with ranks. "
        f"The gap is between the {evaluation['k']} most and the {evaluation['k']} least spurious "
        "images of a class.",
        caption_justify="left",
    )
    table.add_column("on validation images", no_wrap=True)
    for name in evaluation["models"]:
        table.add_column(f"{name} network", justify="right", no_wrap=True)
    for measure, meaning in _MEASURES.items():
        found = [_shown(means.get(measure)) for means in evaluation["models"].values()]
        table.add_row(meaning, *found)
    return table


def _shown(score: dict[str, float] | None) -> str:
    return "{value:.2f} ({low:.2f} to {high:.2f})".format(**score) if score else ""


def next_steps(folder: Folder, report: dict[str, Any]) -> str:
    """Return where to look next."""
    return f"""
Took {report["seconds"]:.0f} s.

Look:  open {folder.gallery} in a browser: images, masks and votes, class by class.
Load:  from datasets import load_dataset
       masks = load_dataset("{folder.dataset}", "masks", split="train", streaming=True)
       print(next(iter(masks)))
Read:  {folder.report} has all numbers, {folder.votes} the votes.
Vote:  salient-imagenet annotate {folder.features} --images {folder.images} --network {NETWORK} \
--checkpoint {folder.robust} --definitions {folder.definitions} --votes {folder.root / "answers.db"}
"""
