"""Releases of object masks, as others lay them out, made from the planted world's truth.

    python -m tests.releases ./demo ./hardImageNet

writes the objects of a demo like Hard ImageNet.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from builder.dataset.object_mask import Bools
from builder.demo.world import CORE, Truth, read_truth

FOLDERS = {"train": "train", "val": "val"}


def write_hard_imagenet(root: Path, truth: Truth) -> None:
    """Write Hard ImageNet's layout: JPEGs that begin with the wnid, and its pickles.

    Training images are ranked by how strong the cues of their class are, the weakest first.
    """
    for folder in FOLDERS.values():
        (root / folder).mkdir(parents=True)
    (root / "meta").mkdir()
    paths: dict[int, list[tuple[float, str]]] = {}
    for name, row in truth.rows.items():
        file = f"{row['wnid']}_{name}.JPEG"
        Image.fromarray(object_of(truth, name)).convert("L").save(
            root / FOLDERS[row["split"]] / file, quality=90
        )
        if row["split"] == "train":
            strength = float(sum(truth.strengths(name).values()))
            path = f"train/{row['wnid']}/{name}.JPEG"
            paths.setdefault(row["label"], []).append((strength, path))
    ranked = {label: [path for _, path in sorted(found)] for label, found in paths.items()}
    wnids = {row["label"]: row["wnid"] for row in truth.rows.values()}
    for meta, content in {
        "paths_by_rank": ranked,
        "idx_to_wnid": wnids,
        "hard_imagenet_idx": sorted(wnids),
        "imagenet_classnames": [f"class {label}" for label in sorted(wnids)],
        "wnid_to_rival10_id": {wnid: (label, label) for label, wnid in wnids.items()},
    }.items():
        (root / "meta" / f"{meta}.pkl").write_bytes(pickle.dumps(content))


def write_rival10(root: Path, truth: Truth) -> None:
    """Write RIVAL10's layout, in whose folder test are training images of ImageNet too."""
    for place, (name, row) in enumerate(truth.rows.items()):
        folder = root / "RIVAL10" / ("test" if place % 3 == 0 else "train")
        (folder / "entire_object_masks").mkdir(parents=True, exist_ok=True)
        (folder / "ordinary").mkdir(exist_ok=True)
        mask = Image.fromarray(object_of(truth, name)).convert("RGB")
        mask.save(folder / "entire_object_masks" / f"{row['wnid']}_{name}.png")
        (folder / "ordinary" / f"{row['wnid']}_{name}.png").write_bytes(b"the image, not a mask")


def write_folder(root: Path, truth: Truth) -> None:
    """Write masks of 0 and 1 that are called as their images are."""
    for name, row in truth.rows.items():
        folder = root / row["split"] / row["wnid"]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(object_of(truth, name).astype(np.uint8)).save(folder / f"{name}.png")


def object_of(truth: Truth, name: str) -> Bools:
    """Return where the core object of an image is, of the image's size."""
    with Image.open(truth.root / "truth" / f"{name}.png") as file:
        return np.asarray(np.asarray(file) == CORE)


if __name__ == "__main__":
    demo, out = map(Path, sys.argv[1:])
    write_hard_imagenet(out, read_truth(demo))
