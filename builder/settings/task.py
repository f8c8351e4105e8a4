"""The share of the work that one machine does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuildError

DRIVERS = "drivers"


@dataclass(frozen=True)
class Task:
    """Task `index` of `count`; the only one is the whole work."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Task:
        """Read ``I/N``.

        Raises
        ------
        BuildError
            If that is no share of anything.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        task = cls(*map(int, found.groups())) if found else cls(0, 0)
        if task.index >= task.count:
            raise BuildError(f"There is no task {text}: use --task I/N with I from 0 to N - 1.")
        return task

    @property
    def is_whole(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    def shards(self, total: int) -> range:
        """Return the task's own shards of so many."""
        return range(self.index, total, self.count)

    def directory(self, directory: Path) -> Path:
        """Return where the task keeps what is its own in the working directory of a split."""
        return directory / DRIVERS / f"{self.index}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Task()
"""The only task of a build."""
