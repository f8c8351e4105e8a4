"""Class-feature pairs on which nobody voted yet, and the table of them."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from builder.dataset.votes import check_classes
from builder.errors import BuildError

if TYPE_CHECKING:  # Who reads a table needs no PyTorch.
    from builder.network.importance import Importance
    from builder.network.inference import Inference

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

_NUMBERS: dict[str, tuple[type[int] | type[float], float]] = {
    "label": (int, 0),
    "rank": (int, 1),
    "feature": (int, 0),
    "importance": (float, -math.inf),
    "weight": (float, -math.inf),
}
"""Type and least value of the columns that are numbers."""

_REMEDY = "take the table as discover wrote it, of which classes may be removed"


PairName = tuple[str, int]
"""The wnid (or name) of a class, and one of its features."""


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

    @property
    def key(self) -> PairName:
        """Its class and feature, which no other has."""
        return self.wnid, self.feature


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


def rank_candidates(
    inference: Inference, importance: Importance, top: TopImages
) -> list[Candidate]:
    """Return the most important features of each class, by label, then rank.

    Classes that were never predicted are left out.

    Parameters
    ----------
    inference : Inference
        That `importance` and `top` are of.
    importance : Importance
    top : TopImages
    """
    labels, plan = inference.labels, inference.plan
    weight = inference.network.head_weight.numpy()
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
                    inference.names[label],
                    rank,
                    feature,
                    float(values[feature]),
                    float(weight[label, feature]),
                    images,
                )
            )
    return found


def candidates_csv(candidates: list[Candidate]) -> bytes:
    """Return the table as a CSV; `read_candidates` reads it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for candidate in candidates:
        images = [*candidate.images, *[""] * (TOP_IMAGES - len(candidate.images))]
        numbers = f"{candidate.importance:.6g}", f"{candidate.weight:.6g}"
        writer.writerow([*candidate[:5], *numbers, *images])
    return text.getvalue().encode()


def read_candidates(path: Path) -> list[Candidate]:
    """Read the table that `discover` wrote, of which people may have removed classes.

    Returns
    -------
    list of Candidate
        Sorted by label, then rank.

    Raises
    ------
    BuildError
        If the file cannot be read or is no such table; the sentence names the place.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise BuildError(f"The table {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise BuildError(f"The table {path} is no CSV in UTF-8: {_REMEDY}.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise BuildError(f"The table {path} lacks the column {missing[0]}: {_REMEDY}.")
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        line = reader.reader.line_num  # The one of `reader` is that of the last good row.
        raise BuildError(f"{path}:{line} is no CSV ({error}): {_REMEDY}.") from error
    if not lines:
        raise BuildError(f"The table {path} has no class-feature pairs: {_REMEDY}.")
    found = [_candidate(f"{path}:{line}", row) for line, row in lines]
    _require_unique(path, [line for line, _ in lines], found)
    found.sort(key=lambda pair: (pair.label, pair.rank))
    check_classes(path, found)
    return found


def _candidate(place: str, row: dict[str, str]) -> Candidate:
    if None in row or None in row.values():
        raise BuildError(f"{place} has not the {len(COLUMNS)} values of a row: {_REMEDY}.")
    values: dict[str, int | float] = {}
    for column, (kind, least) in _NUMBERS.items():
        try:
            values[column] = kind(row[column])
        except ValueError:
            values[column] = math.nan
        if not least <= values[column] < math.inf:
            raise BuildError(f"{place} has {row[column]!r} as {column}: {_REMEDY}.")
    images = tuple(row[name] for name in COLUMNS[-TOP_IMAGES:] if row[name])
    if not row["wnid"]:
        raise BuildError(f"{place} has nothing as wnid: {_REMEDY}.")
    return Candidate(**values, wnid=row["wnid"], name=row["name"], images=images)  # type: ignore[arg-type]


def _require_unique(path: Path, lines: list[int], found: list[Candidate]) -> None:
    first: dict[tuple[str, int], int] = {}
    for line, pair in zip(lines, found, strict=True):
        other = first.setdefault(pair.key, line)
        if other != line:
            raise BuildError(
                f"{path}:{line} has the feature {pair.feature} of the class {pair.wnid} again, "
                f"after line {other}: {_REMEDY}."
            )
