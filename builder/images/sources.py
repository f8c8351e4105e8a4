"""Where images come from: folders, tars of tars, and anything that `datasets` opens."""

from __future__ import annotations

import csv
import errno
import os
import re
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import Protocol

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.errors import BuildError
from salient_imagenet_1m import (
    ImageFolder,
    ImageTar,
    SalientImageNetError,
    image_bases,
    image_id,
    in_class_folder,
    is_dataset,
    open_dataset,
)

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
"""What files may be, whatever they are called; Pillow would run Ghostscript on others."""

NO_LABEL = -1

WNID = re.compile(r"n\d{8}")
_KAGGLE_CLASSES = "LOC_val_solution.csv"
_NAME_COLUMNS = ("file_name", "filename", "__key__")
_LABEL_COLUMNS = ("label", "cls")


class Images(Protocol):
    """The images of one split, in a fixed order.

    Attributes
    ----------
    paths : pa.StringArray
        Where each image lies, relative to the source; the image id derives from its name.
    wnids : pa.StringArray
        The class that folder or file name tells, or Kaggle's list, null where nothing tells it.
    labels : ndarray of int64
        The class index that the source itself gives, `NO_LABEL` where it gives none.
    """

    paths: pa.StringArray
    wnids: pa.StringArray
    labels: npt.NDArray[np.int64]

    def read(self, index: int) -> bytes:
        """Return the bytes of an image's file; raises OSError where they cannot be had."""
        ...


def open_images(source: str, split: str, on_listed: Callable[[int], None]) -> Images:
    """List the images of a split, in any layout that the loader reads.

    Parameters
    ----------
    source : str
        An ImageNet directory, an official tar, or what `salient_imagenet_1m.open_dataset` opens.
    split : str
        ``train`` or ``validation``.
    on_listed : callable
        Called now and then with the number of images found since the last call.

    Returns
    -------
    Images

    Raises
    ------
    BuildError
        If there is nothing to list; the sentence says what was looked for.
    """
    try:
        if is_dataset(source, split):
            return DatasetImages(source, split, on_listed)
        if not Path(source).exists():
            raise BuildError(f"There is no file, directory or dataset {source}: check --images.")
        for base in image_bases(Path(source), split):
            images = (TarImages if base.is_file() else FolderImages)(base, on_listed)
            if len(images.paths):
                return images
    except SalientImageNetError as error:
        raise BuildError(f"{error}: check --images and --split.") from error
    raise BuildError(
        f"{source} holds no images of the split {split} in class folders: --images takes "
        f"ROOT/{split}/<wnid>/* or ROOT/<wnid>/*, and flat folders of files that ImageNet named; "
        "check --images and --split."
    )


def find_images(images: Images, wanted: Collection[str]) -> dict[str, int]:
    """Return where images lie in a listing.

    Parameters
    ----------
    images : Images
    wanted : collection of str
        Their ids; in data sets that were built before ids had folders, their stems alone.

    Returns
    -------
    dict of str to int
        By id, without those that are not there.
    """
    places = {}
    for place, path in enumerate(images.paths):
        name = image_id(path.as_py())
        if name not in wanted:
            name = name.rpartition("/")[2]
        if name in wanted:
            places[name] = place
    return places


def require_classes(images: Images) -> None:
    """Raise a BuildError if nothing tells the class of any image."""
    if images.wnids.null_count == len(images.paths) and (images.labels == NO_LABEL).all():
        raise BuildError(
            f"Nothing tells the classes of the images, such as of {images.paths[0]}: sort them "
            f"into a folder per wnid, or put Kaggle's {_KAGGLE_CLASSES} beside them."
        )


class FolderImages:
    """Images as files of their own, listed in one pass."""

    def __init__(self, base: Path, on_listed: Callable[[int], None]) -> None:
        self._folder = ImageFolder(str(base))
        paths: list[str] = []
        for names in self._folder.listing():
            # Arrow takes no name that is not UTF-8.
            paths += (os.fsencode(name).decode(errors="replace") for name in names)
            on_listed(len(names))
        self.paths = pa.array(paths, pa.string())
        self.wnids = _wnids(paths, base)
        self.labels = np.full(len(paths), NO_LABEL, np.int64)

    def read(self, index: int) -> bytes:
        """Return the bytes of an image's file."""
        return self._folder.read(str(self.paths[index]))


