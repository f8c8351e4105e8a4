"""What each method of train is worth in a world whose truth is known, with its controls.

    python -m tests.benchmarks.mitigate --demo ./demo --work ./mitigated
    python -m tests.benchmarks.mitigate --demo ./demo --speed timm:resnet18

`--demo` is what ``salient-imagenet demo`` wrote. Its images are made smaller first, so that many
small networks can be trained on them; all are then judged by the masks that were published. What
was measured is kept in scores.json: the same command goes on, and prints the table at the end.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn
from torchvision import transforms

from builder.demo.demo import NETWORK, SPLITS, Folder
from builder.demo.world import CORE, FIRST_CUE, Truth, read_truth
from builder.evaluate.conditions import CLEAN
from builder.evaluate.evaluation import evaluate_model
from builder.evaluate.measures import GAP, RCS, accuracy_of, overall
from builder.evaluate.models import load_classifier
from builder.mitigate.examples import Crops, Example, Examples, collate, open_examples
from builder.mitigate.learner import open_learner
from builder.mitigate.objective import Objective
from builder.mitigate.order import Place
from builder.mitigate.training import train
from builder.reporter import SilentReporter
from builder.run.build import build
from builder.settings.build import Settings
from builder.settings.training import METHODS, Training
from salient_imagenet_1m import KINDS, pack_grids, unpack_grids

STUDENT = "tests.benchmarks.mitigate:student"
CLASSES = 8
SIDE = 64
MEAN, STD = [0.5] * 3, [0.25] * 3
SHRINK = 3
"""Images of the demo, some 280 pixels, become so many times smaller."""

MEASURES = (accuracy_of(CLEAN), accuracy_of("core"), accuracy_of("spurious"), RCS, GAP)
CELLS = 14
SCORES_FILE = "scores.json"


def student() -> tuple[nn.Module, Any]:
    """Return a network that sees single pixels, and what it wants of them."""
    channels = (3, 16, 32, 64)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], CLASSES))
    cut = transforms.Resize(SIDE), transforms.CenterCrop(SIDE)
    steps = [*cut, transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    return nn.Sequential(*layers, *head), transforms.Compose(steps)


# Data sets ----------------------------------------------------------------------------------------

Row = dict[str, Any]
Change = Callable[[list[Row]], list[Row]]


def shrink_images(source: Path, target: Path) -> None:
    """Write all images smaller."""
    for file in sorted(source.rglob("*.JPEG")):
        with PIL.Image.open(file) as image:
            size = image.width // SHRINK, image.height // SHRINK
            small = image.resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=None)
        path = target / file.relative_to(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        small.save(path, quality=95)


def smaller(rows: list[Row]) -> list[Row]:
    """Return rows of masks with the sizes, and boxes, of images that were made smaller."""
    shrunk = []
    for row in rows:
        size = {name: row[name] // SHRINK for name in ("width", "height")}
        box = {"box": [edge / SHRINK for edge in row["box"]]} if "box" in row else {}
        shrunk.append({**row, **size, **box})
    return shrunk


def build_whole(demo: Path, target: Path) -> None:
    """Add the masks of whole images to a copy of the demo's data set."""
    shutil.copytree(demo / "dataset", target)
    folder = Folder(demo)
    for split in SPLITS:
        settings = Settings(
            images=str(folder.images),
            votes=folder.votes,
            network=NETWORK,
            checkpoint=folder.robust,
            split=split,
            out=target,
            device="cpu",
            whole_image=True,
        )
        build(settings, SilentReporter())


def change_masks(source: Path, target: Path, change: Change) -> None:
    """Write a data set whose rows of masks are changed, all of a split at once."""
    shutil.copytree(source, target)
    parts = [(config, split) for config in ("masks", "whole") for split in SPLITS]
    for config, split in parts:
        files = sorted((target / config).glob(f"{split}-*.parquet"))
        tables = [pq.read_table(file) for file in files]
        if not tables:
            continue
        rows = change([row for table in tables for row in table.to_pylist()])
        schema = tables[0].schema
        for file, part in zip(files, np.array_split(np.arange(len(rows)), len(files)), strict=True):
            own = [rows[index] for index in part]
            pq.write_table(pa.Table.from_pylist(own, schema), file)


def of_another_image(rows: list[Row]) -> list[Row]:
    """Give each image the masks of another."""
    others = np.random.default_rng(0).permutation(len(rows))
    shift = dict(zip(others.tolist(), np.roll(others, 1).tolist(), strict=True))
    return [{**row, "grids": rows[shift[place]]["grids"]} for place, row in enumerate(rows)]


def shuffled_kinds(rows: list[Row]) -> list[Row]:
    """Draw anew which features of a class are core, as many as there are of all."""
    labels = sorted({row["label"] for row in rows})
    kinds = {row["label"]: row["kinds"] for row in rows}
    drawn = np.random.default_rng(0).permutation(
        [kind for label in labels for kind in kinds[label]]
    )
    new = dict(zip(labels, drawn.reshape(len(labels), -1).tolist(), strict=True))
    return [{**row, "kinds": new[row["label"]]} for row in rows]


