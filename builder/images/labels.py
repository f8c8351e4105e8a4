"""The label of each class of a source of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from builder.dataset.classes import IMAGENET_CLASSES, imagenet_info
from builder.errors import BuildError
from builder.images.sources import NO_LABEL, Images, require_classes


def label_classes(images: Images, classes: int, outputs: Sequence[str] = ()) -> dict[str, int]:
    """Return the label of each wnid of an image set.

    Where a file names the class of each output, that output. ImageNet's own where the network has
    1,000 classes and all wnids are ImageNet's, so that some of its classes will do; otherwise the
    source's, or else the index in the sorted wnids.

    Parameters
    ----------
    images : Images
    classes : int
        Outputs of the network.
    outputs : sequence of str
        The class of each, where a file says so; images of other classes have no label.

    Returns
    -------
    dict of str to int

    Raises
    ------
    BuildError
        If nothing tells the image set's classes, or they cannot be the network's.
    """
    require_classes(images)
    wnids = sorted(pc.unique(images.wnids).drop_null().to_pylist())
    imagenet = imagenet_labels()
    given = np.unique(images.labels[images.labels != NO_LABEL]).tolist()
    if outputs and wnids:
        return _label_by_name(wnids, outputs)
    if classes == IMAGENET_CLASSES and all(wnid in imagenet for wnid in wnids):
        return {wnid: imagenet[wnid] for wnid in wnids}
    if given and given[-1] >= classes:
        raise BuildError(
            f"The images have labels up to {given[-1]} and the network {classes} classes: "
            "check --images and --network."
        )
    if given:
        return {outputs[n]: n for n in given} if outputs else _name_labels(images, given)
    if len(wnids) != classes:
        raise BuildError(
            f"The images have {len(wnids)} classes and the network {classes}, so it cannot be told "
            "which is which: say which class each output of the network is in a file for "
            "--classes, or check --images and --network."
        )
    return {wnid: label for label, wnid in enumerate(wnids)}


def _label_by_name(wnids: list[str], outputs: Sequence[str]) -> dict[str, int]:
    known = {name: label for label, name in enumerate(outputs)}
    labels = {wnid: known[wnid] for wnid in wnids if wnid in known}
    if not labels:
        raise BuildError(
            f"None of the classes of the images, such as {wnids[0]}, is among those that --classes "
            f"names, such as {outputs[0]}: name there the images' folders, in the order of the "
            "network's outputs."
        )
    return labels


def check_labels(labels: Mapping[str, int], outputs: Sequence[str], path: Path) -> None:
    """See that votes and the file of classes have the same class for each label.

    Parameters
    ----------
    labels : mapping of str to int
        The label of each wnid of the votes, all of them outputs of the network.
    outputs : sequence of str
        The class of each output.
    path : Path
        Which the latter were read from, for the sentence.

    Raises
    ------
    BuildError
        If they differ.
    """
    for wnid, label in labels.items():
        if outputs[label] != wnid:
            raise BuildError(
                f"The votes give the class {wnid} the index {label}, but line {label + 1} of "
                f"{path}, which is output {label} of the network, is {outputs[label]}: check "
                "--votes and --classes."
            )


def imagenet_labels() -> dict[str, int]:
    """Return the label of each of ImageNet's wnids."""
    names: list[str] = imagenet_info().label_names()
    return {name: label for label, name in enumerate(names)}


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