class TarImages:
    """Images in a tar, or in the tars that it holds, listed in one pass."""

    def __init__(self, base: Path, on_listed: Callable[[int], None]) -> None:
        self._tar = ImageTar(str(base))
        paths: list[str] = []
        spans: list[str] = []
        try:
            for member in self._tar.listing():
                paths.append(member.path)
                spans.append(f"{member.offset}:{member.size}")
                on_listed(1)
        except tarfile.TarError as error:
            raise BuildError(
                f"{base} is no whole tar, or compressed ({error}): give --images a directory, "
                "an uncompressed tar or a dataset."
            ) from error
        self.paths = pa.array(paths, pa.string())
        self.wnids = _wnids(paths, base)
        self.labels = np.full(len(paths), NO_LABEL, np.int64)
        self._spans = pa.array(spans, pa.string())

    def read(self, index: int) -> bytes:
        """Return the bytes of a member; reads may come from many threads and processes."""
        return self._tar.read(str(self._spans[index]))


class DatasetImages:
    """Images of a dataset with an image column and a file name, opened by `datasets`."""

    def __init__(self, source: str, split: str, on_listed: Callable[[int], None]) -> None:
        dataset = open_dataset(source, split)
        self._column = column = _only_image_column(source, dataset)
        self._dataset = dataset.cast_column(column, datasets.Image(decode=False))
        # Arrow's own columns, since a row of the dataset would read the image's bytes.
        table = self._dataset.data.table
        names = pc.struct_field(table[column], "path").combine_chunks()
        for candidate in _NAME_COLUMNS:
            if names.null_count and candidate in table.column_names:
                names = table[candidate].combine_chunks().cast(pa.string())
        if names.null_count:
            raise BuildError(
                f"{source} does not tell the file names of its images, by which masks are joined: "
                f"use a copy whose column {column} keeps its path, or add a column file_name."
            )
        self.labels, classes = _labels(dataset)
        pairs = zip(names.to_pylist(), self.labels.tolist(), strict=True)
        paths = [in_class_folder(*pair, classes) for pair in pairs]
        self.paths = pa.array(paths, pa.string())
        wnids = (_wnid_in(path) or PurePosixPath(path).parent.name for path in paths)
        self.wnids = pa.array((wnid or None for wnid in wnids), pa.string())
        on_listed(len(names))

    def read(self, index: int) -> bytes:
        """Return the bytes of a row's image."""
        image = self._dataset[index][self._column] or {"bytes": None, "path": None}
        if image["bytes"] is not None:
            return bytes(image["bytes"])
        if image["path"] is None:
            raise OSError(errno.ENODATA, "the row holds no image")
        return Path(image["path"]).read_bytes()


def _labels(dataset: datasets.Dataset) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return the label that a dataset gives each image, and the names of its classes, if any."""
    table = dataset.data.table
    for name in _LABEL_COLUMNS:
        if name in table.column_names and pa.types.is_integer(table[name].type):
            labels = table[name].fill_null(NO_LABEL).to_numpy()
            return labels.astype(np.int64), getattr(dataset.features[name], "names", [])
    return np.full(len(table), NO_LABEL, np.int64), []


def _wnids(paths: list[str], base: Path) -> pa.StringArray:
    """Return the class of each file: its folder's name, or what its own or Kaggle's list tells."""
    wnids = [path.rpartition("/")[0].rpartition("/")[2] or _wnid_in(path) for path in paths]
    if None in wnids:
        told = _kaggle_classes(base)
        pairs = zip(wnids, paths, strict=True)
        wnids = [wnid or told.get(image_id(path)) for wnid, path in pairs]
    return pa.array(wnids, pa.string())


def _wnid_in(path: str) -> str | None:
    """Return the wnid of a name like ``n01440764_18.JPEG`` or ``..._val_00000293_n01440764``."""
    found: list[str] = WNID.findall(PurePosixPath(path).stem)
    return found[-1] if found else None


def _kaggle_classes(base: Path) -> dict[str, str]:
    """Return the wnid of each validation image, from the list that Kaggle gives with its images."""
    for folder in (base, *base.absolute().parents[:4]):  # from ILSVRC/Data/CLS-LOC/val
        file = folder / _KAGGLE_CLASSES
        if file.is_file():
            rows = csv.reader(file.read_text(errors="replace").splitlines())
            return {row[0]: row[1][:9] for row in rows if len(row) == 2 and WNID.match(row[1])}
    return {}


def _only_image_column(source: str, dataset: datasets.Dataset) -> str:
    columns = [name for name, kind in dataset.features.items() if isinstance(kind, datasets.Image)]
    if len(columns) != 1:
        raise BuildError(
            f"{source} has {len(columns)} image columns, expected one: "
            "give --images a dataset with a column of images."
        )
    return str(columns[0])