def of_ones(rows: list[Row]) -> list[Row]:
    """Have masks cover all that they can."""
    return [{**row, "grids": b"\xff" * len(row["grids"])} for row in rows]


def true_masks(truth: Truth) -> Change:
    """Return what draws masks just where things are."""

    def change(rows: list[Row]) -> list[Row]:
        changed = []
        for row in rows:
            shown = truth.label_map(row["image_id"])
            cues = [FIRST_CUE + cue for cue in truth.rows[row["image_id"]]["cues"]]
            core, cue = (_cells(np.isin(shown, things)) for things in ([CORE], cues))
            count = len(unpack_grids(row["grids"], row["grid_height"], row["grid_width"]))
            grids = np.stack([core, *[cue] * (count - 1)])
            kinds = [KINDS[0], *[KINDS[1]] * (count - 1)]
            changed.append(
                {
                    **row,
                    "grids": pack_grids(grids),
                    "grid_height": CELLS,
                    "grid_width": CELLS,
                    "kinds": kinds,
                }
            )
        return changed

    return change


def _cells(places: Any) -> Any:
    side = len(places) // CELLS
    shares = places.reshape(CELLS, side, CELLS, side).mean((1, 3))
    peak = shares.max()
    return np.rint(255 * shares / peak if peak else shares).astype(np.uint8)


# Arms ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes
    ----------
    name : str
    methods : tuple of str
        One after the other, each from the weights of the one before.
    masks : str
        The data set whose masks are seen.
    options : tuple of pairs of str and value
        Of Training.
    """

    name: str
    methods: tuple[str, ...]
    masks: str = "published"
    options: tuple[tuple[str, Any], ...] = ()


EPOCHS = {1: (16,), 2: (12, 4)}
"""Of the methods of an arm, by how many there are: all arms see as many images."""

BEST = "swap, then noise+swap"
BEST_METHODS = ("swap", "noise+swap")
"""What is trained with other masks too: controls, and true ones as the ceiling."""

CONTROLS = ("of another image", "shuffled kinds", "of ones")

EITHER = (("region", "either"),)
"""Two classes of the demo have no core mask, so that region core would leave them be."""

ARMS = (
    *(Arm(name, (name,), options=EITHER) for name in ("erm", "noise", "swap")),
    Arm("noise+swap, a fifth noisy", ("noise+swap",), options=(*EITHER, ("probability", 0.2))),
    Arm("erm, then noise", ("erm", "noise"), options=EITHER),
    Arm(BEST, BEST_METHODS, options=EITHER),
    *(Arm(f"{BEST}, masks {name}", BEST_METHODS, name, EITHER) for name in CONTROLS),
    Arm(f"{BEST}, true masks", BEST_METHODS, "true", EITHER),
    Arm(f"{BEST}, region core", BEST_METHODS),
    Arm(f"{BEST}, whole images", BEST_METHODS, "whole", (*EITHER, ("extent", "image"))),
    *(Arm(name, (name,), options=EITHER) for name in ("cam", "saliency")),
    Arm("noise+saliency", ("noise+saliency",), options=(*EITHER, ("saliency_weight", 10))),
)


def prepare(demo: Path, work: Path) -> None:
    """Make the smaller world and its data sets, each once."""
    if not (work / "images").exists():
        shrink_images(demo / "images", work / "images.part")
        (work / "images.part").rename(work / "images")
    changes: dict[str, Change] = {
        "published": smaller,
        "of another image": lambda rows: of_another_image(smaller(rows)),
        "shuffled kinds": lambda rows: shuffled_kinds(smaller(rows)),
        "of ones": lambda rows: of_ones(smaller(rows)),
        "true": lambda rows: true_masks(read_truth(demo))(smaller(rows)),
    }
    for name, change in changes.items():
        if not (work / name).exists():
            change_masks(demo / "dataset", work / f"{name}.part", change)
            (work / f"{name}.part").rename(work / name)
    if not (work / "whole").exists():
        for part in ("whole.built", "whole.part"):
            shutil.rmtree(work / part, ignore_errors=True)
        build_whole(demo, work / "whole.built")
        change_masks(work / "whole.built", work / "whole.part", smaller)
        (work / "whole.part").rename(work / "whole")


def settings_of(
    arm: Arm, stage: int, model: str, work: Path, seed: int, given: dict[str, Any]
) -> Training:
    """Return how one of an arm's methods is trained."""
    options: dict[str, Any] = {
        "epochs": EPOCHS[len(arm.methods)][stage],
        "batch_size": 64,
        "opt": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.05,
        "warmup_epochs": 0 if stage else 2,
        "smallest_crop": 0.5,
        "device": "cpu",
        "log_every": 10**6,
        **dict(arm.options),
        **given,
    }
    return Training(
        data=str(work / arm.masks),
        images=str(work / "images"),
        model=model,
        method=arm.methods[stage],
        out=work / "runs" / f"{arm.name}, seed {seed}" / str(stage),
        seed=seed,
        **options,
    )


