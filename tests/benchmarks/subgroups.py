"""Subgroups that were planted: whether they are found, and what it helps to weigh them anew.

    python -m tests.benchmarks.subgroups --demo ./demo --work ./planted

draws worlds of the demo's things in which each class has five subgroups: as usual (60 %), and a
tenth each without its cue, with the cue of another class, small, and dark. A small network is
trained on each, subgroups are found in what it hands to its head, by DIM and its baselines, and
networks are trained anew with them, and with the true ones. Run again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from sklearn.metrics import adjusted_mutual_info_score

from builder.dataset.format import parquet_schema
from builder.dataset.layout import file_name
from builder.dataset.memberships import MEMBERSHIPS, membership_features
from builder.demo.world import CORES, World, draw_image
from builder.mitigate.training import train
from builder.reporter import SilentReporter
from builder.run.build import build
from builder.settings.build import Settings
from builder.settings.subgrouping import Subgrouping
from builder.settings.training import Training
from builder.storage.parquet import fixed_lists, write_parquet
from builder.subgroups.subgroups import find_subgroups
from tests.benchmarks.mitigate import STUDENT, mean_and_spread

USUAL = World(size=96, cue_train=1, cue_val=1, stray_train=0, stray_val=0)
CUELESS = replace(USUAL, cue_train=0, cue_val=0)
GROUPS: dict[str, World] = {
    "usual": USUAL,
    "no cue": CUELESS,
    "another's cue": replace(CUELESS, stray_train=1, stray_val=1),
    "small": USUAL,
    "dark": USUAL,
}
"""The planted subgroups, and the world that each is drawn in."""

IMAGES = {"train": 120, "val": 50}
"""Of a class: in train three fifths are as usual, in val there are as many of each subgroup."""

WAYS: dict[str, dict[str, Any]] = {
    "dim": {},
    "dim, ends together": {"ends": "together"},
    "dim, the paper's weight of losses": {"loss_weight": 1 / 64},
    "dim, embeddings": {"features": "embeddings"},
    "pca": {"method": "pca"},
    "pca, embeddings": {"method": "pca", "features": "embeddings"},
    "kmeans": {"method": "kmeans"},
    "kmeans, embeddings": {"method": "kmeans", "features": "embeddings"},
    "random": {"method": "random"},
}

Rows = list[dict[str, Any]]


def group_of(split: str, number: int) -> str:
    """Return the planted subgroup of the image of a class that has this number."""
    if split == "val":
        return list(GROUPS)[number % len(GROUPS)]
    return list(GROUPS)[max(0, number % 10 - 5)]


def draw(group: str, seed: int, split: str, name: str, label: int) -> Image.Image:
    """Draw an image of a planted subgroup."""
    pixels = draw_image(replace(GROUPS[group], seed=seed), split, name, label).pixels
    image = Image.fromarray(pixels)
    if group == "dark":
        return Image.fromarray((0.25 * pixels).astype(np.uint8))
    if group == "small":  # seen from afar, in surroundings of its own colours
        backdrop = image.resize((4, 4)).resize(image.size, Image.Resampling.BICUBIC)
        small = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
        drawn = np.random.default_rng(zlib.crc32(name.encode()))
        left, top = (
            int(drawn.integers(side // 8, 3 * side // 8)) for side in (image.width, image.height)
        )
        backdrop.paste(small, (left, top))
        return backdrop
    return image


def write_images(root: Path, seed: int) -> None:
    """Draw a world, and the table of what is what, which comes last."""
    planted = {}
    for split, count in IMAGES.items():
        for label, wnid in enumerate(USUAL.wnids):
            folder = root / "images" / split / wnid
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                name = f"{wnid}_{number + (1000 if split == 'val' else 0)}"
                planted[name] = group_of(split, number)
                drawn = draw(planted[name], seed, split, name, label)
                drawn.save(folder / f"{name}.JPEG", quality=92)
    (root / "planted.json").write_text(json.dumps(planted))


class Planted:
    """A world with planted subgroups, its data set, and networks that are trained on it.

    Parameters
    ----------
    demo : Path
        Whose network and votes the data set is built with.
    root : Path
    seed : int
    """

    def __init__(self, demo: Path, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        if not (root / "planted.json").exists():
            write_images(root, seed)
        for split in ("train", "validation"):
            if not (root / "data" / file_name("features", split)).exists():
                self._build(demo, split)
        self.groups: dict[str, str] = json.loads((root / "planted.json").read_text())

    def _build(self, demo: Path, split: str) -> None:
        settings = Settings(
            images=str(self.root / "images"),
            votes=demo / "votes.csv",
            network="small-convnet",
            checkpoint=demo / "robust.pt",
            out=self.root / "data",
            split=split,
            allow_mismatch=True,
            keep_embeddings=True,
            device="cpu",
        )
        build(settings, SilentReporter())

    def trained(self, name: str, epochs: int, **options: Any) -> Path:
        """Train a network from the same beginning, and return its weights."""
        settings = Training(
            data=str(self.root / "data"),
            images=str(self.root / "images"),
            model=STUDENT,
            method="erm",
            out=self.root / name,
            seed=self.seed,
            epochs=epochs,
            batch_size=64,
            opt="adamw",
            lr=3e-3,
            weight_decay=0.05,
            warmup_epochs=2,
            smallest_crop=0.5,
            device="cpu",
            log_every=10**6,
            **options,
        )
        return train(settings, SilentReporter()).weights

    def found(self, name: str, weights: Path, split: str = "train", **options: Any) -> Rows:
        """Find subgroups, and return their memberships."""
        settings = Subgrouping(
            data=str(self.root / "data"),
            images=str(self.root / "images"),
            model=STUDENT,
            checkpoint=[weights],
            out=self.root / name,
            split=split,
            seed=self.seed,
            pictures=0,
            device="cpu",
            **{"features": "model", **options},
        )
        find_subgroups(settings, SilentReporter())
        return list(pq.read_table(settings.out / file_name(MEMBERSHIPS, split)).to_pylist())

    def numbers(self, name: str) -> dict[str, Any]:
        """Return the report of subgroups that were found."""
        told: dict[str, Any] = json.loads((self.root / name / "report.json").read_text())
        return told

    def write_truth(self) -> Path:
        """Write the planted subgroups as `subgroups` would."""
        rows = pq.read_table(self.root / "dim" / file_name(MEMBERSHIPS, "train")).to_pylist()
        places = [list(GROUPS).index(self.groups[row["image_id"]]) for row in rows]
        own = np.eye(len(GROUPS), dtype=np.float32)[places]
        columns = {
            **{name: [row[name] for row in rows] for name in ("image_id", "label")},
            "subgroup": places,
            "memberships": fixed_lists(own),
            "scores": fixed_lists(own),
            **{name: [row[name] for row in rows] for name in ("loss", "right")},
        }
        schema = parquet_schema(membership_features([core.name for core in CORES], len(GROUPS)))
        path = self.root / "truth" / file_name(MEMBERSHIPS, "train")
        write_parquet(path, schema, [pa.table(columns).cast(schema)])
        return self.root / "truth"

    def recovery(self, rows: Rows) -> float:
        """Return the adjusted mutual information with the truth, the mean over classes."""
        scores = []
        for label in range(len(CORES)):
            own = [row for row in rows if row["label"] == label]
            truth = [self.groups[row["image_id"]] for row in own]
            scores.append(adjusted_mutual_info_score(truth, [row["subgroup"] for row in own]))
        return float(np.mean(scores))

    def accuracies(self, name: str, weights: Path) -> dict[str, float]:
        """Return the accuracy on the validation images of each planted subgroup."""
        rows = self.found(f"{name}-judged", weights, "validation", method="random")
        right: dict[str, list[bool]] = {group: [] for group in GROUPS}
        for row in rows:
            right[self.groups[row["image_id"]]].append(row["right"])
        return {group: float(np.mean(values)) for group, values in right.items()}


def of_world(world: Planted, epochs: int) -> dict[str, dict[str, float]]:
    """Return all numbers of a world, by row of the tables."""
    erm = world.trained("erm", epochs)
    told: dict[str, dict[str, float]] = {}
    for way, options in WAYS.items():
        name = way.replace(",", "").replace(" ", "-").replace("'", "")
        rows = world.found(name, erm, **options)
        numbers = world.numbers(name)
        told[f"found by {way}"] = {
            "AMI": world.recovery(rows),
            "worst subgroup": numbers["worst_accuracy"],
            "worst at random": numbers["random_worst_accuracy"],
            "worst, unseen": numbers["unseen_worst_accuracy"],
        }
    told["trained by erm"] = world.accuracies("erm", erm)
    arms = {way: world.root / way for way in ("dim", "kmeans", "random")}
    arms["truth"] = world.write_truth()
    for way, directory in arms.items():
        for reweight, step in (("soft", 0.01), ("dro", 0.1)):
            name = f"{way}-{reweight}"
            weights = world.trained(
                name, epochs, subgroups=directory, reweight=reweight, dro_step=step
            )
            told[f"trained with {way}, {reweight}"] = world.accuracies(name, weights)
    return told


def lines_of(told: list[dict[str, dict[str, float]]], first: str) -> Iterator[str]:
    """Yield the lines of a table of means over worlds, with 95 % intervals by Student's t."""
    rows = [row for row in told[0] if row.startswith(first)]
    columns = list(told[0][rows[0]])
    is_trained = first == "trained"
    yield f"| | {' | '.join([*columns, *(['the worst of these'] if is_trained else [])])} |"
    for row in rows:
        values = [[one[row][column] for one in told] for column in columns]
        if is_trained:
            values.append([min(one[row].values()) for one in told])
        yield f"| {row} | {' | '.join(mean_and_spread(own) for own in values)} |"


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("planted"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    told = []
    for seed in range(options.seeds):
        world = Planted(options.demo, options.work / f"seed-{seed}", seed)
        told.append(of_world(world, options.epochs))
        print(json.dumps({"seed": seed, **told[-1]}), flush=True)
    for first in ("found", "trained"):
        print("\n".join(lines_of(told, first)), flush=True)


if __name__ == "__main__":
    main()
