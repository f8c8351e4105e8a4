"""The tables that commands print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table

from builder.dataset.configs import WHOLE_IMAGES
from builder.dataset.counts import share_as_labelled
from builder.dataset.truth import truth_figures
from builder.errors import printable
from builder.evaluate.measures import BOTTOM, GAP, TOP, accuracy_of, overall
from builder.network.importance import TOPS
from builder.run.progress import RUNNING, Progress
from builder.run.status import SILENT_SECONDS, SplitStatus, Status
from builder.settings.task import WHOLE

if TYPE_CHECKING:  # A command imports only what it runs.
    from builder.evaluate.estimate import Estimate as EvaluationEstimate
    from builder.evaluate.evaluation import Results
    from builder.hub.changes import Changes
    from builder.run.build import Outcome
    from builder.run.estimate import Estimate


_LOUD = "bold red"


def outcome_table(outcome: Outcome) -> Table:
    """Return the closing table of a build."""
    counts = outcome.split["counts"]
    # A title may be folded in the middle of a password.
    table = Table(title=printable(str(outcome.out)), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("images in", f"{counts['images']:,}")
    table.add_row("rows out", f"{counts['rows']:,}")
    table.add_row("set aside", f"{sum(counts['set_aside'].values()):,}")
    for reason, count in counts["set_aside"].items():
        table.add_row(f"  {reason}", f"{count:,}")
    table.add_section()
    table.add_row("voted features in the network's top 5, 10, 20", _agreement(outcome))
    _add_predicted_as_labelled(table, outcome)
    table.add_row("masks", f"{counts['masks']:,}")
    table.add_row("bytes per mask", f"{counts['grid_bytes'] / counts['masks']:.1f}")
    _add_whole_images(table, outcome.split)
    table.add_section()
    stages = outcome.stages
    for stage, seconds in stages.seconds.items():
        if stage != "wait":
            table.add_row(f"{stage}, seconds over all threads", f"{seconds:,.1f}")
    table.add_row("whole run, seconds", f"{outcome.seconds:,.1f}")
    if outcome.images:
        table.add_row("images this run", f"{outcome.images:,}")
        limit = f"{stages.limit}; the network waited {stages.waited:.0%} of the time"
        table.add_row("limited by", limit)
    return table


def segmentations_table(told: dict[str, Any]) -> Table:
    """Return what came of the object masks of a release, and how masks lie on the objects."""
    table = Table(title=printable(told["source"]), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("masks in", f"{told['given']:,}")
    for split, part in told["splits"].items():
        table.add_row(f"rows out, {split}", f"{part['rows']:,}")
    table.add_row("set aside", f"{sum(told['set_aside'].values()):,}")
    for reason, count in told["set_aside"].items():
        table.add_row(f"  {reason}", f"{count:,}")
    for split, part in told["splits"].items():
        table.add_section()
        for name, value in truth_figures(part["truth"]):
            table.add_row(f"{name}, {split}", value)
    return table


def _add_predicted_as_labelled(table: Table, outcome: Outcome) -> None:
    share = share_as_labelled(outcome.split["counts"])
    value = "not counted" if share is None else f"{100 * share:.1f} %"
    table.add_row(
        "predicted as labelled", value, style=_LOUD if outcome.labels_look_wrong else None
    )
    if outcome.labels_look_wrong:
        table.caption = (
            "The network predicts hardly any image as it is labelled: check that Input.class_index "
            "in --votes, the classes of --images and those of --checkpoint go together, build "
            "again, and do not publish this."
        )
        table.caption_style = _LOUD


def _add_whole_images(table: Table, split: dict[str, Any]) -> None:
    if WHOLE_IMAGES not in split:
        return
    counts, likeness = (split[WHOLE_IMAGES][name] for name in ("counts", "agreement"))
    table.add_row("masks of whole images", f"{counts['masks']:,}")
    table.add_row("  bytes per mask", f"{counts['grid_bytes'] / counts['masks']:.1f}")
    if likeness["mean"] is not None:
        numbers = f"{likeness['mean']:.3f}, {likeness['lowest_decile']:.3f}"
        table.add_row("  correlation with the others, mean and lowest decile", numbers)


def _agreement(outcome: Outcome) -> str:
    found = outcome.split["agreement"]
    if not found["pairs"]:
        return "too few images to tell"
    counts = ", ".join(str(found[f"in_top_{top}"]) for top in TOPS)
    return f"{counts} of {found['pairs']}"


def estimate_table(estimate: Estimate) -> Table:
    """Return what a dry run tells."""
    known = {
        "images in": f"{estimate.images:,}",
        "rows out, at most": f"{estimate.rows:,}",
        "set aside by name": f"{estimate.set_aside_by_plan:,}",
        "shards, files": f"{estimate.shards:,}, {estimate.files:,}",
    }
    return _dry_run_table(known, estimate, "size, about")


def _dry_run_table(
    known: dict[str, str], estimate: Estimate | EvaluationEstimate, size: str
) -> Table:
    """Return a table of what is known, and of what was found by trying some images."""
    table = Table(title="Nothing was written", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in known.items():
        table.add_row(*row)
    table.add_section()
    table.add_row("images tried", f"{estimate.sampled:,}")
    table.add_row("time, about", _duration(estimate.seconds))
    table.add_row(size, f"{estimate.bytes / 1e6:,.1f} MB")
    return table


def changes_table(changes: Changes, summary: str) -> Table:
    """Return what a publication would do, file by file."""
    table = Table(title="Nothing was sent", caption=summary, caption_justify="left")
    table.add_column("")
    table.add_column("file", overflow="fold")
    table.add_column("bytes", justify="right")
    for part in changes.new:
        table.add_row("upload", part.name, f"{part.size:,}")
    for name in changes.gone:
        table.add_row("remove", name, "")
    return table


def status_tables(status: Status) -> Iterator[Table]:
    """Yield a table for each split."""
    for name, found in status.finished.items():
        counts = found["counts"]
        table = Table(title=f"{name}: finished", show_header=False)
        table.add_row("rows", f"{counts['rows']:,}")
        table.add_row("set aside", _reasons(counts["set_aside"]))
        _add_whole_images(table, found)
        yield table
    for split in status.unfinished:
        yield _unfinished_table(split)


def _unfinished_table(split: SplitStatus) -> Table:
    table = Table(title=f"{split.split}: in the making", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("shards done", f"{split.shards_done:,} of {split.shards or '?'}")
    table.add_row("shards running, left", f"{split.running:,}, {split.left:,}")
    table.add_row("shards failed", f"{split.failed:,}")
    table.add_row("images done", f"{split.rows_done:,} of {split.rows or '?'}")
    table.add_row("set aside so far", _reasons(split.set_aside))
    table.add_row("images/s", f"{split.rate:,.1f}")
    table.add_row("time left", _time_left(split))
    table.add_section()
    for driver in split.drivers:
        who = "build" if driver.task == str(WHOLE) else f"task {driver.task}"
        table.add_row(f"{who}, {driver.engine}, {driver.host}, process {driver.pid}", _life(driver))
    return table


def _time_left(split: SplitStatus) -> str:
    if split.seconds_left is not None:
        return _duration(split.seconds_left)
    return "not known yet" if split.alive else "nobody works on it"


def _life(driver: Progress) -> str:
    if driver.state != RUNNING:
        return f"{driver.state} after {driver.images:,} images"
    if driver.silence >= SILENT_SECONDS:
        return f"silent for {_duration(driver.silence)}"
    return f"{driver.rate:,.1f} images/s, {driver.silence:.0f} s ago"


def _reasons(counts: dict[str, int]) -> str:
    listed = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    return f"{sum(counts.values()):,}" + (f" ({listed})" if listed else "")


def _duration(seconds: float) -> str:
    """Return a time span as a person would say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def evaluation_table(results: Results) -> Table:
    """Return the closing table of an evaluation."""
    shown = results.suite.closing
    table = Table()
    table.add_column("model")
    for name in shown.values():
        table.add_column(name, justify="right")
    for model, found in results.scores.items():
        means = overall(found)
        table.add_row(model, *(f"{means[m].value:.3f}" if m in means else "" for m in shown))
    return table


