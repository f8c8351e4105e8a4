"""What a user does with a published data set, by its id: run with HF_ENDPOINT, in a new process.

Usage: python -m tests.hub.reader NAME DIRECTORY IMAGES [REVISION]

Holds everything against DIRECTORY, of which NAME is the published form. IMAGES is a root with
`train` and `val`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import yaml
from datasets import load_dataset
from torch.utils.data import DataLoader

import salient_imagenet_1m as si

FOLDERS = {"train": "train", "validation": "val"}


def main(name: str, directory: str, images: str, revision: str | None = None) -> None:
    """Load everything in each way, and compare."""
    check_configs(name, directory, revision)
    for split, folder in FOLDERS.items():
        check_loader(name, directory, images, split, revision)
        check_join(name, directory, f"{images}/{folder}", split)
    check_shuffled(name, images)
    check_workers(name, directory, images)
    print("all is equal")


def check_configs(name: str, directory: str, revision: str | None) -> None:
    """Each config and split that the card declares, streamed and not."""
    card = yaml.safe_load((Path(directory) / "README.md").read_text().split("---\n")[1])
    configs = {config["config_name"]: config["data_files"] for config in card["configs"]}
    assert {"masks", "rankings", "features"} <= set(configs)
    assert (
        load_dataset(name, split="train", streaming=True).features
        == si.load(directory, "masks", split="train").features
    )  # masks is the default
    for config, files in configs.items():
        for split in (entry["split"] for entry in files):
            local = list(load_dataset(directory, config, split=split, streaming=True))
            assert local
            for streaming in (True, False):
                published = load_dataset(
                    name, config, split=split, streaming=streaming, revision=revision
                )
                equal(list(published), local)


def check_loader(name: str, directory: str, images: str, split: str, revision: str | None) -> None:
    """The loader by id, with images."""
    for streaming in (True, False):
        published = si.load(name, images=images, split=split, streaming=streaming)
        local = si.load(directory, images=images, split=split, streaming=streaming)
        equal(list(published), list(local))
    if revision:
        address = f"hf://datasets/{name}@{revision}"
        equal(list(si.load(address, images=images, split=split)), list(local))
    for config in ("masks", "rankings", "features"):
        equal(
            list(si.load(name, config, split=split)), list(si.load(directory, config, split=split))
        )
    chosen = si.Selection(most_spurious=2)
    few = [list(si.load(d, images=images, split=split, select=chosen)) for d in (name, directory)]
    equal(*few)
    assert few[0]


def check_join(name: str, directory: str, folder: str, split: str) -> None:
    """The loader's join by id, with a dataset of the user's own."""
    (mine,) = load_dataset("imagefolder", data_dir=folder).values()  # Its split goes by the folder
    mine = mine.select(range(3, len(mine), 2))
    equal(list(si.join(mine, name, split=split)), list(si.join(mine, directory, split=split)))


def check_shuffled(name: str, images: str) -> None:
    """A shuffled stream that stops in the middle and goes on."""
    dataset = si.load(name, images=images, split="train", streaming=True).shuffle(seed=1)
    whole = [row["image_id"] for row in dataset]
    rows = iter(dataset)
    first = [next(rows)["image_id"] for _ in range(5)]
    dataset.load_state_dict(dataset.state_dict())
    assert first + [row["image_id"] for row in dataset] == whole


def check_workers(name: str, directory: str, images: str) -> None:
    """Processes that were forked after this one had talked to the Hub."""
    seen = []
    for build in (name, directory):
        dataset = si.load(build, images=images, split="train", streaming=True, render=False)
        dataset = dataset.select_columns(["image_id", "grids"])
        next(iter(dataset))
        loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
        seen.append(sorted((row["image_id"], row["grids"]) for row in loader))
    assert seen[0] == seen[1]


def equal(published: list[dict[str, Any]], local: list[dict[str, Any]]) -> None:
    assert len(published) == len(local)
    for one, other in zip(published, local, strict=True):
        assert one.keys() == other.keys()
        for column in one:
            assert plain(one[column]) == plain(other[column]), column


def plain(value: Any) -> Any:
    """Return pixels for what is a picture, which has no equality of its own."""
    if isinstance(value, list | str | bytes | int | float | None):
        return value
    pixels = np.asarray(value)
    return pixels.shape, pixels.tobytes()


if __name__ == "__main__":
    datasets.disable_progress_bars()
    slept = time.sleep
    time.sleep = lambda seconds: slept(float(seconds) / 100)  # Of clients between two tries
    main(*sys.argv[1:])
