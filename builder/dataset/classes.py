"""Names of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache

from timm.data.imagenet_info import ImageNetInfo

IMAGENET_CLASSES = 1000


@cache
def imagenet_info() -> ImageNetInfo:
    """Return the wnids and names of ImageNet's classes, read once."""
    return ImageNetInfo("imagenet-1k")


def class_names(labels: Mapping[str, int], classes: int) -> list[str]:
    """Return a unique name for each label.

    Parameters
    ----------
    labels : mapping of str to int
        The label of each wnid that is known.
    classes : int
        Outputs of the network.

    Returns
    -------
    list of str
        WordNet's names where wnids and labels are ImageNet's; otherwise the wnids themselves.
    """
    imagenet = imagenet_info()
    if classes == IMAGENET_CLASSES and all(
        imagenet.index_to_label_name(label) == wnid for wnid, label in labels.items()
    ):
        names = [imagenet.index_to_description(label) for label in range(classes)]
        counts = Counter(names)
        return [
            name if counts[name] == 1 else f"{name} ({imagenet.index_to_label_name(label)})"
            for label, name in enumerate(names)
        ]
    wnids = {label: wnid for wnid, label in labels.items()}
    return [wnids.get(label, f"class {label}") for label in range(classes)]
