"""Pickles that hold plain data: read without running anything."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from builder.errors import BuildError, first_line

LARGEST = 100 * 2**20
"""Bytes of a pickle that is read: the ranked paths of all of ImageNet are fewer."""


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that knows no class and no function: there is nothing that it could call."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_pickle(path: Path) -> Any:
    """Read a pickle of lists, tuples and dicts of strings and numbers.

    Parameters
    ----------
    path : Path

    Returns
    -------
    object

    Raises
    ------
    BuildError
        If it holds anything else, such as what would run code, or is damaged or too large.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise BuildError(f"{path} is larger than any list of images: take another copy of it.")
    try:
        return _PlainUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # A damaged pickle may raise anything.
        raise BuildError(
            f"{path} is no pickle of plain lists, dicts, strings and numbers "
            f"({first_line(error)}), and others may run code: take another copy, or write it again "
            "with json.loads(json.dumps(...)) of what it holds."
        ) from error
