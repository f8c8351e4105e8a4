"""What ``salient-imagenet status`` prints."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from builder.run.progress import RUNNING, Progress
from builder.run.status import SILENT_SECONDS, SplitStatus, Status
from builder.settings import WHOLE


def status_tables(status: Status) -> Iterator[Table]:
    """Yield a table for each split."""
    for name, found in status.finished.items():
        counts = found["counts"]
        table = Table(title=f"{name}: finished", show_header=False)
        table.add_row("rows", f"{counts['rows']:,}")
        table.add_row("set aside", _reasons(counts["set_aside"]))
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
        return duration(split.seconds_left)
    return "not known yet" if split.alive else "nobody works on it"


def _life(driver: Progress) -> str:
    if driver.state != RUNNING:
        return f"{driver.state} after {driver.images:,} images"
    if driver.silence >= SILENT_SECONDS:
        return f"silent for {duration(driver.silence)}"
    return f"{driver.rate:,.1f} images/s, {driver.silence:.0f} s ago"


def _reasons(counts: dict[str, int]) -> str:
    listed = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    return f"{sum(counts.values()):,}" + (f" ({listed})" if listed else "")


def duration(seconds: float) -> str:
    """Return a time span as a person would say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