def head_table(summary: dict[str, Any]) -> Table:
    """Return the closing table of the tuning of a head."""
    table = Table()
    table.add_column("head")
    for name in ("accuracy", "on most spurious", "on least spurious", "spurious gap"):
        table.add_column(name, justify="right")
    for name in ("before", "after"):
        measures = (accuracy_of("clean"), TOP, BOTTOM, GAP)
        table.add_row(name, *(f"{summary[name][measure]['value']:.3f}" for measure in measures))
    return table


def subgroups_table(summary: dict[str, Any]) -> Table:
    """Return the closing table of a search for subgroups."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("images", f"{summary['images']:,}")
    table.add_row("classes", f"{len(summary['classes']):,}")
    table.add_row("classes with too few images to divide", f"{len(summary['not_divided']):,}")
    table.add_section()
    for name, measure in (
        ("accuracy, mean over classes", "accuracy"),
        ("accuracy on the worst subgroup of each", "worst_accuracy"),
        ("that of the worst of random groups", "random_worst_accuracy"),
        ("that of the worst on images that had no say", "unseen_worst_accuracy"),
    ):
        value = summary[measure]
        table.add_row(name, "" if value is None else f"{value:.3f}")
    return table


def evaluation_estimate_table(estimate: EvaluationEstimate) -> Table:
    """Return what the dry run of an evaluation tells."""
    known = {
        "models": f"{estimate.models:,}",
        "images, shards": f"{estimate.images:,}, {estimate.shards:,}",
        "passes of each image, at most": f"{estimate.models * estimate.passes:,}",
    }
    return _dry_run_table(known, estimate, "predictions, about")
