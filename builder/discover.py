"""Which features of a network make each class: the table that annotation starts from."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch
from timm.data.imagenet_info import ImageNetInfo

from builder.architectures import load_architecture
from builder.classes import IMAGENET_CLASSES, class_names
from builder.errors import BuildError
from builder.files import atomic_write, disk_errors_as_sentences
from builder.images import NO_LABEL, Images, open_images
from builder.importance import Importance
from builder.job import BATCH_SIZES, WORKERS, find_device
from builder.loading import LoadedBatch, Loader, batches_of
from builder.network import Network
from builder.pipeline import process
from builder.plan import Plan, make_plan
from builder.reporter import Reporter
from builder.settings import NetworkSettings

FEATURES_PER_CLASS = 5
TOP_IMAGES = 5

COLUMNS = (
    "label",
    "wnid",
    "name",
    "rank",
    "feature",
    "importance",
    "weight",
    *(f"image_{place}" for place in range(1, TOP_IMAGES + 1)),
)
"""Of the table, a row per class-feature pair: the class; the feature's rank in it, 1 the most
important; the feature; its importance; its weight in the classifier head for the class; the ids of
the images of the class that activate it most, the first the most. An image in which the feature is
silent is not among them, so that a column may be empty."""


@dataclass(frozen=True, kw_only=True)
class Search(NetworkSettings):
    """The options of ``salient-imagenet discover``; see its ``--help``."""

    out: Path


class Candidate(NamedTuple):
    """A class-feature pair on which nobody voted yet.

    Attributes
    ----------
    label : int
    wnid, name : str
        The class.
    rank : int
        1 is the most important feature of the class.
    feature : int
        Channel of the last conv map.
    importance : float
        Mean over the images predicted as the class of activation times weight.
    weight : float
        Of the feature in the classifier head, for the class.
    images : tuple of str
        Ids of the images of the class that activate the feature most, the first the most.
    """

    label: int
    wnid: str
    name: str
    rank: int
    feature: int
    importance: float
    weight: float
    images: tuple[str, ...]


class Sight(NamedTuple):
    """What a network makes of a batch of images.

    Attributes
    ----------
    members : ndarray of int64, shape (images,)
        Positions in the listing.
    activations : ndarray of float32, shape (images, channels)
    predicted : ndarray of int64, shape (images,)
    set_aside : int
        How many images of the batch could not be used.
    """

    members: npt.NDArray[np.int64]
    activations: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.int64]
    set_aside: int


def discover(search: Search, reporter: Reporter) -> list[Candidate]:
    """Find each class's most important features and write the table of them.

    Parameters
    ----------
    search : Search
    reporter : Reporter

    Returns
    -------
    list of Candidate
        The rows of the table, sorted by label, then rank.

    Raises
    ------
    BuildError
        If an input cannot be used, or the table is there already.
    """
    if search.out.exists():
        raise BuildError(f"{search.out} exists already: remove it, or use another --out.")
    if not search.out.parent.is_dir():
        raise BuildError(f"There is no directory {search.out.parent}: check --out.")
    device = find_device(search.device)
    network = Network(
        load_architecture(search.network, search.checkpoint), device, search.precision
    )
    with reporter.track("listing images") as advance:
        images = open_images(search.images, search.split, advance)
    labels = label_classes(images, network.classes)
    plan = make_plan(images, labels, search.split, search.seed, search.limit, shard_size=None)
    loader = Loader(images, plan)
    importance = Importance.empty(network.classes, network.channels)
    top = TopImages(network.classes, network.channels)
    batch_size = search.batch_size or BATCH_SIZES[device.type]
    workers = WORKERS[device.type] if search.workers is None else search.workers
    batches = batches_of(plan.order, batch_size)
    set_aside = len(plan.set_aside)
    with reporter.track("images", len(plan.order)) as advance:
        for sight in process(batches, loader, Eye(network), workers):
            importance.add(sight.activations, sight.predicted)
            top.add(sight.members, plan.labels[sight.members], sight.activations)
            set_aside += sight.set_aside
            advance(len(sight.members) + sight.set_aside)
    if set_aside:
        reporter.say(f"{set_aside:,} of {plan.images:,} images could not be used.")
    candidates = _candidates(network, labels, plan, importance, top)
    never = len(labels) - len({candidate.label for candidate in candidates})
    if not candidates:
        raise BuildError(
            f"{search.network} predicts none of the classes of {search.images}: check --checkpoint."
        )
    if never:
        reporter.say(f"{never:,} classes are never predicted: the table has no rows for them.")
    with disk_errors_as_sentences(search.out.parent), atomic_write(search.out) as file:
        file.write(_as_csv(candidates))
    return candidates


def label_classes(images: Images, classes: int) -> dict[str, int]:
    """Return the label of each wnid of an image set.

    ImageNet's own where the network has 1,000 classes and all wnids are ImageNet's, so that some
    of its classes will do; otherwise the source's, or else the index in the sorted wnids.

    Parameters
    ----------
    images : Images
    classes : int
        Outputs of the network.

    Returns
    -------
    dict of str to int

    Raises
    ------
    BuildError
        If the image set's classes cannot be the network's.
    """
    wnids = sorted(pc.unique(images.wnids).drop_null().to_pylist())
    imagenet = {name: label for label, name in enumerate(_imagenet_wnids())}
    given = np.unique(images.labels[images.labels != NO_LABEL]).tolist()
    if classes == IMAGENET_CLASSES and all(wnid in imagenet for wnid in wnids):
        return {wnid: imagenet[wnid] for wnid in wnids}
    if given and given[-1] >= classes:
        raise BuildError(
            f"The images have labels up to {given[-1]} and the network {classes} classes: "
            "check --images and --network."
        )
    if given:
        return _name_labels(images, given)
    if len(wnids) != classes:
        raise BuildError(
            f"The images have {len(wnids)} classes and the network {classes}, so it cannot be told "
            "which is which: check --images and --network."
        )
    return {wnid: label for label, wnid in enumerate(wnids)}


def _name_labels(images: Images, given: list[int]) -> dict[str, int]:
    """Name each label that a source gives by its wnid, where the two go together."""
    pairs = set(zip(images.wnids.to_pylist(), images.labels.tolist(), strict=True))
    wnids_of = {label: [wnid for wnid, other in pairs if other == label] for label in given}
    counts = Counter(wnid for wnid, _ in pairs)
    labels = {}
    for label, wnids in wnids_of.items():
        is_one = len(wnids) == 1 and wnids[0] is not None and counts[wnids[0]] == 1
        labels[wnids[0] if is_one else f"class {label}"] = label
    return labels


def _imagenet_wnids() -> list[str]:
    names: list[str] = ImageNetInfo().label_names()
    return names


class Eye:
    """Runs a network on batches for activations and predictions; several threads may call it."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, batch: LoadedBatch) -> Sight:
        """Look at a batch.

        Raises
        ------
        BuildError
            If the network gives numbers that are not finite.
        """
        output = self._network(batch.pixels)
        if not torch.isfinite(output.activations).all():
            raise BuildError(
                f"The network {self._network.name} gives activations that are not finite: check "
                "the checkpoint, or use --precision float32."
            )
        return Sight(
            batch.members,
            output.activations.cpu().numpy(),
            output.logits.argmax(dim=1).cpu().numpy(),
            len(batch.set_aside),
        )


