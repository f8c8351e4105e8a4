"""What a data set comes to, counted in its rows: the numbers of the card and of its plots."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from builder.dataset.dataset import DataSet
from builder.dataset.votes import Votes
from salient_imagenet_1m import VALIDATED_FRACTION

MASK_KINDS = ("core", "background", "separate_object", "mixed")
"""Core, and the sub-kinds of spurious."""

EDGES = np.linspace(-4, 4, 33)
"""Of the bins of spuriosity; what lies outside counts in the outermost."""


@dataclass(frozen=True)
class SplitStatistics:
    """Numbers of one split.

    Attributes
    ----------
    masks_by_kind : dict of str to int
        By `MASK_KINDS`.
    validated_masks : int
        Those in the zone in which people validated masks.
    spuriosity : ndarray of int64
        How many images have it between each two of `EDGES`.
    """

    masks_by_kind: dict[str, int]
    validated_masks: int
    spuriosity: npt.NDArray[np.int64]


@dataclass(frozen=True)
class VoteStatistics:
    """Numbers of the votes.

    Attributes
    ----------
    pairs_by_kind : dict of str to int
        By `MASK_KINDS`.
    features : int
        Distinct ones.
    classes_by_spurious : list of int
        How many classes have 0, 1, 2, ... spurious features.
    without_core : list of str
        The wnids of classes in which all features are spurious.
    fewest_votes : int
        Of a pair.
    studied, validated : int
        Pairs that a validation study asked about, and those of them that it validated.
    """

    pairs_by_kind: dict[str, int]
    features: int
    classes_by_spurious: list[int]
    without_core: list[str]
    fewest_votes: int
    studied: int
    validated: int


def split_statistics(data: DataSet, split: str) -> SplitStatistics:
    """Count the rows of a split."""
    labels = data.read("masks", split, ["label"])["label"].to_numpy()
    images = np.bincount(labels, minlength=len(data.names))
    masks = Counter(dict.fromkeys(MASK_KINDS, 0))
    for pair in data.votes.pairs:
        masks[pair.sub_kind or pair.kind] += int(images[pair.label])
    spuriosity = data.read("rankings", split, ["spuriosity"])["spuriosity"].to_numpy()
    inside = np.clip(spuriosity, EDGES[0], EDGES[-1])
    return SplitStatistics(
        masks_by_kind=dict(masks),
        validated_masks=int(np.ceil(VALIDATED_FRACTION * images).sum()) * data.features_per_class,
        spuriosity=np.histogram(inside, EDGES)[0],
    )


def vote_statistics(votes: Votes) -> VoteStatistics:
    """Count classes and class-feature pairs."""
    kinds = Counter(pair.sub_kind or pair.kind for pair in votes.pairs)
    spurious = {
        label: sum(pair.kind == "spurious" for pair in group)
        for label, group in votes.by_label.items()
    }
    classes = Counter(spurious.values())
    whole = votes.features_per_class
    return VoteStatistics(
        pairs_by_kind={kind: kinds[kind] for kind in MASK_KINDS},
        features=len({pair.feature for pair in votes.pairs}),
        classes_by_spurious=[classes[count] for count in range(whole + 1)],
        without_core=[
            votes.by_label[label][0].wnid for label, count in spurious.items() if count == whole
        ],
        fewest_votes=min(pair.votes for pair in votes.pairs),
        studied=sum(pair.validated is not None for pair in votes.pairs),
        validated=sum(pair.validated is True for pair in votes.pairs),
    )
