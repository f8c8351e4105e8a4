"""How long `verify` takes at the size of ImageNet, check by check, and how much memory.

    python -m tests.benchmarks.verify [--rows 1281167] [--data DIR] [--against CHECKOUT]

Makes a synthetic data set of the real shape, as `tests.benchmarks.finalise` does, and a small one
that tells what imports and pages cost. Runs the command on each in fresh processes. ``--data``
leaves the data sets in DIR and takes those that an earlier run left there; ``--against`` runs the
command of another checkout of this repository in turns with this one's.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from builder.dataset.layout import MANIFEST_FILE
from tests.benchmarks import memory
from tests.benchmarks.finalise import finalise
from tests.benchmarks.imagenet import IMAGES
from tests.benchmarks.synthetic import make_shards

HERE = Path(__file__).parents[2]
SMALL = 1000


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds by the clock and of processors, MB, and seconds by check."""

    wall: float
    processor: float
    memory: float
    checks: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=IMAGES)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    checkouts = [HERE] + ([options.against.resolve()] if options.against else [])
    with tempfile.TemporaryDirectory() as temporary:
        for rows in (SMALL, options.rows):
            data = make_data(options.data or Path(temporary), rows)
            compare(data, rows, checkouts, options.rounds)


def make_data(base: Path, rows: int) -> Path:
    """Return a data set of so many rows."""
    work, data = base / f"{rows}-shards", base / f"{rows}"
    if not (data / MANIFEST_FILE).exists():
        make_shards(work, rows)
        manifest, _ = finalise(work, data, rows)
        (data / MANIFEST_FILE).write_bytes(manifest.as_bytes())
    return data


def compare(data: Path, rows: int, checkouts: list[Path], rounds: int) -> None:
    """Print the best of a few rounds, the checkouts in turns."""
    costs: dict[Path, list[Cost]] = {checkout: [] for checkout in checkouts}
    for _ in range(rounds):
        for checkout in checkouts:
            costs[checkout].append(verify(checkout, data))
    print(f"{rows:,} rows; best of {rounds}: {', '.join(map(str, checkouts))}")
    for what in ("wall", "processor", "memory"):
        show(what, [min(getattr(cost, what) for cost in runs) for runs in costs.values()])
    for name in costs[HERE][0].checks:
        show(name, [min(cost.checks.get(name, 0) for cost in runs) for runs in costs.values()])


def show(what: str, values: list[float]) -> None:
    numbers = "".join(f"{value:9.1f}" for value in values)
    ratios = "".join(f"{values[0] / other if other else float('nan'):8.2f}" for other in values[1:])
    print(f"  {what:<45}{numbers}{ratios}", flush=True)


def verify(checkout: Path, data: Path) -> Cost:
    """Run the command of a checkout, and note when each line comes."""
    with tempfile.TemporaryDirectory() as directory:
        note = Path(directory) / "peak"
        # Safe path, or the directory of `memory` would come before the checkout.
        command = [sys.executable, "-P", memory.__file__, str(note), "builder", "verify", str(data)]
        before, checks = processor_seconds(), {}
        last = start = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout
        ) as process:
            for line in process.stdout or ():
                now = time.perf_counter()
                checks[line.removeprefix("ok   ").strip()] = now - last
                last = now
        wall = time.perf_counter() - start
        if process.returncode:
            raise SystemExit(f"{checkout}: {data} is not good: {'; '.join(checks)}")
        return Cost(wall, processor_seconds() - before, float(note.read_text()), checks)


def processor_seconds() -> float:
    """Return what the processes that this one started and that have ended took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
