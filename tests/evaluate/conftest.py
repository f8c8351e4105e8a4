"""A planted world with the masks that are true, and models that read what they are said to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

import salient_imagenet_1m as si
from builder.dataset.format import mask_features, pair_features, parquet_schema, ranking_features
from builder.demo.world import CORE, FIRST_CUE, Truth, read_truth, write_world
from builder.demo.world import World as PlantedWorld
from builder.evaluate.classifier import Classifier, View
from builder.evaluate.evaluation import Results
from builder.evaluate.measures import overall
from builder.evaluate.noise import standard_noise
from builder.evaluate.views import Views
from tests import reference

WORLD = PlantedWorld(classes=3, train=1, val=12, size=96)
KINDS = ["core", "spurious"]
CELLS = 14


@dataclass(frozen=True)
class TrueMasks:
    """A data set whose masks show just what was drawn."""

    data: Path
    images: Path
    truth: Truth
    rows: list[dict[str, Any]]

    def places(self, image_id: str, kind: str) -> npt.NDArray[np.bool_]:
        """Return the pixels of the object, or of the cues of the image's class."""
        shown = self.truth.label_map(image_id)
        if kind == "core":
            return np.asarray(shown == CORE)
        cues = self.truth.rows[image_id]["cues"]
        return np.isin(shown, [FIRST_CUE + cue for cue in cues])

    def shuffled(self, target: Path) -> Path:
        """Write the same data set with the grids of each image those of another."""
        grids = [row["grids"] for row in self.rows]
        others = grids[5:] + grids[:5]
        rows = [{**row, "grids": g} for row, g in zip(self.rows, others, strict=True)]
        return write_data(target, rows)


def write_data(
    target: Path,
    rows: list[dict[str, Any]],
    wnids: Sequence[str] = tuple(WORLD.wnids),
    files: int = 2,
) -> Path:
    """Write rows of the config masks as a data set of one split."""
    names = WORLD.names

    def write(config: str, features: Any, part: list[dict[str, Any]], number: str) -> None:
        path = target / config / f"validation-{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(part, parquet_schema(features)), path)

    for index in range(files):
        number = f"{index:05d}-of-{files:05d}"
        write("masks", mask_features(names, 2), rows[index::files], number)
    ranked = sorted(rows, key=lambda row: (row["label"], row["spuriosity_rank"]))
    columns = ranking_features(names)
    part = [{name: row[name] for name in columns} for row in ranked]
    write("rankings", columns, part, "00000-of-00001")
    pairs = [
        {"label": label, "wnid": wnid, "name": names[label], "feature": place, "rank": place + 1}
        for label, wnid in enumerate(wnids)
        for place in (0, 1)
    ]
    write("features", pair_features(names), pairs, "00000-of-00001")
    listed: dict[str, Any] = {
        path.relative_to(target).as_posix(): {} for path in target.rglob("*.parquet")
    }
    manifest = {
        "format_version": 1,
        "origin": {"features_per_class": 2},
        "splits": {"validation": {}},
        "files": listed,
    }
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


@pytest.fixture(scope="session")
def true_masks(tmp_path_factory: pytest.TempPathFactory) -> TrueMasks:
    base = tmp_path_factory.mktemp("true")
    write_world(base, WORLD, lambda _count: None)
    truth = read_truth(base)
    made = TrueMasks(base / "data", base / "images", truth, [])
    for image_id in sorted(name for name in truth.rows if "_val_" in name):
        known = truth.rows[image_id]
        file = next(base.glob(f"images/val/*/{image_id}.JPEG"))
        with PIL.Image.open(file) as image:
            width, height = image.size
        maps = np.stack([_cells(made.places(image_id, kind)) for kind in KINDS])
        grids, peaks = si.encode_grids(maps)
        made.rows.append(
            {
                **dict.fromkeys(mask_features(WORLD.names, 2)),
                "image_id": image_id,
                "label": known["label"],
                "width": width,
                "height": height,
                "features": [0, 1],
                "kinds": KINDS,
                "activations": maps.mean((1, 2)).tolist(),
                "peaks": peaks.tolist(),
                "activation_ranks": [0, 0],
                "grids": si.pack_grids(grids),
                "grid_height": CELLS,
                "grid_width": CELLS,
                "spuriosity": float(maps[1].mean()),
                "predicted": known["label"],
            }
        )
    for label in range(WORLD.classes):
        own = [row for row in made.rows if row["label"] == label]
        for rank, row in enumerate(sorted(own, key=lambda row: -row["spuriosity"])):
            row["spuriosity_rank"] = rank
    write_data(made.data, made.rows)
    return made


