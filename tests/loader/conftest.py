"""A small build and the images that it was made from, in the layouts in which ImageNet comes."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets.config
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import salient_imagenet_1m as si
from builder.dataset.format import mask_features, pair_features, parquet_schema, ranking_features

WNIDS = ["n01440764", "n02102040", "n03000684", "n03425413"]
NAMES = ["tench", "springer", "chain saw", "gas pump"]
SPURIOUS = {
    1: [0, 3],
    3: [0, 1, 2, 3, 4],
}  # the positions of spurious features; class 3 has no core
SHARDS = {"train": [11, 3, 8, 1, 9, 8], "validation": [7, 5]}


@dataclass
class World:
    """Where everything lies, and the rows that were written.

    Attributes
    ----------
    build : Path
        The build.
    images : Path
        An ImageFolder root: ``train/<wnid>/*.JPEG`` and a flat ``val``.
    rows : dict of str to list of dict
        The rows of ``masks`` of each split, in order.
    """

    build: Path
    images: Path
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def ids(self, split: str = "train") -> list[str]:
        return [row["image_id"] for row in self.rows[split]]

    def path(self, row: dict[str, Any], split: str = "train") -> Path:
        folder = self.images / "train" / WNIDS[row["label"]]
        return (folder if split == "train" else self.images / "val") / f"{row['image_id']}.JPEG"

    def copy(self, target: Path) -> World:
        shutil.copytree(self.build, target / "build")
        shutil.copytree(self.images, target / "images")
        return World(target / "build", target / "images", self.rows)


def picture(rng: np.random.Generator, width: int, height: int) -> bytes:
    coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
    image = PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


def png(grid: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    file = io.BytesIO()
    PIL.Image.fromarray(grid).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def _rows(rng: np.random.Generator, split: str, total: int) -> list[dict[str, Any]]:
    rows = []
    for index in range(total):
        label = index % 4
        grids = rng.integers(0, 256, (5, 7, 7), np.uint8)
        spurious = SPURIOUS.get(label, [])
        kinds = ["spurious" if position in spurious else "core" for position in range(5)]
        core, other = ([g for g, k in zip(grids, kinds, strict=True) if k == n] for n in si.KINDS)
        rows.append(
            {
                "image_id": f"{WNIDS[label]}_{index * 37 + 5}"
                if split == "train"
                else f"ILSVRC2012_val_{index * 411 + 3:08d}",
                "label": label,
                "width": int(rng.integers(60, 140)),
                "height": int(rng.integers(60, 140)),
                "features": [label * 10 + position for position in range(5)],
                "kinds": kinds,
                "activations": rng.random(5).tolist(),
                "peaks": (rng.random(5) + 1).tolist(),
                "activation_ranks": rng.integers(0, total // 4, 5).tolist(),
                "grids": grids.tobytes(),
                "grid_height": 7,
                "grid_width": 7,
                "core_mask": png(np.max(core, axis=0)) if core else None,
                "spurious_mask": png(np.max(other, axis=0)) if other else None,
                "spuriosity": float(rng.normal()) if spurious else None,
                "spuriosity_rank": None,
                "predicted": label,
            }
        )
    for label in SPURIOUS:
        ranked = sorted((r for r in rows if r["label"] == label), key=lambda r: -r["spuriosity"])
        for rank, row in enumerate(ranked):
            row["spuriosity_rank"] = rank
    rng.shuffle(rows)
    return rows


def write_build(
    target: Path,
    rows: dict[str, list[dict[str, Any]]],
    names: list[str],
    wnids: list[str] = WNIDS,
) -> None:
    """Write rows as a build: masks, rankings, features and manifest."""

    def write(name: str, features: datasets.Features, part: list[dict[str, Any]]) -> None:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(part, parquet_schema(features))
        pq.write_table(table, target / name, row_group_size=4)

    for split, of_split in rows.items():
        start, shards = 0, SHARDS[split]
        for index, count in enumerate(shards):
            name = f"masks/{split}-{index:05d}-of-{len(shards):05d}.parquet"
            write(name, mask_features(names, 5), of_split[start : start + count])
            start += count
        ranked = [row for row in of_split if row["spuriosity_rank"] is not None]
        ranked.sort(key=lambda row: (row["label"], row["spuriosity_rank"]))
        features = ranking_features(names)
        part = [{column: row[column] for column in features} for row in ranked]
        write(f"rankings/{split}-00000-of-00001.parquet", features, part)
        pairs = [
            {"label": label, "wnid": wnid, "name": names[label], "feature": label * 10 + position}
            | {"rank": position + 1, "kind": "core"}
            for label, wnid in enumerate(wnids)
            for position in range(5)
        ]
        write(f"features/{split}-00000-of-00001.parquet", pair_features(names), pairs)
    files = {p.relative_to(target).as_posix(): {"bytes": 0} for p in target.rglob("*.parquet")}
    manifest = {"format_version": 1, "origin": {}, "splits": {s: {} for s in rows}, "files": files}
    (target / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    made = World(root / "build", root / "images")
    for split, shards in SHARDS.items():
        made.rows[split] = _rows(rng, split, sum(shards))
        for row in made.rows[split]:
            path = made.path(row, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(rng, row["width"], row["height"]))
    write_build(made.build, made.rows, NAMES)
    return made


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what `datasets` and the loader cache away from the user's own."""
    directory = tmp_path_factory.mktemp("cache")
    datasets.config.HF_DATASETS_CACHE = directory
    datasets.disable_progress_bars()


@pytest.fixture(scope="session")
def official_tar(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official archive: a tar of a tar for each class."""
    path = tmp_path_factory.mktemp("tar") / "ILSVRC2012_img_train.tar"
    with tarfile.open(path, "w") as outer:
        for wnid in WNIDS:
            inner_file = io.BytesIO()
            with tarfile.open(fileobj=inner_file, mode="w") as inner:
                for image in sorted((world.images / "train" / wnid).iterdir()):
                    inner.add(image, image.name)
            info = tarfile.TarInfo(f"{wnid}.tar")
            info.size = inner_file.tell()
            inner_file.seek(0)
            outer.addfile(info, inner_file)
    return path
