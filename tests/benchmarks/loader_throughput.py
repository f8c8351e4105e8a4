"""Samples per second with masks, as ratios over images alone and over other layouts.

    SALIENT_REAL_DATA=DIR python -m tests.benchmarks.loader_throughput [--rows 100] [--repeats 15]

Reads the original-size images of DIR/fullsize, repeated to the number of rows. The two variants of
a ratio take turns, A B B A, and each turn is compared with its neighbour: a machine whose speed
drifts by a quarter within a minute says nothing by its best turns. Printed are the median of these
ratios and their quartiles, of time and of processor time, that of workers included. Empty masks
show what it costs to pass them on, without rendering. With ``--against FILE``, an older copy of the
loader's file, both loaders take turns in this process, and each row tells new over old.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import io
import itertools
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchvision import transforms

import salient_imagenet_1m as si
from builder.dataset.format import (
    mask_features,
    pair_features,
    parquet_schema,
    whole_features,
)

SHARDS = 8
WORKERS = (0, 1, 2)
EVALUATION = transforms.Compose(
    [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
)


def synthetic_rows(images: Path, count: int) -> list[dict[str, Any]]:
    """Rows of random grids for the images; an eighth of the features is spurious."""
    rng = np.random.default_rng(0)
    paths = sorted(images.glob("*/*.JPEG"))
    sizes = [PIL.Image.open(path).size for path in paths]
    classes = sorted({path.parent.name for path in paths})
    spurious = rng.random((len(classes), 5)) < 0.126
    rows = []
    for path, (width, height) in itertools.islice(
        itertools.cycle(zip(paths, sizes, strict=True)), count
    ):
        label = classes.index(path.parent.name)
        grids = np.clip(rng.normal(90, 80, (5, 7, 7)), 0, 255).astype(np.uint8)
        row = dict.fromkeys(mask_features(classes, 5))
        row |= {
            "image_id": path.stem,
            "label": label,
            "width": width,
            "height": height,
            "features": list(range(5)),
            "kinds": np.where(spurious[label], "spurious", "core").tolist(),
            "activations": [0.5] * 5,
            "peaks": [1.0] * 5,
            "activation_ranks": [0] * 5,
            "grids": grids.tobytes(),
            "grid_height": 7,
            "grid_width": 7,
            "predicted": label,
        }
        rows.append(row)
    return rows


def write_build(target: Path, rows: list[dict[str, Any]], classes: list[str]) -> None:
    schema = parquet_schema(mask_features(classes, 5))
    (target / "masks").mkdir(parents=True)
    (target / "features").mkdir()
    for shard in range(SHARDS):
        table = pa.Table.from_pylist(rows[shard::SHARDS], schema)
        pq.write_table(table, target / "masks" / f"train-{shard:05d}-of-{SHARDS:05d}.parquet")
    write_whole(target, rows, classes)
    pairs = [{"label": label, "wnid": wnid} for label, wnid in enumerate(classes)]
    table = pa.Table.from_pylist(pairs, parquet_schema(pair_features(classes)))
    pq.write_table(table, target / "features" / "train-00000-of-00001.parquet")
    files = {path.relative_to(target).as_posix(): 0 for path in target.rglob("*.parquet")}
    manifest = {"format_version": 1, "origin": {}, "splits": {"train": {}}, "files": files}
    (target / "manifest.json").write_text(json.dumps(manifest))


def write_whole(target: Path, rows: list[dict[str, Any]], classes: list[str]) -> None:
    """Write grids of whole images, of a network whose cells are 32 pixels apart."""
    rng = np.random.default_rng(1)
    whole = []
    for row in rows:
        box = si.whole_box(row["width"], row["height"], 32, 640)
        shown = si.whole_size(row["width"], row["height"], 640)
        width, height = (-(-side // 32) for side in shown)
        grids = np.clip(rng.normal(90, 80, (5, height, width)), 0, 255).astype(np.uint8)
        cells = {"grids": grids.tobytes(), "grid_height": height, "grid_width": width}
        whole.append({**row, **cells, "box": list(box)})
    (target / "whole").mkdir()
    schema = parquet_schema(whole_features(classes, 5))
    for shard in range(SHARDS):
        table = pa.Table.from_pylist(whole[shard::SHARDS], schema)
        pq.write_table(table, target / "whole" / f"train-{shard:05d}-of-{SHARDS:05d}.parquet")


def jpeg(mask: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(mask).save(file, "JPEG")
    return file.getvalue()


def feature_masks(row: dict[str, Any]) -> list[bytes]:
    window = si.crop_box(row["width"], row["height"])
    return [jpeg(si.render(row, position, window=window, size=224)) for position in range(5)]


class FirstRelease(Dataset[Any]):
    """The first release's layout: a 224-pixel JPEG per image and feature, transformed alike."""

    def __init__(self, images: Path, masks: Path, rows: list[dict[str, Any]], any_: bool) -> None:
        self.samples = [
            (
                str(images / masks_of(row)[0] / f"{row['image_id']}.JPEG"),
                [str(masks / f"{index}_{position}.jpg") for position in range(5)] if any_ else [],
                row["kinds"],
                row["label"],
            )
            for index, row in enumerate(rows)
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        image, masks, kinds, label = self.samples[index]
        pixels = EVALUATION(PIL.Image.open(image).convert("RGB"))
        if not masks:
            return pixels, label
        rendered = [EVALUATION(PIL.Image.open(mask)) for mask in masks]
        unions = []
        for kind in si.KINDS:
            chosen = [m for m, k in zip(rendered, kinds, strict=True) if k == kind]
            unions.append(torch.stack(chosen).amax(0) if chosen else torch.zeros(1, 224, 224))
        return pixels, *unions, label


def masks_of(row: dict[str, Any]) -> tuple[str, str]:
    wnid, _, word = row["image_id"].partition("_")
    return wnid, word


class WebDataset(IterableDataset[Any]):
    """Tar shards of an image with its masks as JPEGs, read in order, transformed alike."""

    def __init__(self, shards: list[Path]) -> None:
        self.shards = shards

    def __iter__(self) -> Iterator[Any]:
        worker = torch.utils.data.get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for shard in self.shards[first::step]:
            with tarfile.open(shard) as tar:
                for _, members in itertools.groupby(tar, lambda info: info.name.split(".")[0]):
                    files = {}
                    for info in members:
                        file = tar.extractfile(info)
                        assert file is not None
                        files[info.name.partition(".")[2]] = file.read()
                    yield self.decoded(files)

    @staticmethod
    def decoded(files: dict[str, bytes]) -> Any:
        kinds = json.loads(files["json"])
        pixels = EVALUATION(PIL.Image.open(io.BytesIO(files["jpg"])).convert("RGB"))
        rendered = [
            EVALUATION(PIL.Image.open(io.BytesIO(files[f"{position}.jpg"])))
            for position in range(len(kinds))
        ]
        unions = []
        for kind in si.KINDS:
            chosen = [m for m, k in zip(rendered, kinds, strict=True) if k == kind]
            unions.append(torch.stack(chosen).amax(0) if chosen else torch.zeros(1, 224, 224))
        return pixels, *unions


def write_others(root: Path, images: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """Write the masks of the first release's layout, and WebDataset shards of 5 and 2 masks."""
    (root / "masks").mkdir()
    shards = []
    for name, unions in (("five", False), ("unions", True)):
        for shard in range(SHARDS):
            path = root / f"{name}-{shard}.tar"
            shards.append(path)
            with tarfile.open(path, "w") as tar:
                for index in range(shard, len(rows), SHARDS):
                    row = rows[index]
                    masks = feature_masks(row)
                    kinds = row["kinds"]
                    if unions:
                        window = si.crop_box(row["width"], row["height"])
                        kinds = [kind for kind in si.KINDS if kind in row["kinds"]]
                        masks = [jpeg(si.render(row, k, window=window, size=224)) for k in kinds]
                    else:
                        for position, mask in enumerate(masks):
                            (root / "masks" / f"{index}_{position}.jpg").write_bytes(mask)
                    image = images / masks_of(row)[0] / f"{row['image_id']}.JPEG"
                    add(tar, f"{index}.jpg", image.read_bytes())
                    add(tar, f"{index}.json", json.dumps(kinds).encode())
                    for position, mask in enumerate(masks):
                        add(tar, f"{index}.{position}.jpg", mask)
    return shards


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def streams(loader: ModuleType, build: Path, images: Path) -> dict[str, Callable[[], Any]]:
    """Return, by name, what gives a stream of a loader, and how to batch it."""

    def stream(
        transform: Any,
        *columns: str,
        batch_size: int | None = 32,
        collate: Any = None,
        **options: Any,
    ) -> Callable[[], Any]:
        def opened() -> Any:
            dataset = loader.load(
                build,
                images=images.parent,
                split="train",
                streaming=True,
                columns=columns or None,
                transform=transform,
                format="torch",
                **options,
            )
            return dataset, {"batch_size": batch_size, "collate_fn": collate}

        return opened

    def emptied(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "core_mask": None, "spurious_mask": None}

    whole = partial(stream, batch_size=None)
    collate = getattr(loader, "collate", None)  # which older loaders did not have
    crop, center = loader.RandomResizedCrop(224), loader.CenterCrop()
    pictures = ("image", "core_mask", "spurious_mask", "label")
    return {
        "training crops, images alone": stream(crop, "image", "label"),
        "training crops, with masks": stream(crop, *pictures),
        "training crops, with empty masks": stream(lambda row: emptied(crop(row)), *pictures),
        "training crops, all columns": stream(crop),
        "training crops, grids for the device": stream(crop, render=False),
        "training crops, masks of 56": stream(crop, *pictures, mask_size=56),
        "training crops, images alone, si.collate": stream(crop, "image", "label", collate=collate),
        "training crops, masks of 56, si.collate": stream(
            crop, *pictures, mask_size=56, collate=collate
        ),
        "training crops, all columns, si.collate": stream(crop, collate=collate),
        "training crops, grids for the device, si.collate": stream(
            crop, render=False, collate=collate
        ),
        "full size, images alone": whole(None, "image", "label"),
        "full size, with masks": whole(None, *pictures),
        "full size, with empty masks": whole(emptied, *pictures),
        "full size, images alone, four threads": whole(None, "image", "label", threads=4),
        "full size, with masks, four threads": whole(None, *pictures, threads=4),
        "training crops, with masks, four threads": stream(crop, *pictures, threads=4),
        "evaluation crops, with masks": stream(center, *pictures),
        "training crops, with masks of the whole image": stream(crop, *pictures, extent="image"),
        "full size, with masks of the whole image": whole(None, *pictures, extent="image"),
    }


def others(root: Path, images: Path, rows: list[dict[str, Any]]) -> dict[str, Callable[[], Any]]:
    """Return other ways to read the same images and masks."""

    def by_datasets() -> Any:
        """The same images and transform by `datasets` alone, with none of our loading."""
        paths = [str(images / masks_of(row)[0] / f"{row['image_id']}.JPEG") for row in rows]
        columns = {"image": paths, "label": [row["label"] for row in rows]}
        features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
        dataset = datasets.Dataset.from_dict(columns, features).to_iterable_dataset(SHARDS)
        crop = si.RandomResizedCrop(224)
        return dataset.map(lambda row: si.ToTensors()(crop(rgb(row)))).select_columns(
            ["image", "label"]
        )

    def rgb(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "image": row["image"].convert("RGB")}

    shards = write_others(root, images, rows)
    batches = {"batch_size": 32}
    return {
        "training crops, images alone by datasets": lambda: (by_datasets(), batches),
        "first release": lambda: (FirstRelease(images, root / "masks", rows, True), batches),
        "first release, images alone": lambda: (FirstRelease(images, root, rows, False), batches),
        "WebDataset, five masks": lambda: (WebDataset(shards[:SHARDS]), batches),
        "WebDataset, two unions": lambda: (WebDataset(shards[SHARDS:]), batches),
    }


RATIOS = [
    ("training crops, with masks", "training crops, images alone", 0.90),
    ("training crops, with empty masks", "training crops, images alone", None),
    ("training crops, with masks", "training crops, images alone by datasets", None),
    ("training crops, with masks, four threads", "training crops, images alone", 0.90),
    ("training crops, all columns", "training crops, images alone", None),
    ("training crops, grids for the device", "training crops, images alone", None),
    ("training crops, grids for the device, si.collate", "training crops, images alone", 0.95),
    ("training crops, all columns, si.collate", "training crops, images alone", None),
    ("training crops, masks of 56", "training crops, images alone", 0.95),
    ("training crops, masks of 56, si.collate", "training crops, images alone", None),
    ("training crops, with masks of the whole image", "training crops, with masks", 0.95),
    ("full size, with masks of the whole image", "full size, with masks", 0.95),
    ("full size, with masks", "full size, images alone", 0.90),
    ("full size, with empty masks", "full size, images alone", None),
    ("full size, with masks, four threads", "full size, images alone", 0.90),
    ("full size, with masks, four threads", "full size, images alone, four threads", None),
    ("evaluation crops, with masks", "first release", 1.7),
    ("first release, images alone", "first release", None),
    ("evaluation crops, with masks", "WebDataset, five masks", 1.5),
    ("evaluation crops, with masks", "WebDataset, two unions", None),
]


def samples_per_second(opened: tuple[Any, dict[str, Any]], workers: int) -> tuple[float, float]:
    """Return samples per second of time, and of the processor time of all processes."""
    dataset, batches = opened
    torch.set_num_threads(1)
    iterator = iter(DataLoader(dataset, num_workers=workers, **batches))
    gc.collect()  # or it comes in the middle of one of the turns
    next(iterator)  # starting workers is not what is measured
    pids = [process.pid for process in getattr(iterator, "_workers", [])]
    samples, started = 0, time.perf_counter()
    before = busy = busy_seconds(pids)
    for batch in iterator:
        samples += 1 if batches["batch_size"] is None else length(batch)
        if all(Path(f"/proc/{pid}").exists() for pid in pids):
            busy = busy_seconds(pids)
            counted = samples
    return samples / (time.perf_counter() - started), counted / (busy - before)


def length(batch: Any) -> int:
    return len(batch["image"] if isinstance(batch, dict) else batch[0])


def busy_seconds(workers: Sequence[int]) -> float:
    """Return the processor time that this process and its workers have taken until now."""
    ticks = 0
    for pid in workers:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def module_of(file: Path) -> ModuleType:
    """Return an older copy of the loader, as a module of another name."""
    spec = importlib.util.spec_from_file_location("older_loader", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", default="", help="variants whose names hold this word")
    parser.add_argument("--workers", type=int, nargs="*", default=WORKERS)
    parser.add_argument("--against", type=Path, help="an older copy of salient_imagenet_1m.py")
    options = parser.parse_args()
    real = os.environ.get("SALIENT_REAL_DATA")
    if not real:
        sys.exit("Set SALIENT_REAL_DATA to the directory of real data.")
    images = Path(real, "fullsize", "train")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        rows = synthetic_rows(images, options.rows)
        write_build(root / "build", rows, sorted(path.name for path in images.iterdir()))
        variants = streams(si, root / "build", images)
        ratios = RATIOS
        if options.against:
            older = streams(module_of(options.against), root / "build", images)
            new = "of 56", "si.collate", "of the whole image"
            shared = [name for name in older if not any(word in name for word in new)]
            variants |= {f"{name}, older": older[name] for name in shared}
            ratios = [(name, f"{name}, older", 1.0) for name in shared]
        else:
            variants |= others(root, images, rows)
        for workers, (name, base, goal) in itertools.product(options.workers, ratios):
            if options.only in name:
                pair = variants[name], variants[base]
                report(workers, f"{name} / {base}", goal, compare(*pair, workers, options.repeats))


def compare(
    one: Callable[[], Any], other: Callable[[], Any], workers: int, repeats: int
) -> np.ndarray[Any, Any]:
    """Return ratios of speeds of neighbouring turns: of time, and of processor time."""
    ratios = []
    for turn in range(repeats):
        order = (one, other) if turn % 2 else (other, one)
        speeds = {variant: samples_per_second(variant(), workers) for variant in order}
        ratios.append(np.divide(speeds[one], speeds[other]))
    return np.array(ratios)


def report(workers: int, name: str, goal: float | None, ratios: np.ndarray[Any, Any]) -> None:
    (low, middle, high), (_, busy, _) = np.percentile(ratios, (25, 50, 75), axis=0).T
    text = f"{workers} workers, {name}: {middle:.2f} ({low:.2f} to {high:.2f})"
    print(f"{text}, by processor time {busy:.2f}" + (f" (goal {goal})" if goal else ""), flush=True)


if __name__ == "__main__":
    main()
