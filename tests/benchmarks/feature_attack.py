"""What feature attacks make of the demo's images, on its robust and on its plain network.

    python -m tests.benchmarks.feature_attack [--demo DIR]

Runs the demo where DIR holds none, finds the features of both networks, and attacks the top images
of each pair. The thing of a pair is the planted one that most of its heat is on: the core object of
the class or a cue. For each network it prints

- how well heat maps tell the thing's pixels from the others (AUROC over pixels, mean over images);
- by how much attacks raise the feature, over pairs (means of the five images);
- how well the size of the change tells the thing's pixels, after the first step, the tenth and the
  last;
- how often the change outside the thing points, in colour, to the thing rather than to the other
  thing of the class that the image shows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from builder.annotate.attacks import STEPS, feature_attack
from builder.annotate.candidates import Candidate
from builder.annotate.discover import discover
from builder.dataset.metrics import mask_auroc
from builder.dataset.upsampling import upsample
from builder.demo.demo import NETWORK, Folder, run_demo
from builder.demo.world import CORE, FIRST_CUE, Truth, World, read_truth
from builder.images.decode import decode
from builder.network.inference import open_network
from builder.network.network import Network
from builder.reporter import SilentReporter
from builder.settings.annotation import Search
from salient_imagenet_1m import encode_grids

LOOKS = (1, 10, STEPS)
"""Steps after which the change is looked at."""


class Seen(NamedTuple):
    """What came of the top images of a pair."""

    heat: list[float]
    """AUROC of the heat map of each image."""
    rise: float
    aurocs: list[list[float]]
    """After each of the steps looked at, of each image."""
    points: list[bool]
    """Of each image that shows another thing of the class."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(options.demo or Path(temporary) / "demo")
        run_demo(folder.root, World(), SilentReporter())
        for name, weights in (("robust", folder.robust), ("plain", folder.plain)):
            start = time.perf_counter()
            report(name, list(attack_all(folder, weights)))
            print(f"  {time.perf_counter() - start:.0f} s")


def attack_all(folder: Folder, weights: Path) -> Iterator[Seen]:
    truth = read_truth(folder.root)
    with tempfile.TemporaryDirectory() as temporary:
        search = Search(
            images=str(folder.images),
            network=NETWORK,
            checkpoint=weights,
            device="cpu",
            out=Path(temporary) / "features.csv",
        )
        pairs = discover(search, SilentReporter())
    network = open_network(search, torch.device("cpu"))
    for pair in pairs:
        yield attack_pair(network, pair, folder, truth)


def attack_pair(network: Network, pair: Candidate, folder: Folder, truth: Truth) -> Seen:
    files = [folder.images / "train" / pair.wnid / f"{name}.JPEG" for name in pair.images]
    pixels = torch.from_numpy(np.stack([decode(path.read_bytes()).pixels for path in files]))
    maps = network(pixels).maps[:, pair.feature].numpy()
    labels = np.stack([truth.label_map(name) for name in pair.images])
    values = [CORE, *(FIRST_CUE + cue for cue in World().cues_of(pair.label))]
    heat = upsample(encode_grids(maps)[0], *labels.shape[1:])
    thing = max(values, key=lambda value: int((labels[heat > 255 / 2] == value).sum()))
    images = (pixels / 255).permute(0, 3, 1, 2)
    features = torch.full((len(images),), pair.feature)
    attacks, done, current = [], 0, images
    for look in LOOKS:
        attack = feature_attack(network, current, features, look - done)
        attacks.append(attack)
        done, current = look, attack.images
    changes = [(attack.images - images).permute(0, 2, 3, 1).numpy() for attack in attacks]
    places = labels == thing
    return Seen(
        list(map(mask_auroc, np.rint(heat).astype(np.uint8), places)),
        float(attacks[-1].after.mean() / attacks[0].before.mean()),
        [
            [mask_auroc(sizes(one), own) for one, own in zip(change, places, strict=True)]
            for change in changes
        ],
        list(directions(changes[-1], pixels.numpy() / 255, labels, thing, values)),
    )


def sizes(change: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the mean size of the change over channels, 255 the largest, shape (height, width)."""
    size = np.abs(change).mean(axis=-1)
    shares: npt.NDArray[np.uint8] = np.rint(255 * size / size.max()).astype(np.uint8)
    return shares


def directions(
    changes: npt.NDArray[np.float32],
    images: npt.NDArray[np.float64],
    labels: npt.NDArray[np.uint8],
    thing: int,
    values: list[int],
) -> Iterator[bool]:
    """Yield whether the change of each image points to the thing's colour, not to the other's."""
    for change, image, own in zip(changes, images, labels, strict=True):
        rest = ~np.isin(own, values)
        colours = {value: image[own == value].mean(axis=0) for value in values if value in own}
        if thing not in colours or len(colours) < 2:
            continue
        moved = change[rest].mean(axis=0)
        start = image[rest].mean(axis=0)
        cosines = {
            value: moved @ (colour - start) / np.linalg.norm(colour - start)
            for value, colour in colours.items()
        }
        yield max(cosines, key=lambda value: float(cosines[value])) == thing


def report(name: str, seen: list[Seen]) -> None:
    rises = np.array([each.rise for each in seen])
    print(f"{name}: {len(seen)} pairs")
    print(f"  AUROC of heat maps on the thing: {np.nanmean([each.heat for each in seen]):.2f}")
    print(
        f"  raised at least 3 times: {(rises >= 3).mean():.0%}; lowest {rises.min():.1f}, "
        f"median {np.median(rises):.1f}"
    )
    aurocs = [np.nanmean([each.aurocs[look] for each in seen]) for look in range(len(LOOKS))]
    told = ", ".join(f"step {look} {value:.2f}" for look, value in zip(LOOKS, aurocs, strict=True))
    print(f"  AUROC of |change| on the thing: {told}")
    points = [point for each in seen for point in each.points]
    print(f"  the change has the thing's colour: {np.mean(points):.0%} of {len(points)} images")


if __name__ == "__main__":
    main()
