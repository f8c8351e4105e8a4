"""Python in which packages are not installed, though they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_ROOT = Path(__file__).parents[1]

_HIDE = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


def run_without(
    hidden: Iterable[str], code: str, *arguments: object
) -> subprocess.CompletedProcess[str]:
    """Run code in a new process that finds none of the modules named."""
    return subprocess.run(
        [sys.executable, "-c", _HIDE.format(hidden=set(hidden)) + code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
