"""Where images come from: folders, tars of tars, and anything that `datasets` opens."""

from __future__ import annotations

import errno
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.errors import BuildError, first_line
from salient_imagenet_1m import tar_members

SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "val")}
"""Published name of each split, and the folder names that it goes by."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
"""What files may be, whatever they are called; Pillow would run Ghostscript on others."""

NO_LABEL = -1

WNID = re.compile(r"n\d{8}")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_NAME_COLUMNS = ("file_name", "filename", "__key__")


class Images(Protocol):
    """The images of one split, in a fixed order.

    Attributes
    ----------
    paths : pa.StringArray
        Where each image lies, relative to the source; the image id derives from its name.
    wnids : pa.StringArray
        The class that folder or file name tells, null where they do not tell it.
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
    """List the images of a split.

    Parameters
    ----------
    source : str
        An ImageFolder root (``ROOT/<split>/<wnid>/*`` or ``ROOT/<wnid>/*``), a tar of images or of
        tars such as ``ILSVRC2012_img_train.tar``, a directory with a dataset that
        `datasets.load_dataset` opens, or a dataset id on the Hub.
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
    path = Path(source)
    if path.is_file():
        images: Images = TarImages(path, on_listed)
    elif path.is_dir():
        if _holds_dataset(path):
            images = DatasetImages(source, split, on_listed)
        else:
            images = FolderImages(_split_folder(path, split), on_listed)
    elif _HUB_ID.fullmatch(source) and not path.parent.is_dir():
        images = DatasetImages(source, split, on_listed)
    else:
        raise BuildError(f"There is no file, directory or dataset {source}: check --images.")
    if not len(images.paths):
        raise BuildError(
            f"{source} holds no images of the split {split} in class folders: sort the files into "
            "a folder per wnid, or check --images and --split."
        )
    return images


class FolderImages:
    """Images in a folder per class, ``FOLDER/<wnid>/*``, listed in one pass."""

    def __init__(self, folder: Path, on_listed: Callable[[int], None]) -> None:
        self._folder = folder
        paths: list[str] = []
        wnids: list[str] = []
        for wnid in _names(folder, os.DirEntry.is_dir):
            names = _names(folder / wnid, os.DirEntry.is_file)
            paths += [f"{wnid}/{name}" for name in names]
            wnids += [wnid] * len(names)
            on_listed(len(names))
        self.paths = pa.array(map(_text, paths), pa.string())
        self.wnids = pa.array(map(_text, wnids), pa.string())
        self.labels = np.full(len(paths), NO_LABEL, np.int64)

    def read(self, index: int) -> bytes:
        """Return the bytes of an image's file."""
        return (self._folder / str(self.paths[index])).read_bytes()


class TarImages:
    """Images in a tar, or in the tars that it holds, read where they lie.

    The official ``ILSVRC2012_img_train.tar`` holds ``<wnid>.tar`` for each class.
    """

    def __init__(self, path: Path, on_listed: Callable[[int], None]) -> None:
        members = []
        try:
            for member in tar_members(path):
                members.append(member)
                on_listed(1)
        except tarfile.TarError as error:
            raise BuildError(
                f"{path} is no whole tar, or compressed ({error}): give --images a directory, "
                "an uncompressed tar or a dataset."
            ) from error
        folders = [PurePosixPath(member.path).parent.name or None for member in members]
        self.paths = pa.array([member.path for member in members], pa.string())
        self.wnids = pa.array(folders, pa.string())
        self.labels = np.full(len(members), NO_LABEL, np.int64)
        self._offsets = np.array([member.offset for member in members], np.int64)
        self._sizes = np.array([member.size for member in members], np.int64)
        self._file = path.open("rb")

    def read(self, index: int) -> bytes:
        """Return the bytes of a member; reads may come from many threads and processes."""
        return os.pread(self._file.fileno(), int(self._sizes[index]), int(self._offsets[index]))


class DatasetImages:
    """Images of a dataset with an image column and a file name, opened by `datasets`."""

    def __init__(self, source: str, split: str, on_listed: Callable[[int], None]) -> None:
        import datasets  # noqa: PLC0415 (takes a second; folders and tars do not need it)

        dataset = _load_split(source, split)
        column = _only_image_column(source, dataset)
        self._column = column
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
        self.paths = names
        self.wnids = pa.array([_wnid_of(name) for name in names.to_pylist()], pa.string())
        labels = table["label"].to_numpy() if "label" in table.column_names else None
        if labels is None or labels.dtype.kind != "i":
            labels = np.full(len(names), NO_LABEL)
        self.labels = labels.astype(np.int64)
        on_listed(len(names))

    def read(self, index: int) -> bytes:
        """Return the bytes of a row's image."""
        image = self._dataset[index][self._column] or {"bytes": None, "path": None}
        if image["bytes"] is not None:
            return bytes(image["bytes"])
        if image["path"] is None:
            raise OSError(errno.ENODATA, "the row holds no image")
        return Path(image["path"]).read_bytes()


def _names(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if wanted(entry))


def _text(name: str) -> str:
    """Return a file name as text that Arrow takes, whatever bytes it is made of."""
    return os.fsencode(name).decode(errors="replace")


def _split_folder(root: Path, split: str) -> Path:
    folders = _names(root, os.DirEntry.is_dir)
    for name in SPLIT_FOLDERS[split]:
        if name in folders:
            return root / name
    known = sorted({name for names in SPLIT_FOLDERS.values() for name in names} | {"test"})
    others = [name for name in folders if name in known]
    if others:
        raise BuildError(
            f"{root} has no folder for the split {split}, only {', '.join(others)}: "
            "check --images and --split."
        )
    if not folders:
        raise BuildError(
            f"{root} has no class folders: --images takes ROOT/{SPLIT_FOLDERS[split][-1]}/<wnid>/* "
            "or ROOT/<wnid>/*."
        )
    return root


def _holds_dataset(root: Path) -> bool:
    """Tell a dataset directory (Parquet, Arrow) from an ImageFolder, without walking the latter."""
    candidates = [root, *(root / name for name in _names(root, os.DirEntry.is_dir)[:16])]
    return any(
        name.endswith((".parquet", ".arrow"))
        for folder in candidates
        for name in _names(folder, os.DirEntry.is_file)
    )


def _load_split(source: str, split: str) -> Any:
    import datasets  # noqa: PLC0415

    failures = []
    for name in SPLIT_FOLDERS[split]:
        try:
            return datasets.load_dataset(source, split=name)
        except Exception as error:
            failures.append(first_line(error))
    raise BuildError(
        f"The split {split} of the dataset {source} cannot be opened ({failures[0]}): check "
        "--images and --split."
    )


def _only_image_column(source: str, dataset: Any) -> str:
    import datasets  # noqa: PLC0415

    columns = [name for name, kind in dataset.features.items() if isinstance(kind, datasets.Image)]
    if len(columns) != 1:
        raise BuildError(
            f"{source} has {len(columns)} image columns, expected one: "
            "give --images a dataset with a column of images."
        )
    return str(columns[0])


def _wnid_of(name: str) -> str | None:
    """Return the wnid of the Hub's names, ``n01440764_10026_n01440764.JPEG``, or of a folder."""
    path = PurePosixPath(name)
    found = WNID.findall(path.stem)
    return found[-1] if found else path.parent.name or None
