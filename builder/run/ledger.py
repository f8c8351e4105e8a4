"""The ledger: which shards are finished, and what they add up to."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from builder.errors import BuildError
from builder.network.importance import Contribution, Importance
from builder.reporter import Reporter
from builder.settings.task import DRIVERS, WHOLE, Task
from builder.shards.job import Job
from builder.shards.worker import ShardResult
from builder.storage.files import atomic_write
from builder.storage.retry import retry

_FILE = "ledger.npz"

_COLUMNS = ("fingerprint", "shards", "sha256", *Contribution._fields)
_PAUSE = 20.0
"""Between two savings lies that many times what one takes: a twentieth of the time at most."""


@dataclass
class Ledger:
    """Says which shards are finished; keeps the sums of importance over exactly these.

    A shard is finished if it is in a ledger and its file has the hash that the ledger has. Hash
    and sums are written in one, so each image counts once, whatever dies and whenever.

    Attributes
    ----------
    importance : Importance
    sha256 : dict of int to str
        Of the file of each finished shard.
    """

    importance: Importance
    sha256: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, job: Job) -> Ledger:
        """Return a ledger of no shard."""
        return cls(Importance.empty(job.network.classes, job.network.channels))

    def add(self, result: ShardResult) -> None:
        """Enter a shard; one that was there before, and had to be run again, counts once."""
        if result.shard not in self.sha256:
            self.importance.merge(result.contribution)
        self.sha256[result.shard] = result.sha256

    def absorb(self, other: Ledger) -> None:
        """Enter the shards of another ledger, none of which is in this one."""
        self.importance.merge(other.importance.contribution())
        self.sha256 |= other.sha256

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the ledger, whole or not at all."""
        buffer = io.BytesIO()
        shards = sorted(self.sha256)
        np.savez(
            buffer,
            fingerprint=np.array(fingerprint),
            shards=np.array(shards, np.int64),
            sha256=np.array([self.sha256[shard] for shard in shards], "U64"),
            **self.importance.contribution()._asdict(),
        )

        def write() -> None:
            with atomic_write(path) as file:
                file.write(buffer.getvalue())

        retry(write)

    @classmethod
    def load(cls, path: Path, job: Job) -> Ledger | None:
        """Read what `save` wrote; None where that is damaged, which any error may tell.

        Raises
        ------
        BuildError
            If it is the ledger of another build.
        """
        content = path.read_bytes()
        ledger = cls.empty(job)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                columns = {name: file[name] for name in _COLUMNS}
            fingerprint = str(columns["fingerprint"])
            shards = zip(columns["shards"].tolist(), columns["sha256"].tolist(), strict=True)
            ledger.sha256 = dict(shards)
            if fingerprint == job.fingerprint:
                parts = (columns[name] for name in Contribution._fields)
                ledger.importance.merge(Contribution(*parts))
        except Exception:  # zipfile and numpy have one for each byte that is not as it was.
            return None
        if fingerprint != job.fingerprint:
            raise BuildError(
                f"{path} is of another build: remove {path.parents[2]}, or use another --out."
            )
        return ledger


class LedgerFile:
    """A ledger on disk, saved now and then while shards are entered.

    A shard that was finished but not yet saved when its process died is run again.
    """

    def __init__(self, ledger: Ledger, path: Path, fingerprint: str) -> None:
        self.ledger = ledger
        self._path, self._fingerprint = path, fingerprint
        self._next = 0.0
        self._is_saved = True

    def add(self, result: ShardResult) -> None:
        """Enter a shard."""
        self.ledger.add(result)
        self._is_saved = False
        if time.monotonic() >= self._next:
            self.save()

    def save(self) -> None:
        """See that what was entered is on the disk."""
        if self._is_saved:
            return
        start = time.monotonic()
        self.ledger.save(self._path, self._fingerprint)
        self._is_saved = True
        end = time.monotonic()
        self._next = end + _PAUSE * (end - start)


def ledger_path(directory: Path, task: Task) -> Path:
    """Return where the ledger of a build, or a task of one, lies in the working directory."""
    return task.directory(directory) / _FILE


def read_ledgers(directory: Path, job: Job, reporter: Reporter) -> dict[Path, Ledger]:
    """Read the ledgers of all who work on a build, so that no shard is in two of them.

    The same shard is in two only if tasks of different numbers ran at the same time. Sums cannot be
    taken apart, so that the smaller of these ledgers is left out and its shards are run again.
    """
    found = {}
    for path in sorted(directory.glob(f"{DRIVERS}/*/{_FILE}")):
        ledger = Ledger.load(path, job)
        if ledger is None:
            reporter.say(f"{path} is damaged: its shards are run again.")
        else:
            found[path] = ledger
    chosen: dict[Path, Ledger] = {}
    for path, ledger in sorted(found.items(), key=lambda item: -len(item[1].sha256)):
        if any(ledger.sha256.keys() & other.sha256.keys() for other in chosen.values()):
            reporter.say(f"{path} has shards of other tasks: those that only it has are run again.")
        else:
            chosen[path] = ledger
    return chosen


def merge_ledgers(ledgers: Iterable[Ledger], job: Job) -> Ledger:
    """Make one ledger of several that have no shard in common."""
    merged = Ledger.empty(job)
    for ledger in ledgers:
        merged.absorb(ledger)
    return merged


def take_over(directory: Path, merged: Ledger, fingerprint: str) -> None:
    """Put one ledger in the place of all tasks' own; only for who holds the data set alone."""
    whole = WHOLE.directory(directory)
    others = [path for path in directory.glob(f"{DRIVERS}/*/*") if path.parent != whole]
    if others:
        # Should the process die in between, the merged one is the largest and overlaps the others.
        merged.save(ledger_path(directory, WHOLE), fingerprint)
    for path in others:
        path.unlink()
