"""The label of each class of a source of images."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow.compute as pc
from timm.data.imagenet_info import ImageNetInfo

from builder.dataset.classes import IMAGENET_CLASSES
from builder.errors import BuildError
from builder.images.sources import NO_LABEL, Images, require_classes


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
        If nothing tells the image set's classes, or they cannot be the network's.
    """
    require_classes(images)
    wnids = sorted(pc.unique(images.wnids).drop_null().to_pylist())
    imagenet = imagenet_labels()
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


def imagenet_labels() -> dict[str, int]:
    """Return the label of each of ImageNet's wnids."""
    names: list[str] = ImageNetInfo().label_names()
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
