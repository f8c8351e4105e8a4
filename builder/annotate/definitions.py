"""What the classes mean, in words: WordNet's glosses, or those of the user's own file."""

from __future__ import annotations

import csv
import io
from functools import cache
from importlib import resources
from pathlib import Path

from builder.errors import BuildError


def definition_of(name: str) -> str | None:
    """Return WordNet's gloss of a wnid, or None where there is none, as for names that are none.

    Parameters
    ----------
    name : str
        A wnid of ImageNet's 21,844, or a class of any other name.
    """
    return _glosses().get(name)


def read_definitions(path: Path) -> dict[str, str]:
    """Read the user's own definitions: a line for each class, its name, a tab, and its definition.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to str
        By the class's name in the table that `discover` wrote: its folder's, or its wnid.

    Raises
    ------
    BuildError
        If the file cannot be read, or a line is none of these, or defines a class again.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise BuildError(
            f"The file of definitions {path} cannot be read ({error.strerror}): check "
            "--definitions."
        ) from error
    except UnicodeDecodeError as error:
        raise BuildError(
            f"The file of definitions {path} is no text in UTF-8: check --definitions."
        ) from error
    found: dict[str, str] = {}
    for line, row in enumerate(text.splitlines(), 1):
        name, _, definition = (part.strip() for part in row.partition("\t"))
        if row.strip() and not (name and definition):
            raise BuildError(
                f"{path}:{line} defines nothing: write a class, a tab and its definition in each "
                "line."
            )
        if name in found:
            raise BuildError(f"{path}:{line} defines {name} again: define each class once.")
        if name:
            found[name] = definition
    return found


@cache
def _glosses() -> dict[str, str]:
    """Return the glosses that come with timm, by wnid."""
    file = resources.files("timm.data") / "_info" / "imagenet_synset_to_definition.txt"
    text = io.StringIO(file.read_text("utf-8"))
    return dict(csv.reader(text, delimiter="\t"))