class TopImages:
    """For each class and feature, the images of the class that activate the feature most.

    Parameters
    ----------
    classes, channels : int
    """

    def __init__(self, classes: int, channels: int) -> None:
        shape = (classes, channels, TOP_IMAGES)
        self._activations = np.zeros(shape, np.float32)
        self._members = np.full(shape, -1, np.int64)

    def add(
        self,
        members: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        activations: npt.NDArray[np.float32],
    ) -> None:
        """Take a batch into account; of equal activations the earlier stays.

        Parameters
        ----------
        members, labels : ndarray of int64, shape (images,)
            Positions in the listing, and classes.
        activations : ndarray of float32, shape (images, channels)
        """
        for label in np.unique(labels):
            own = labels == label
            values = np.hstack([self._activations[label], activations[own].T])
            rows = np.tile(members[own], (len(values), 1))
            places = np.hstack([self._members[label], rows])
            best = np.argsort(-values, axis=1, kind="stable")[:, :TOP_IMAGES]
            self._activations[label] = np.take_along_axis(values, best, axis=1)
            self._members[label] = np.take_along_axis(places, best, axis=1)

    def of(self, label: int, feature: int) -> list[int]:
        """Return positions in the listing, at most `TOP_IMAGES`, the most active image first."""
        active = self._activations[label, feature] > 0
        found: list[int] = self._members[label, feature][active].tolist()
        return found


def _candidates(
    network: Network,
    labels: dict[str, int],
    plan: Plan,
    importance: Importance,
    top: TopImages,
) -> list[Candidate]:
    names = class_names(labels, network.classes)
    weight = network.head_weight.numpy()
    found = []
    for wnid, label in sorted(labels.items(), key=lambda item: item[1]):
        if not importance.counts[label]:
            continue
        ranking = importance.ranking(label, weight)[:FEATURES_PER_CLASS]
        values = importance.of(label, weight)
        for rank, feature in enumerate(ranking.tolist(), 1):
            images = tuple(plan.ids[member].as_py() for member in top.of(label, feature))
            found.append(
                Candidate(
                    label,
                    wnid,
                    names[label],
                    rank,
                    feature,
                    float(values[feature]),
                    float(weight[label, feature]),
                    images,
                )
            )
    return found


def _as_csv(candidates: list[Candidate]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for candidate in candidates:
        images = [*candidate.images, *[""] * (TOP_IMAGES - len(candidate.images))]
        numbers = f"{candidate.importance:.6g}", f"{candidate.weight:.6g}"
        writer.writerow([*candidate[:5], *numbers, *images])
    return text.getvalue().encode()


def read_candidates(path: Path) -> list[Candidate]:
    """Read the table that `discover` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Candidate(
                int(row["label"]),
                row["wnid"],
                row["name"],
                int(row["rank"]),
                int(row["feature"]),
                float(row["importance"]),
                float(row["weight"]),
                tuple(row[name] for name in COLUMNS[-TOP_IMAGES:] if row[name]),
            )
            for row in csv.DictReader(file)
        ]
