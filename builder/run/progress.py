"""How far a build is: a small file that says so to others."""

from __future__ import annotations

import json
import os
import platform
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from builder.images.plan import Plan
from builder.settings.task import Task
from builder.storage.files import atomic_write
from builder.storage.objects import json_object

PROGRESS_NAME = "progress.json"

RUNNING, STOPPED, FAILED, FINISHED = "running", "stopped", "failed", "finished"

_EVERY_SECONDS = 2.0
_KINDS: dict[str, Any] = {"str": str, "int": int, "float": int | float, "dict[str, int]": dict}
"""What a value of each type in `Progress` is, as it comes out of JSON."""


@dataclass
class Progress:
    """What a build, or a task of one, says of itself.

    Attributes
    ----------
    task, engine, host : str
    pid : int
    rows : int
        Images of the split that the plan puts into shards.
    shards : int
        Shards of the split.
    set_aside : dict of str to int
        Images that the plan set aside, by reason.
    state : str
        ``running``, ``stopped``, ``failed`` or ``finished``.
    begun, done : int
        Shards that this run has taken up and finished.
    images : int
        Images that this run has taken up.
    seconds : float
        Since this run began its first shard, by a clock that nobody sets.
    updated : float
        Seconds since 1970 by the machine's clock, only to be shown.
    """

    task: str
    engine: str
    host: str
    pid: int
    rows: int
    shards: int
    set_aside: dict[str, int] = field(default_factory=dict)
    state: str = RUNNING
    begun: int = 0
    done: int = 0
    images: int = 0
    seconds: float = 0.0
    updated: float = 0.0

    def __post_init__(self) -> None:
        values = [(getattr(self, each.name), _KINDS[str(each.type)]) for each in fields(self)]
        if not all(isinstance(value, kind) for value, kind in values):
            raise TypeError("a field is of another type")
        if not all(isinstance(count, int) for count in self.set_aside.values()):
            raise TypeError("set_aside counts images")

    @classmethod
    def of(cls, plan: Plan, task: Task, engine: str) -> Progress:
        """Return the progress of a run of this process that has just begun."""
        reasons = Counter(image.reason for image in plan.set_aside)
        host, pid = platform.node(), os.getpid()
        return cls(str(task), engine, host, pid, len(plan.order), plan.shards, dict(reasons))

    @classmethod
    def load(cls, path: Path) -> Progress | None:
        """Read a file; None where it is no whole one of this version."""
        try:
            return cls(**json_object(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def rate(self) -> float:
        """Images per second of this run; 0 where it is not known or the run is over."""
        return self.images / self.seconds if self.state == RUNNING and self.seconds > 0 else 0.0

    @property
    def silence(self) -> float:
        """Seconds since its last sign of life; never negative, however clocks are set."""
        return max(0.0, time.time() - self.updated)


class ProgressFile:
    """Writes the progress of a run now and then."""

    def __init__(self, progress: Progress, path: Path) -> None:
        self.progress = progress
        self._path = path
        self._start = time.monotonic()
        self._next = self._start

    def advance(self, images: int) -> None:
        """Give a sign of life, with the number of images done since the last."""
        self.progress.images += images
        if time.monotonic() >= self._next:
            self._write()

    def end(self, state: str) -> None:
        """Say how the run ended."""
        self.progress.state = state
        self._write()

    def _write(self) -> None:
        now = time.monotonic()
        self._next = now + _EVERY_SECONDS
        self.progress.seconds = now - self._start
        self.progress.updated = time.time()
        # A disk that does not take this takes no shard either, which is told.
        with suppress(OSError), atomic_write(self._path) as file:
            file.write(json.dumps(asdict(self.progress)).encode())
