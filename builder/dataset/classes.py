"""Names of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

from timm.data.imagenet_info import ImageNetInfo

from builder.errors import BuildError

IMAGENET_CLASSES = 1000


@cache
def imagenet_info() -> ImageNetInfo:
    """Return the wnids and names of ImageNet's classes, read once."""
    return ImageNetInfo("imagenet-1k")


def read_classes(path: Path, outputs: int) -> list[str]:
    """Read the class of each output of a network: a wnid, or a name of its own, per line.

    Parameters
    ----------
    path : Path
    outputs : int
        Of the network.

    Raises
    ------
    BuildError
        If the file is missing, or has not a class of its own for each output.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise BuildError(
            f"The file of classes {path} cannot be read ({error.strerror}): check --classes."
        ) from error
    except UnicodeDecodeError as error:
        raise BuildError(
            f"The file of classes {path} is no text in UTF-8: check --classes."
        ) from error
    names = [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
    lines: dict[str, int] = {}
    for line, name in enumerate(names, 1):
        if not name:
            raise BuildError(f"{path}:{line} is empty: name the class of each output in a line.")
        if name in lines:
            raise BuildError(
                f"{path} has {name} in the lines {lines[name]} and {line}: give each output of the "
                "network a class of its own."
            )
        lines[name] = line
    if len(names) != outputs:
        raise BuildError(
            f"{path} has {len(names)} classes and the network {outputs} outputs: name the class of "
            "each output in a line, in their order; check --classes and --network."
        )
    return names


def class_names(labels: Mapping[str, int], classes: int, outputs: Sequence[str] = ()) -> list[str]:
    """Return a unique name for each label.

    Parameters
    ----------
    labels : mapping of str to int
        The label of each wnid that is known.
    classes : int
        Outputs of the network.
    outputs : sequence of str
        The class of each, where a file says so; see `read_classes`.

    Returns
    -------
    list of str
        WordNet's names where wnids and labels are ImageNet's; otherwise the wnids themselves.
    """
    imagenet = imagenet_info()
    wnids = dict(enumerate(outputs)) | {label: wnid for wnid, label in labels.items()}
    if classes == IMAGENET_CLASSES and all(
        imagenet.index_to_label_name(label) == wnid for label, wnid in wnids.items()
    ):
        names = [imagenet.index_to_description(label) for label in range(classes)]
        counts = Counter(names)
        return [
            name if counts[name] == 1 else f"{name} ({imagenet.index_to_label_name(label)})"
            for label, name in enumerate(names)
        ]
    return [wnids.get(label) or _unnamed(label, wnids.values()) for label in range(classes)]


def _unnamed(label: int, others: Collection[str]) -> str:
    """Return a name for a class that has none, and that no folder of the images has either."""
    name = f"class {label}"
    while name in others:
        name = f"another {name}"
    return name
