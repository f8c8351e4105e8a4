"""Head tuning in planted worlds: what it does to accuracy and gap, and what its controls do.

    python -m tests.benchmarks.tune_head --seeds 3 --out ./tuned-worlds

makes the demo's world and its plainly trained network for each seed, tunes that network's head in
four ways, and prints how accuracy and the spurious gap changed, on the validation images that had
no say in it. Run again, it goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from builder.demo.demo import Folder, run_demo
from builder.demo.world import World
from builder.evaluate.measures import GAP, accuracy_of
from builder.reporter import SilentReporter
from builder.settings.head_tuning import HeadTuning
from builder.tune.tuning import tune_head

VALIDATION = 240
"""Images of a class: the demo's 48 tell a gap to ten points."""

EPOCHS = 200
"""Of two batches each, where an epoch of ImageNet's 35,700 images has 279."""

WAYS: dict[str, dict[str, Any]] = {
    "least spurious": {},
    "random": {"choose": "random"},
    "misclassified": {"choose": "misclassified"},
    "dfr": {"method": "dfr"},
}


def tuned(folder: Folder, way: str, out: Path, rate: float, per_class: int) -> dict[str, Any]:
    """Tune the head of a world's plain network in one way, and return the report."""
    settings = HeadTuning(
        data=str(folder.dataset),
        images=str(folder.images),
        model=f"small-convnet={folder.plain}",
        out=out / way.replace(" ", "-"),
        features=out / "features",
        per_class=per_class,
        learning_rate=rate,
        epochs=EPOCHS,
        k=VALIDATION // 3,
        device="cpu",
        **WAYS[way],
    )
    return tune_head(settings, SilentReporter())


def change(reports: list[dict[str, Any]], measure: str) -> str:
    """Return a measure before and after, in percent, the mean over worlds and its range."""
    values = 100 * np.array(
        [[report[name][measure]["value"] for name in ("before", "after")] for report in reports]
    )
    moved = values[:, 1] - values[:, 0]
    before, after = values.mean(0)
    return (
        f"{before:6.1f} {after:6.1f}   {moved.mean():+6.1f} ({moved.min():+.1f} to "
        f"{moved.max():+.1f})"
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=0.3)
    parser.add_argument("--per-class", type=int, default=20)
    arguments = parser.parse_args()
    reports: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for seed in range(arguments.seeds):
        base = arguments.out / f"seed-{seed}"
        run_demo(base / "world", World(val=VALIDATION, seed=seed), SilentReporter())
        name = f"tuned-{arguments.rate:g}-{arguments.per_class}"
        for way, found in reports.items():
            folder = Folder(base / "world")
            found.append(tuned(folder, way, base / name, arguments.rate, arguments.per_class))
    print(f"{'head':16}{'accuracy':>8} after    change (range)      gap  after    change (range)")
    for way, found in reports.items():
        print(f"{way:16}{change(found, accuracy_of('clean'))}  {change(found, GAP)}")


if __name__ == "__main__":
    main()
