"""The plan: which images, in which order, in which shard; a function of its inputs alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from builder.dataset.layout import order_keys
from builder.errors import BuildError
from builder.images.sources import NO_LABEL, WNID, Images, require_classes
from salient_imagenet_1m import image_id

LARGEST_SHARD = 1024
"""Images in a shard: what a kill costs at most."""

SMALLEST_SHARD = 16

PUBLISHED_FILES = 64
"""Files per split; `datasets` shares out work by files."""

SMALLEST_FILE = 256
"""Rows in a file at least: a small split has fewer files, as each repeats all class names."""

DUPLICATE_ID = "duplicate_id"
NO_VOTES = "no_votes"
"""Why images are set aside before anything is read of them."""

_CHUNK = 2**16


@dataclass(frozen=True)
class SetAside:
    """An image that is not in the data set, and why."""

    image_id: str
    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Plan:
    """Which images become rows, in which order.

    Attributes
    ----------
    split : str
    order : ndarray of int64, shape (rows to be,)
        Positions in the listing, in the published order: pseudo-random over all classes.
    ids : pa.StringArray
        The image id of each image in the listing.
    labels : ndarray of int64
        The label of each image in the listing, `NO_LABEL` where no class with votes has it.
    set_aside : list of SetAside
        Images that cannot become rows, whatever is in them.
    shard_size : int
        Images in a shard, the unit of work, of retry and of resume.
    """

    split: str
    order: npt.NDArray[np.int64]
    ids: pa.StringArray
    labels: npt.NDArray[np.int64]
    set_aside: list[SetAside]
    shard_size: int

    @property
    def images(self) -> int:
        """How many images come in."""
        return len(self.order) + len(self.set_aside)

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-len(self.order) // self.shard_size)

    def members(self, shard: int) -> npt.NDArray[np.int64]:
        """Return the positions in the listing of a shard's images."""
        return self.order[shard * self.shard_size : (shard + 1) * self.shard_size]

    @property
    def files(self) -> list[range]:
        """The shards of each published file."""
        count = min(PUBLISHED_FILES, self.shards, max(1, len(self.order) // SMALLEST_FILE))
        bounds = [self.shards * index // count for index in range(count + 1)]
        return [range(*pair) for pair in pairwise(bounds)]

    @cached_property
    def sha256(self) -> str:
        """Of all ids and labels in their order, and of what is set aside."""
        digest = hashlib.sha256()
        for positions in _chunks(self.order):
            ids = self.ids.take(pa.array(positions)).to_pylist()
            pairs = zip(ids, self.labels[positions].tolist(), strict=True)
            digest.update("".join(f"{name} {label}\n" for name, label in pairs).encode())
        for image in self.set_aside:
            digest.update(f"{image}\n".encode())
        return digest.hexdigest()


def make_plan(
    images: Images,
    labels: Mapping[str, int],
    split: str,
    seed: int,
    limit: int | None,
    shard_size: int | None,
) -> Plan:
    """Put images in a seeded pseudo-random order and set aside those that cannot be rows.

    The order is that of a keyed hash of the image id, so that it depends neither on the layout
    of the source nor on which other images there are.

    Parameters
    ----------
    images : Images
    labels : mapping of str to int
        The label of each wnid that is wanted; other classes are set aside.
    split : str
    seed : int
        Key of the order, 0 to 2**63.
    limit : int, optional
        Take that many images, the first ones in the order.
    shard_size : int, optional
        Images in a shard; by default the images spread over 64 shards of 16 to 1,024.

    Returns
    -------
    Plan

    Raises
    ------
    BuildError
        If nothing tells the images' classes.
    """
    require_classes(images)
    found = _labels(images, labels)
    ids = _image_ids(images.paths)
    order, namesakes = _order(ids, images.paths, seed)
    order = order[:limit]
    unusable = (found[order] == NO_LABEL) | np.isin(order, list(namesakes))
    set_aside = [
        _set_aside(images, index, ids[index].as_py(), namesakes.get(index, 1))
        for index in order[unusable].tolist()
    ]
    order = order[~unusable]
    default_size = min(LARGEST_SHARD, max(SMALLEST_SHARD, -(-len(order) // PUBLISHED_FILES)))
    return Plan(split, order, ids, found, set_aside, shard_size or default_size)


def require_rows(plan: Plan, source: str, remedy: str) -> None:
    """See that there is an image that can become a row.

    Parameters
    ----------
    plan : Plan
    source : str
        Where its images come from, for the sentence.
    remedy : str
        What to do where it is not that images share their ids.

    Raises
    ------
    BuildError
        If there is none.
    """
    if len(plan.order):
        return
    counts = Counter(image.reason for image in plan.set_aside)
    ((reason, _),) = counts.most_common(1)
    first = next(image for image in plan.set_aside if image.reason == reason)
    why = first.detail
    if reason == DUPLICATE_ID:
        why = f"it has the id {first.image_id}, and so has another"
        remedy = "give each image of a folder a name of its own"
    raise BuildError(
        f"None of the {plan.images} images of {source} can be used (of the first, {first.path}: "
        f"{why}): {remedy}."
    )


def _chunks(values: Any) -> Iterator[Any]:
    """Cut an array, so that only few of its values are ever Python objects."""
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _image_ids(paths: pa.StringArray) -> pa.StringArray:
    chunks = [pa.array(map(image_id, chunk.to_pylist()), pa.string()) for chunk in _chunks(paths)]
    return pa.concat_arrays(chunks)


def _order(
    ids: pa.StringArray, paths: pa.StringArray, seed: int
) -> tuple[npt.NDArray[np.int64], dict[int, int]]:
    """Sort by hash, then id, then path.

    Returns
    -------
    tuple of ndarray of int64 and dict of int to int
        Positions in the listing; and, by position, how many images have the id of one that is
        not alone with it.
    """
    keys = b"".join(b"".join(order_keys(chunk.to_pylist(), seed)) for chunk in _chunks(ids))
    hashes = np.frombuffer(keys, ">u8").astype(np.uint64)
    order = np.argsort(hashes, kind="stable")
    namesakes: dict[int, int] = {}
    # Only where hashes are equal, as those of equal ids are, is there more to compare.
    for start, stop in _runs(hashes[order]):
        group = sorted(
            order[start:stop].tolist(), key=lambda index: (ids[index].as_py(), paths[index].as_py())
        )
        order[start:stop] = group
        counts = Counter(ids[index].as_py() for index in group)
        found = {index: counts[ids[index].as_py()] for index in group}
        namesakes |= {index: count for index, count in found.items() if count > 1}
    return order, namesakes


def _runs(values: npt.NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Return where values that equal their neighbours start and stop."""
    same = np.concatenate([[False], values[1:] == values[:-1], [False]])
    edges = np.flatnonzero(same[1:] != same[:-1]).reshape(-1, 2)
    return [(start, stop + 1) for start, stop in edges.tolist()]


def _set_aside(images: Images, index: int, name: str, count: int) -> SetAside:
    wnid = images.wnids[index].as_py()
    if count > 1:
        reason, detail = DUPLICATE_ID, f"{count} images have this id"
    else:
        reason = NO_VOTES
        detail = f"no votes on the class {wnid}" if wnid else "nothing tells its class"
    return SetAside(name, images.paths[index].as_py(), reason, detail)


def _labels(images: Images, wanted: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """Return each image's label: by its wnid, else as the source says where that tells no wnid.

    A source's own labels may be numbered otherwise (Imagenette's are 0 to 9), and a number says
    nothing where the class of that number has a folder of its own.
    """
    dictionary = images.wnids.dictionary_encode()
    names = dictionary.dictionary.to_pylist()
    by_wnid = np.array([wanted.get(name, NO_LABEL) for name in names] + [NO_LABEL], np.int64)
    indices: npt.NDArray[np.int64] = (
        dictionary.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    )
    is_wnid = np.array([bool(WNID.fullmatch(name)) for name in names] + [False])
    unnamed = [label for name, label in wanted.items() if name not in names]
    told = (indices < 0) & np.isin(images.labels, list(wanted.values()))
    told |= np.isin(images.labels, unnamed) & ~is_wnid[indices]
    labels = by_wnid[indices]
    return np.where((labels == NO_LABEL) & told, images.labels, labels)
