"""Simulated people who label neural features, by looking at images and heat maps.

As in the study, five workers answer for each class-feature pair whether the five images that
activate the feature most are hot on the main object, on a separate object or on the background.
A worker sees what a person would see, not the numbers: a hot spot, judged by eye, on a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builder.annotate.candidates import Candidate
from builder.dataset.votes import ANSWERS, Vote
from builder.demo.world import CORE, CUES, FIRST_CUE

HOT = 0.5
"""Share of a map's peak above which a worker sees red."""


@dataclass(frozen=True)
class Crowd:
    """How careful the workers are.

    Parameters
    ----------
    workers
        Workers per pair.
    blur
        Standard deviation of a worker's misjudgement of each share of the hot area.
    slips
        Probability that a worker answers without looking.
    seed
        Answers depend on it, the pair and the worker only.
    """

    workers: int = 5
    blur: float = 0.15
    slips: float = 0.05
    seed: int = 0


def regions_of(label_map: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return what a worker who sees all would answer of each pixel, as an index into `ANSWERS`.

    Parameters
    ----------
    label_map
        From `Truth`, of any shape, which is also that of the result.
    """
    objects = [FIRST_CUE + index for index, cue in enumerate(CUES) if not cue.is_ground]
    main, separate, background = map(
        ANSWERS.index, ("main_object", "separate_object", "background")
    )
    places = [label_map == CORE, np.isin(label_map, objects)]
    return np.select(places, [main, separate], background)


def hot_shares(maps: NDArray[np.uint8], regions: NDArray[np.integer]) -> NDArray[np.float64]:
    """Where the hot area of a pair's top images lies.

    Parameters
    ----------
    maps
        Soft masks of the top images, uint8 of shape (n, height, width), each with its peak at 255.
    regions
        What each pixel shows as an index into `ANSWERS`, of the same shape.

    Returns
    -------
    ndarray
        float64 of shape (3,): mean share of the hot area per answer, in the order of `ANSWERS`.
        Images whose map is zero everywhere have no hot area and do not count.
    """
    shares = [
        np.bincount(region[soft > 255 * HOT], minlength=3) / np.count_nonzero(soft > 255 * HOT)
        for soft, region in zip(maps, regions, strict=True)
        if soft.max() > 255 * HOT
    ]
    return np.mean(shares, axis=0) if shares else np.array([0.0, 0.0, 1.0])


def cast_votes(
    pair: Candidate, shares: NDArray[np.float64], things: Sequence[str], crowd: Crowd
) -> list[Vote]:
    """Return the workers' answers about one pair.

    Parameters
    ----------
    pair
        What is labelled.
    shares
        float64 of shape (3,), from `hot_shares`.
    things
        What a worker would call the three kinds of place, in the order of `ANSWERS`.
    crowd
        How careful the workers are.
    """
    votes = []
    for worker in range(crowd.workers):
        rng = np.random.default_rng([crowd.seed, pair.label, pair.feature, worker])
        seen = shares + crowd.blur * rng.standard_normal(3)
        if rng.random() < crowd.slips:
            seen = rng.random(3)
        low, high = np.sort(seen)[1:]
        answer = int(seen.argmax())
        votes.append(
            Vote(
                worker=f"W{worker + 1:02d}",
                wnid=pair.wnid,
                label=pair.label,
                feature=pair.feature,
                rank=pair.rank,
                answer=ANSWERS[answer],
                # Full confidence where one place clearly holds the hot spot.
                confidence=int(np.clip(round(1 + 6 * (high - low)), 1, 5)),
                reasons=f"mostly on {things[answer]}",
            )
        )
    return votes
