"""Where images come from: folders, tars of tars, and anything that `datasets` opens."""

from __future__ import annotations

import csv
import errno
import os
import re
import tarfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

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
    check_places,
    image_bases,
    image_id,
    in_class_folder,
    is_dataset,
    open_dataset,
    place_of,
)

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
"""What files may be, whatever they are called; Pillow would run Ghostscript on others."""

LARGEST_FILE = 100 * 2**20
"""Bytes of a file that is read; no image of ImageNet comes near."""

NO_LABEL = -1

WNID = re.compile(r"n\d{8}")
_KAGGLE_CLASSES = "LOC_val_solution.csv"
_NAME_COLUMNS = ("file_name", "filename", "__key__")
_LABEL_COLUMNS = ("label", "cls")


class Unlisted(NamedTuple):
    """What lies where images do and is none that can be listed.

    Attributes
    ----------
    path : str
        Relative to the source.
    reason, detail : str
        Why it is set aside.
    """

    path: str
    reason: str
    detail: str


class FileStat(NamedTuple):
    """What is known of the file of an image before it is read.

    Attributes
    ----------
    size : int
        In bytes.
    stamp : str, optional
        Changes when the file does; None where images have no files.
    """

    size: int
    stamp: str | None


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
    unlisted : sequence of Unlisted
        What else lies there.
    """

    paths: pa.StringArray
    wnids: pa.StringArray
    labels: npt.NDArray[np.int64]
    unlisted: Sequence[Unlisted]

    def stat(self, index: int) -> FileStat:
        """Return what is known of an image's file; raises OSError where it cannot be had."""
        ...

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
    except OSError as error:
        raise BuildError(
            f"{error.filename or source} cannot be listed ({error.strerror}): check --images."
        ) from error
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
        self._base, self._folder = base, ImageFolder(str(base))
        paths: list[str] = []
        others: list[str] = []
        for names in self._folder.listing(others):
            paths += map(_as_utf8, names)
            on_listed(len(names))
        self.paths = pa.array(paths, pa.string())
        self.wnids = _wnids(paths, base)
        self.labels = np.full(len(paths), NO_LABEL, np.int64)
        is_flat = not any("/" in path for path in paths)
        self.unlisted: Sequence[Unlisted] = [
            Unlisted(_as_utf8(path), reason, detail)
            for name in others
            for path, reason, detail in _unlisted(base, name, is_flat=is_flat)
        ]

    def stat(self, index: int) -> FileStat:
        """Return size and time of an image's file."""
        return _stat(self._base / str(self.paths[index]))

    def read(self, index: int) -> bytes:
        """Return the bytes of an image's file."""
        return self._folder.read(str(self.paths[index]))


class TarImages:
    """Images in a tar, or in the tars that it holds, listed in one pass."""

    def __init__(self, base: Path, on_listed: Callable[[int], None]) -> None:
        self._tar = ImageTar(str(base))
        self._stamp = _stat(base).stamp
        paths: list[str] = []
        spans: list[str] = []
        others: list[str] = []
        try:
            for member in self._tar.listing(others):
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
        self.unlisted: Sequence[Unlisted] = [
            Unlisted(name, "not_a_file", "it is no file in the tar, but a link, say")
            for name in others
        ]
        self._spans = pa.array(spans, pa.string())

    def stat(self, index: int) -> FileStat:
        """Return the size of a member, and the tar's size and time."""
        return FileStat(int(str(self._spans[index]).partition(":")[2]), self._stamp)

    def read(self, index: int) -> bytes:
        """Return the bytes of a member; reads may come from many threads and processes."""
        return self._tar.read(str(self._spans[index]))


class DatasetImages:
    """Images of a dataset with an image column and a file name, opened by `datasets`."""

    unlisted: Sequence[Unlisted] = ()

    def __init__(self, source: str, split: str, on_listed: Callable[[int], None]) -> None:
        dataset = open_dataset(source, split)
        self._column = column = _only_image_column(source, dataset)
        self._dataset = dataset.cast_column(column, datasets.Image(decode=False))
        # Arrow's own columns, since a row of the dataset would read the image's bytes.
        table = self._dataset.data.table
        if place := place_of(source, dataset):
            _check_places(table[column], place)
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
        self._sizes = pc.binary_length(pc.struct_field(table[column], "bytes").combine_chunks())
        wnids = (_wnid_in(path) or PurePosixPath(path).parent.name for path in paths)
        self.wnids = pa.array((wnid or None for wnid in wnids), pa.string())
        on_listed(len(names))

    def stat(self, index: int) -> FileStat:
        """Return the size of a row's image."""
        size = self._sizes[index].as_py()
        path = None if size is not None else self._row(index)["path"]
        return FileStat(size or 0, None) if path is None else _stat(Path(path))

    def read(self, index: int) -> bytes:
        """Return the bytes of a row's image."""
        image = self._row(index)
        if image["bytes"] is not None:
            return bytes(image["bytes"])
        if image["path"] is None:
            raise OSError(errno.ENODATA, "the row holds no image")
        return Path(image["path"]).read_bytes()

    def _row(self, index: int) -> dict[str, Any]:
        return self._dataset[index][self._column] or {"bytes": None, "path": None}


def _check_places(images: pa.ChunkedArray, place: str) -> None:
    files = images.filter(pc.is_null(pc.struct_field(images, "bytes")))
    try:
        check_places(pc.struct_field(files, "path").to_pylist(), place)
    except SalientImageNetError as error:
        raise BuildError(str(error)) from error


def _stat(path: Path) -> FileStat:
    status = path.stat()
    return FileStat(status.st_size, f"{status.st_size} {status.st_mtime_ns}")


def _as_utf8(name: str) -> str:
    """Return a name that Arrow takes, which takes none that is not UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def _unlisted(base: Path, name: str, *, is_flat: bool) -> Iterator[Unlisted]:
    """Yield what an entry that is no image comes to; files beside class folders are nothing."""
    path = base / name
    if path.is_symlink() and not path.exists():
        yield Unlisted(name, "dangling_link", "the link leads nowhere, or in a circle")
    elif is_flat or "/" not in name:
        return
    elif path.is_symlink() or not path.is_dir():
        yield Unlisted(name, "not_a_file", "it is neither a file nor a link to one")
    else:
        for folder, folders, names in os.walk(path):
            links = [entry for entry in folders if Path(folder, entry).is_symlink()]
            for entry in sorted([*names, *links]):
                nested = Path(folder, entry).relative_to(base).as_posix()
                yield Unlisted(nested, "nested", "it lies in a folder inside its class's folder")


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
