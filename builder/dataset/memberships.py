"""Memberships of images in subgroups of their class: what ``subgroups`` writes, others read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import ClassLabel, Features, Sequence, Value

from builder.dataset.layout import file_name
from builder.errors import BuildError, first_line
from builder.storage.files import sha256_of
from builder.storage.parquet import matrix, read_parquet

MEMBERSHIPS = "memberships"
"""The folder of its files, and the config by which they are loaded."""


def membership_features(names: list[str], components: int) -> Features:
    """Return the columns of memberships, a row per image.

    Parameters
    ----------
    names : list of str
        The name of each class, by label.
    components : int
        Subgroups of a class.

    Returns
    -------
    datasets.Features
    """
    return Features(
        {
            "image_id": Value("string"),
            "label": ClassLabel(names=names),
            "subgroup": Value("int32"),
            "memberships": Sequence(Value("float32"), length=components),
            "scores": Sequence(Value("float32"), length=components),
            "loss": Value("float32"),
            "right": Value("bool"),
        }
    )


@dataclass(frozen=True)
class Memberships:
    """Who belongs to which subgroup, how far.

    Attributes
    ----------
    rows : dict of str to int
        The row of each image id.
    labels : ndarray of int64, shape (images,)
    values : ndarray of float64, shape (images, components)
        Soft memberships; each row sums to 1.
    sha256 : str
        Hash of the file that they were read from.
    """

    rows: dict[str, int]
    labels: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    sha256: str

    @property
    def components(self) -> int:
        """Subgroups of a class."""
        return int(self.values.shape[1])

    def of(self, image_ids: list[str]) -> npt.NDArray[np.int64]:
        """Return the rows of images.

        Raises
        ------
        BuildError
            If there is none of one.
        """
        missing = [name for name in image_ids if name not in self.rows]
        if missing:
            raise BuildError(
                f"{len(missing):,} of {len(image_ids):,} images are in no subgroup, {missing[0]} "
                "for one: run subgroups on this data set and split, and give --subgroups its --out."
            )
        return np.array([self.rows[name] for name in image_ids])


def read_memberships(directory: Path, split: str) -> Memberships:
    """Read what ``subgroups`` wrote of a split.

    Parameters
    ----------
    directory : Path
        Its ``--out``.
    split : str

    Raises
    ------
    BuildError
        If there is nothing, or it is damaged.
    """
    path = directory / file_name(MEMBERSHIPS, split)
    try:
        table = read_parquet(path, ["image_id", "label", "memberships"])
        values = matrix(table["memberships"]).astype(np.float64)
        labels = table["label"].to_numpy().astype(np.int64)
        rows = {name: row for row, name in enumerate(table["image_id"].to_pylist())}
    except FileNotFoundError as error:
        raise BuildError(
            f"{directory} holds no {file_name(MEMBERSHIPS, split)}: give --subgroups the --out of "
            f"subgroups --split {split}."
        ) from error
    except _DAMAGED as error:
        raise BuildError(
            f"{path} is damaged ({first_line(error)}): run subgroups again, with a new --out."
        ) from error
    return Memberships(rows, labels, values, sha256_of(path))


_DAMAGED: Any = (pa.ArrowException, OSError, KeyError, ValueError, AttributeError)