def _cells(places: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    side = len(places) // CELLS
    means = places.reshape(CELLS, side, CELLS, side).mean((1, 3))
    return np.asarray(means, np.float32)


class Reader(nn.Module):
    """Right where the true pixels of a kind are as they were drawn; it knows all images."""

    def __init__(self, world: TrueMasks, kind: str) -> None:
        super().__init__()
        stream = si.load(
            world.data,
            images=world.images,
            split="validation",
            streaming=True,
            transform=Views([View()], []),
        )
        examples = list(stream)
        shown = torch.stack([example["pixels"][View()] for example in examples])
        places = np.stack([world.places(example["image_id"], kind) for example in examples])
        self.drawn = shown.permute(0, 3, 1, 2) / 255
        self.places = torch.from_numpy(places)[:, None]
        self.labels = [example["label"] for example in examples]

    def forward(self, images: Tensor) -> Tensor:
        logits = []
        for image in images:
            coarse = (self.drawn[..., ::8, ::8] - image[:, ::8, ::8]).abs()
            known = int(coarse.mean((1, 2, 3)).argmin())
            places = self.places[known].expand(3, -1, -1)
            distance = (self.drawn[known] - image).abs()[places]
            read = bool(places.any()) and bool(distance.mean() < 0.06)
            label = self.labels[known]
            answer = label if read else self.otherwise(label)
            logits.append(nn.functional.one_hot(torch.tensor(answer), WORLD.classes).float())
        return torch.stack(logits)

    def otherwise(self, label: int) -> int:
        """Return what it says of an image of a class that it cannot read."""
        return (label + 1) % WORLD.classes


class Constant(nn.Module):
    """Says the first class of every image."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.eye(WORLD.classes)[torch.zeros(len(images), dtype=torch.int64)]


class Guesser(nn.Module):
    """Says a class that the pixels decide, but nothing in them."""

    def forward(self, images: Tensor) -> Tensor:
        numbers = (images.double().sum((1, 2, 3)) * 1e6).long()
        return torch.eye(WORLD.classes)[(numbers * 2654435761 >> 7) % WORLD.classes]


def raw(name: str, model: nn.Module) -> Classifier:
    """Return a classifier that sees pixels as they are."""
    return Classifier(name, model, mean=(0, 0, 0), std=(1, 1, 1))


def check_results(
    results: Results,
    rows: Iterable[dict[str, Any]],
    ask: reference.Ask,
    view: View,
    draws: int,
    k: int,
) -> None:
    """Hold all that was found of one model against the slow reference."""
    resampling = PIL.Image.Resampling[view.interpolation.upper()]
    expected = reference.examined(rows, ask, view.size, resampling, draws, _noise)
    found = {
        (row["condition"], row["draw"], row["image_id"]): row
        for row in results.predictions.to_pylist()
    }
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key]["probability"] == pytest.approx(row.pop("probability"), abs=1e-4)
        assert {name: found[key][name] for name in row} == row
    [scores] = results.scores.values()
    means = {name: score.value for name, score in overall(scores).items()}
    for condition in {condition for condition, _, _ in expected}:
        accuracy = reference.accuracy(expected, condition)
        assert means.pop(f"{condition}_accuracy") == pytest.approx(accuracy)
    core, spurious = (reference.accuracy(expected, name) for name in ("core", "spurious"))
    rcs = reference.rcs(core, spurious)
    assert means.pop("relative_core_sensitivity") == pytest.approx(rcs)
    assert means.pop("spurious_gap") == pytest.approx(reference.gap(expected, k))
    assert set(means) == {"top_accuracy", "bottom_accuracy"}


def _noise(image_id: str, draw: int, size: int) -> Tensor:
    return standard_noise([image_id], draw, (size, size, 3), torch.device("cpu"))[0]


@pytest.fixture(scope="session")
def readers(true_masks: TrueMasks) -> dict[str, Callable[[], Classifier]]:
    return {
        "reads the core": lambda: raw("reads the core", Reader(true_masks, "core")),
        "reads the cue": lambda: raw("reads the cue", Reader(true_masks, "spurious")),
        "constant": lambda: raw("constant", Constant()),
        "guesses": lambda: raw("guesses", Guesser()),
    }
