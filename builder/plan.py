"""The plan: which images, in which order, in which shard; a function of its inputs alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from builder.images import NO_LABEL, WNID, Images
from salient_imagenet_1m import image_id

LARGEST_SHARD = 1024
"""Images in a shard: what a kill costs at most."""

SMALLEST_SHARD = 16

PUBLISHED_FILES = 64
"""Files per split; `datasets` shares out work by files."""

SMALLEST_FILE = 256
"""Rows in a file at least: a small split has fewer files, as each repeats all class names."""


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
    ids : list of str
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
    ids: list[str]
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
        for position in self.order:
            digest.update(f"{self.ids[position]} {self.labels[position]}\n".encode())
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
    """
    paths: list[str] = images.paths.to_pylist()
    ids = [image_id(path) for path in paths]
    found = _labels(images, labels)
    hashes = order_keys(ids, seed)
    order = np.array(
        sorted(range(len(ids)), key=lambda index: (hashes[index], ids[index], paths[index])),
        np.int64,
    )[:limit]
    counts = Counter(ids)
    set_aside = []
    usable = np.ones(len(order), np.bool_)
    for position, index in enumerate(order):
        if counts[ids[index]] > 1:
            detail = f"{counts[ids[index]]} images have this id"
            set_aside.append(SetAside(ids[index], paths[index], "duplicate_id", detail))
        elif found[index] == NO_LABEL:
            wnid = images.wnids[int(index)].as_py()
            detail = f"no votes on the class {wnid}" if wnid else "nothing tells its class"
            set_aside.append(SetAside(ids[index], paths[index], "no_votes", detail))
        else:
            continue
        usable[position] = False
    order = order[usable]
    default_size = min(LARGEST_SHARD, max(SMALLEST_SHARD, -(-len(order) // PUBLISHED_FILES)))
    return Plan(split, order, ids, found, set_aside, shard_size or default_size)


def _labels(images: Images, wanted: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """Return each image's label: by its wnid, else as the source says where that tells no wnid.

    A source's own labels may be numbered otherwise (Imagenette's are 0 to 9).
    """
    dictionary = images.wnids.dictionary_encode()
    by_wnid = np.array(
        [wanted.get(wnid, NO_LABEL) for wnid in dictionary.dictionary.to_pylist()] + [NO_LABEL],
        np.int64,
    )
    indices: npt.NDArray[np.int64] = (
        dictionary.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    )
    is_wnid = [bool(WNID.fullmatch(name)) for name in dictionary.dictionary.to_pylist()] + [False]
    told = np.isin(images.labels, list(wanted.values())) & ~np.array(is_wnid)[indices]
    labels = by_wnid[indices]
    return np.where((labels == NO_LABEL) & told, images.labels, labels)


def order_keys(ids: list[str], seed: int) -> list[bytes]:
    """Return the keyed hash of each image id, by which rows are sorted."""
    key = seed.to_bytes(8, "little")
    return [hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in ids]
