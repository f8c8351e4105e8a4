"""Extremes: the images at both ends of each class's ranking, and what models said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.evaluate.conditions import CLEAN
from builder.evaluate.pictures import gather_pictures, seen_window
from builder.reporter import Reporter
from builder.settings.evaluation import Evaluation

PER_END = 4
"""Images that are shown at most of either end of a ranking."""


@dataclass(frozen=True)
class Extreme:
    """An image at an end of its class's ranking.

    Attributes
    ----------
    image_id : str
    rank : int
        In its class, 0 the most spurious.
    said : list of int
        The label that each model predicts of the clean image.
    thumbnail : str, optional
        A data URI of the window that models saw; None where the image is not at hand.
    """

    image_id: str
    rank: int
    said: list[int]
    thumbnail: str | None


@dataclass(frozen=True)
class Ends:
    """Both ends of a class's ranking, the extreme image of each first."""

    most: list[Extreme]
    least: list[Extreme]


def show_extremes(
    predictions: pa.Table, models: Sequence[str], settings: Evaluation, reporter: Reporter
) -> dict[int, Ends]:
    """Return the images at both ends of each ranking, with their thumbnails, by label.

    Parameters
    ----------
    predictions : pa.Table
    models : sequence of str
        In whose order answers are told.
    settings : Evaluation
    reporter : Reporter
    """

    def gather(ids: Sequence[str]) -> Mapping[str, str]:
        return gather_pictures(settings, ids, seen_window, reporter)

    return find_extremes(predictions, models, min(PER_END, settings.k), gather)


def find_extremes(
    predictions: pa.Table,
    models: Sequence[str],
    count: int,
    gather: Callable[[Sequence[str]], Mapping[str, str]],
) -> dict[int, Ends]:
    """Find the images at both ends of each ranking.

    Parameters
    ----------
    predictions : pa.Table
        See `builder.evaluate.predictions.SCHEMA`.
    models : sequence of str
        In whose order answers are told.
    count : int
        Images at either end.
    gather : callable
        Given image ids, returns thumbnails by image id, of those that are at hand.

    Returns
    -------
    dict of int to Ends
        By label, of the classes that have a ranking.
    """
    is_asked = pc.and_(pc.equal(predictions["condition"], CLEAN), _is_ranked(predictions))
    clean = predictions.filter(is_asked)
    # All models saw the same images.
    images = clean.filter(pc.equal(clean["model"], models[0]))
    labels, ranks = (images[name].to_numpy() for name in ("label", "spuriosity_rank"))
    ends = {label: (own[:count], own[: -count - 1 : -1]) for label, own in _rankings(labels, ranks)}
    ids = images["image_id"].take(
        pa.array([place for both in ends.values() for end in both for place in end], pa.int64())
    )
    said = dict(zip(ids.to_pylist(), _answers(clean, models, ids).tolist(), strict=True))
    thumbnails = gather(list(said))

    def extreme(place: int) -> Extreme:
        image_id = images["image_id"][place].as_py()
        return Extreme(image_id, int(ranks[place]), said[image_id], thumbnails.get(image_id))

    return {
        label: Ends(list(map(extreme, most)), list(map(extreme, least)))
        for label, (most, least) in ends.items()
    }


def _is_ranked(predictions: pa.Table) -> Any:
    return pc.is_valid(predictions["spuriosity_rank"])


def _rankings(
    labels: npt.NDArray[np.int32], ranks: npt.NDArray[np.int32]
) -> Iterator[tuple[int, list[int]]]:
    """Yield each label with the places of its images, the most spurious first."""
    order = np.lexsort((ranks, labels))
    present, starts = np.unique(labels[order], return_index=True)
    for label, own in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
        yield label, own.tolist()


def _answers(clean: pa.Table, models: Sequence[str], ids: pa.Array) -> npt.NDArray[np.int64]:
    """Return what models predict of images, shape (images, models)."""
    of_ids = clean.filter(pc.is_in(clean["image_id"], ids.combine_chunks()))
    answers = np.empty((len(ids), len(models)), np.int64)
    answers[
        pc.index_in(of_ids["image_id"], ids.combine_chunks()).to_numpy(),
        pc.index_in(of_ids["model"], pa.array(models)).to_numpy(),
    ] = of_ids["predicted"].to_numpy()
    return answers
