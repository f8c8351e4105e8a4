"""What the user sees while a build runs, and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from builder.checks.verify import Check
from builder.cli.status_report import duration
from builder.hub.publish import Changes, summary
from builder.network.importance import TOPS

if TYPE_CHECKING:  # What only reads data sets needs no PyTorch.
    from builder.run.build import Outcome
    from builder.run.estimate import Estimate


def outcome_table(outcome: Outcome) -> Table:
    """Return the closing table of a build."""
    counts = outcome.split["counts"]
    table = Table(title=str(outcome.out), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("images in", f"{counts['images']:,}")
    table.add_row("rows out", f"{counts['rows']:,}")
    table.add_row("set aside", f"{sum(counts['set_aside'].values()):,}")
    for reason, count in counts["set_aside"].items():
        table.add_row(f"  {reason}", f"{count:,}")
    table.add_section()
    table.add_row("voted features in the network's top 5, 10, 20", _agreement(outcome))
    table.add_row("masks", f"{counts['masks']:,}")
    table.add_row("bytes per mask", f"{counts['grid_bytes'] / counts['masks']:.1f}")
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


def shards_left(shards: int) -> str:
    """Return what a task says of the shards of others."""
    if shards:
        return f"{shards:,} shards of other tasks are left; see salient-imagenet status."
    return "it was the last; now run the same command with --finalise-only instead of --task."


def _agreement(outcome: Outcome) -> str:
    found = outcome.split["agreement"]
    if not found["pairs"]:
        return "too few images to tell"
    counts = ", ".join(str(found[f"in_top_{top}"]) for top in TOPS)
    return f"{counts} of {found['pairs']}"


def print_check(console: Console, check: Check) -> None:
    """Print what a check came to: a line, and one more for each thing that is wrong."""
    mark = Text("ok   ", "green") if check.passed else Text("WRONG", "bold red")
    console.print(mark, Text(check.name), soft_wrap=True)
    for problem in check.problems:
        console.print(Text(f"      {problem}"), soft_wrap=True)


def estimate_table(estimate: Estimate) -> Table:
    """Return what a dry run tells."""
    table = Table(title="Nothing was written", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("images in", f"{estimate.images:,}")
    table.add_row("rows out, at most", f"{estimate.rows:,}")
    table.add_row("set aside by name", f"{estimate.set_aside_by_plan:,}")
    table.add_row("shards, files", f"{estimate.shards:,}, {estimate.files:,}")
    table.add_section()
    table.add_row("images tried", f"{estimate.sampled:,}")
    table.add_row("time, about", duration(estimate.seconds))
    table.add_row("size, about", f"{estimate.bytes / 1e6:,.1f} MB")
    return table


def changes_table(changes: Changes) -> Table:
    """Return what a publication would do, file by file."""
    table = Table(title="Nothing was sent", caption=summary(changes), caption_justify="left")
    table.add_column("")
    table.add_column("file", overflow="fold")
    table.add_column("bytes", justify="right")
    for part in changes.new:
        table.add_row("upload", part.name, f"{part.size:,}")
    for name in changes.gone:
        table.add_row("remove", name, "")
    return table
