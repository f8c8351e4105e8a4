"""What subgroups are found from, class by class: answers of models, features, annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import salient_imagenet_1m as si
from builder.dataset.configs import EMBEDDINGS
from builder.dataset.votes import ANSWERS as VOTED
from builder.dataset.votes import reasons_of
from builder.storage.parquet import damage_as_sentence, matrix, read_parquet
from builder.subgroups.examiner import ANSWERS
from builder.subgroups.names import Pair
from builder.subgroups.space import Floats

ROWS = 50_000
"""Images whose features are in memory together, but for a class that has more."""

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """The images of a split, sorted by label and id.

    Attributes
    ----------
    ids : list of str
    labels : ndarray of int64, shape (images,)
    activations : ndarray of float32, shape (images, features)
        Of the class's annotated features, by rank.
    """

    ids: list[str]
    labels: Ints
    activations: npt.NDArray[np.float32]

    def classes(self) -> Iterator[tuple[int, slice]]:
        """Yield each label, and where its images are."""
        present, starts = np.unique(self.labels, return_index=True)
        ends = [*starts[1:].tolist(), len(self.labels)]
        for label, start, end in zip(present.tolist(), starts.tolist(), ends, strict=True):
            yield label, slice(start, end)


def read_images(build: si.Build, split: str) -> Images:
    """Read which images a split has."""
    table = build.scan("masks", split, ["image_id", "label", "activations"])
    table = table.sort_by([("label", "ascending"), ("image_id", "ascending")])
    labels = table["label"].to_numpy().astype(np.int64)
    return Images(table["image_id"].to_pylist(), labels, matrix(table["activations"]))


def read_pairs(build: si.Build, split: str, votes: Path | None) -> dict[int, list[Pair]]:
    """Read the annotated features of each class, by rank, with what people wrote of them."""
    columns = ["label", "rank", "feature", "kind", *VOTED]
    rows = build.scan("features", split, columns).to_pylist()
    reasons = reasons_of(votes) if votes else {}
    found: defaultdict[int, list[Pair]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["label"], row["rank"])):
        found[row["label"]].append(
            Pair(
                row["feature"],
                row["rank"],
                row["kind"],
                {answer: row[answer] for answer in VOTED},
                reasons.get((row["label"], row["feature"]), []),
            )
        )
    return dict(found)


@dataclass(frozen=True)
class Answers:
    """What models said of the images of a split, in the order of `Images`.

    Attributes
    ----------
    losses : ndarray of float64, shape (images, checkpoints)
    right : ndarray of bool, shape (images,)
        Of the last checkpoint.
    """

    losses: Floats
    right: Bools


def read_answers(checkpoints: Iterable[Sequence[Path]], images: Images) -> Answers:
    """Read what `Examiner` said, of each checkpoint from files of a store."""
    ids = pa.array(images.ids)
    losses, right = [], np.zeros(len(ids), np.bool_)
    for paths in checkpoints:
        values = np.empty((len(ids), ANSWERS), np.float32)
        for table in _stored(paths):
            values[_places(table, ids)] = matrix(table["features"])[:, :ANSWERS]
        losses.append(values[:, 0].astype(np.float64))
        right = values[:, 1] > 0
    return Answers(np.stack(losses, axis=1), right)


class FeatureTables(Protocol):
    """Features of images, in tables."""

    def __call__(self) -> Iterator[tuple[pa.Table, npt.NDArray[np.floating]]]:
        """Yield tables with image_id, and the features of their rows."""


@dataclass(frozen=True)
class StoredFeatures:
    """Features of files of a store, after some columns of answers."""

    paths: Sequence[Path]
    answers: int

    def __call__(self) -> Iterator[tuple[pa.Table, npt.NDArray[np.floating]]]:
        """As `FeatureTables` says."""
        for table in _stored(self.paths):
            yield table, matrix(table["features"])[:, self.answers :]


@dataclass(frozen=True)
class Embeddings:
    """Features that build kept, those of the config ``embeddings``."""

    build: si.Build
    split: str

    def __call__(self) -> Iterator[tuple[pa.Table, npt.NDArray[np.floating]]]:
        """As `FeatureTables` says."""
        for table in self.build.tables(EMBEDDINGS, self.split, ["image_id", "embedding"]):
            yield table, matrix(table["embedding"])


def classes_with_features(
    tables: FeatureTables, images: Images
) -> Iterator[tuple[int, slice, npt.NDArray[np.float32]]]:
    """Yield each label, where its images are, and their features; some classes are read at a time.

    Parameters
    ----------
    tables : FeatureTables
    images : Images
    """
    for classes in _groups(images):
        first, last = classes[0][1].start, classes[-1][1].stop
        values = _values(tables, pa.array(images.ids[first:last]))
        for label, own in classes:
            yield label, own, values[own.start - first : own.stop - first]


def _groups(images: Images) -> Iterator[list[tuple[int, slice]]]:
    group: list[tuple[int, slice]] = []
    for label, own in images.classes():
        if group and own.stop - group[0][1].start > ROWS:
            yield group
            group = []
        group.append((label, own))
    yield group


def _values(tables: FeatureTables, wanted: pa.Array) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] | None = None
    for table, features in tables():
        places = pc.index_in(table["image_id"], wanted)
        here = places.is_valid().to_numpy()
        if values is None:
            values = np.empty((len(wanted), features.shape[1]), np.float32)
        values[places.drop_null().to_numpy()] = features[here]
    assert values is not None
    return values


def _stored(paths: Sequence[Path]) -> Iterator[pa.Table]:
    for path in paths:
        with damage_as_sentence(path):
            table = read_parquet(path, ["image_id", "features"])
        if len(table):
            yield table


def _places(table: pa.Table, ids: pa.Array) -> Ints:
    return np.asarray(pc.index_in(table["image_id"], ids).to_numpy())
