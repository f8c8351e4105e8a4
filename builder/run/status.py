"""How far the builds of a data set are; reads only, and holds nobody up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from builder.dataset.manifest import Manifest
from builder.errors import BuildError
from builder.run.progress import PROGRESS_NAME, RUNNING, Progress
from builder.run.workspace import Workspace
from builder.settings.options import SPLITS
from builder.settings.task import DRIVERS
from builder.shards.shard import set_aside_in
from builder.storage.parquet import parquet_source
from builder.storage.remote import is_remote

SILENT_SECONDS = 60.0
"""A driver that gave no sign of life for longer may be dead."""


@dataclass(frozen=True)
class SplitStatus:
    """How far a split is that is not finished.

    Attributes
    ----------
    split : str
        Where it is of whole images, with ``-whole`` behind it.
    drivers : list of Progress
        Of each build, or task of one, that works or worked on it.
    shards, rows : int
        In all; 0 where nobody has planned yet.
    shards_done, rows_done : int
        Rows include images that were set aside.
    set_aside : dict of str to int
        Images so far, by reason.
    """

    split: str
    drivers: list[Progress]
    shards: int
    rows: int
    shards_done: int
    rows_done: int
    set_aside: dict[str, int]

    @property
    def running(self) -> int:
        """Shards that are under way."""
        return sum(driver.begun - driver.done for driver in self.alive)

    @property
    def failed(self) -> int:
        """Shards that somebody began who is no longer at work: the same command runs them again."""
        return sum(driver.begun - driver.done for driver in self.drivers) - self.running

    @property
    def left(self) -> int:
        """Shards that nobody has begun."""
        return max(0, self.shards - self.shards_done - self.running - self.failed)

    @property
    def rate(self) -> float:
        """Images per second, all drivers together."""
        return sum(driver.rate for driver in self.alive)

    @property
    def seconds_left(self) -> float | None:
        """Time left at this rate; None where nobody works."""
        return max(0, self.rows - self.rows_done) / self.rate if self.rate else None

    @property
    def alive(self) -> list[Progress]:
        """The drivers that are at work."""
        return [
            driver
            for driver in self.drivers
            if driver.state == RUNNING and driver.silence < SILENT_SECONDS
        ]


@dataclass(frozen=True)
class Status:
    """How far a data set is.

    Attributes
    ----------
    finished : dict of str to dict
        The manifest's part of each split that is finished.
    unfinished : list of SplitStatus
    """

    finished: dict[str, dict[str, Any]]
    unfinished: list[SplitStatus]


def read_status(out: Path) -> Status:
    """See how far a data set is, while others build it or not.

    Raises
    ------
    BuildError
        If the directory holds neither a data set nor a build.
    """
    manifest = Manifest.load(out)
    finished = manifest.splits if manifest else {}
    work = [Workspace(out, name, is_whole=whole) for name in SPLITS for whole in (False, True)]
    begun = [each for each in work if each.directory.is_dir()]
    unfinished = [
        _split_status(each.directory)
        for each in begun
        if manifest is None or each.finished(manifest) is None
    ]
    if not manifest and not unfinished:
        raise BuildError(f"{out} holds no data set and no build of one: check the path.")
    return Status(finished, unfinished)


def _split_status(directory: Path) -> SplitStatus:
    found = [Progress.load(path) for path in _files(directory, f"{DRIVERS}/*/{PROGRESS_NAME}")]
    drivers = [progress for progress in found if progress]
    last = max(drivers, key=lambda progress: progress.updated, default=None)
    reasons = Counter(last.set_aside if last else {})
    shards_done = rows_done = 0
    for path in _files(directory, "shards/*.parquet"):
        try:
            metadata = pq.read_metadata(parquet_source(path))
            set_aside = set_aside_in(metadata.schema.to_arrow_schema())
        except (OSError, pa.ArrowException, LookupError, TypeError, ValueError):
            continue  # Damaged: it will be run again.
        shards_done += 1
        rows_done += metadata.num_rows + len(set_aside)
        reasons.update(image.reason for image in set_aside)
    return SplitStatus(
        split=directory.name,
        drivers=drivers,
        shards=last.shards if last else 0,
        rows=last.rows if last else 0,
        shards_done=shards_done,
        rows_done=rows_done,
        set_aside=dict(sorted(reasons.items())),
    )


def _files(directory: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern; whoever opened a pipe among them would wait for ever."""
    paths = sorted(directory.glob(pattern))
    return [path for path in paths if is_remote(path) or path.is_file()]
