"""Head tuning in planted worlds: what it does to accuracy and gap, and what its controls do.

    python -m tests.benchmarks.tune_head --out ./tuned-worlds

makes the demo's world and its plainly trained network for each seed, tunes that network's head in
several ways, and prints how accuracy and the spurious gap changed, on the validation images that
had no say in it. Run again, it goes on.
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

PER_CLASS = 20

FAR: dict[str, Any] = {"learning_rate": 0.3, "epochs": 200}
"""Until the gap is as good as closed. An epoch is two batches, where one of ImageNet's 35,700
images is 279."""

HALFWAY: dict[str, Any] = {
    "learning_rate": 0.1,
    "epochs": 600,
    "stop_gap": 20.0,
    "also_unranked": True,
}
"""Until it is somewhat less than half of what it was, with images of all classes."""

WAYS: dict[str, dict[str, Any]] = {
    "least spurious": FAR,
    "random": {**FAR, "choose": "random"},
    "misclassified": {**FAR, "choose": "misclassified"},
    "halfway": HALFWAY,
    "halfway, ranked": {**HALFWAY, "also_unranked": False},
    "halfway, random": {**HALFWAY, "choose": "random"},
    "dfr": {"method": "dfr"},
}


def tuned(folder: Folder, way: str, out: Path) -> dict[str, Any]:
    """Tune the head of a world's plain network in one way, and return the report."""
    settings = HeadTuning(
        data=str(folder.dataset),
        images=str(folder.images),
        model=f"small-convnet={folder.plain}",
        out=out / way.replace(", ", "-").replace(" ", "-"),
        features=out / "features",
        per_class=PER_CLASS,
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
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    reports: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for seed in arguments.seeds:
        base = arguments.out / f"seed-{seed}"
        run_demo(base / "world", World(val=VALIDATION, seed=seed), SilentReporter())
        for way, found in reports.items():
            found.append(tuned(Folder(base / "world"), way, base / "tuned"))
    print(f"{'head':16}{'accuracy':>8} after    change (range)      gap  after    change (range)")
    for way, found in reports.items():
        print(f"{way:16}{change(found, accuracy_of('clean'))}  {change(found, GAP)}")


if __name__ == "__main__":
    main()