class Kept(Examples):
    """Examples that are cut once for all arms whose crops and masks are the same."""

    def __init__(self, rows: Any, crops: Crops) -> None:
        super().__init__(rows, crops)
        settings = crops.settings
        masks = crops.masks, crops.mask_size, settings.data, settings.extent
        self._kept = _kept_of(settings.seed, settings.smallest_crop, *masks)

    def __getitem__(self, place: Place) -> Example:
        if place not in self._kept:
            self._kept[place] = super().__getitem__(place)
        return self._kept[place]


@lru_cache(1)
def _kept_of(*_of: object) -> dict[Place, Example]:
    return {}


def scores_of(arm: Arm, work: Path, seed: int, given: dict[str, Any]) -> dict[str, float]:
    """Train an arm, and return its means over classes on validation images."""
    model = STUDENT
    with mock.patch("builder.mitigate.examples.Examples", Kept):
        for stage in range(len(arm.methods)):
            settings = settings_of(arm, stage, model, work, seed, given)
            weights = train(settings, SilentReporter()).weights
            model = f"{STUDENT}={weights}"
    classifier = load_classifier(STUDENT, weights)
    results = evaluate_model(
        classifier, work / "published", images=work / "images", k=10, draws=3, device="cpu"
    )
    [scores] = results.scores.values()
    means = overall(scores)
    return {name: means[name].value for name in MEASURES}


def mean_and_spread(values: list[float]) -> str:
    """Return a mean and the half width of its 95 % interval over seeds, by Student's t."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    quantile = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}[len(values)]
    spread = quantile * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.3f} ± {spread:.3f}"


def measured(arms: list[Arm], seeds: range, work: Path, given: dict[str, Any]) -> Iterator[str]:
    """Measure each arm, seed by seed, and yield a line of each; what was found is in a file."""
    kept = work / SCORES_FILE
    for seed in seeds:
        for arm in arms:
            found = json.loads(kept.read_text()) if kept.exists() else {}
            key = _key(arm, seed, given)
            if key not in found:
                found[key] = scores_of(arm, work, seed, given)
                kept.write_text(json.dumps(found, indent=1))
                yield f"{key}: {found[key]}"


def table(arms: list[Arm], seeds: range, work: Path, given: dict[str, Any]) -> Iterator[str]:
    """Yield a line per arm of means over the seeds that were measured."""
    found: dict[str, dict[str, float]] = json.loads((work / SCORES_FILE).read_text())
    for arm in arms:
        keys = [_key(arm, seed, given) for seed in seeds]
        own = [found[key] for key in keys if key in found]
        if own:
            cells = [mean_and_spread([scores[name] for scores in own]) for name in MEASURES]
            yield f"| {arm.name} | {' | '.join(cells)} | {len(own)} |"


def _key(arm: Arm, seed: int, given: dict[str, Any]) -> str:
    return f"{arm.name}, seed {seed}, {json.dumps(given)}"


# Speed --------------------------------------------------------------------------------------------


def speeds(demo: Path, model: str, images: int, rounds: int) -> dict[str, float]:
    """Return the processor time of a step of each method over that of erm, loading included.

    The methods take turns, each on the same images; the least of a method's rounds counts.
    """
    device = torch.device("cpu")
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    steps = {}
    for method in seconds:
        settings = Training(
            data=str(demo / "dataset"),
            images=str(demo / "images"),
            model=model,
            method=method,
            out=demo,
            device="cpu",
        )
        learner = open_learner(settings, device)
        steps[method] = open_examples(settings, learner.view), Objective(settings, learner)
    for epoch in range(rounds + 1):  # the first to warm up
        for method, (examples, objective) in steps.items():
            began = time.process_time()
            batch = collate([examples[Place(epoch, place)] for place in range(images)])
            loss, _ = objective(objective.learner.model, batch, epoch)
            loss.backward()  # type: ignore[no-untyped-call]
            seconds[method].append(time.process_time() - began)
    best = {method: min(values[1:]) for method, values in seconds.items()}
    return {method: value / best["erm"] for method, value in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("mitigated"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="arms whose name holds this")
    parser.add_argument("--speed", metavar="MODEL", help="measure only speed, of this model")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER", help="of Training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.speed:
        for method, ratio in speeds(options.demo, options.speed, images=16, rounds=5).items():
            print(f"{method}: images/s over those of erm {1 / ratio:.2f}, time {ratio:.2f}")
        return
    given = {name: json.loads(value) for name, value in (o.split("=") for o in options.set)}
    options.work.mkdir(parents=True, exist_ok=True)
    prepare(options.demo, options.work)
    arms = [arm for arm in ARMS if options.only is None or options.only in arm.name]
    what = arms, range(options.seeds), options.work, given
    for line in measured(*what):
        print(line, flush=True)
    print("| arm | clean | acc(C) | acc(S) | RCS | gap | seeds |")
    for line in table(*what):
        print(line)


if __name__ == "__main__":
    main()
