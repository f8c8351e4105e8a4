"""Whose a directory is: what the things in it are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.errors import BuildError, first_line
from builder.storage.files import atomic_write
from builder.storage.objects import json_object


def claim(out: Path, name: str, identity: Mapping[str, Any], what: str = "model") -> None:
    """Take note of what is made in a directory, so that only the same goes on there.

    Parameters
    ----------
    out : Path
    name : str
        Of the file that says so.
    identity : dict
        All that is in it depends on, as JSON has it.
    what : str
        A word for that.

    Raises
    ------
    BuildError
        If the directory holds something else; the sentence names what differs.
    """
    path = out / name
    claimed = read_claim(path)
    if claimed is not None:
        require_same(out, what, claimed, identity, "use another --out, or the same options")
        return
    if any(out.iterdir()):
        raise BuildError(f"{out} is not empty and holds no {name}: use a new --out.")
    with atomic_write(path) as file:
        file.write(text_of_claim(identity))


def read_claim(path: Path) -> dict[str, Any] | None:
    """Return what a directory holds by its note, None where there is none.

    Raises
    ------
    BuildError
        If the note is damaged.
    """
    try:
        return json_object(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BuildError(f"{path} is damaged ({first_line(error)}): use another --out.") from error


def text_of_claim(identity: Mapping[str, Any]) -> bytes:
    """Return what a note says."""
    return (json.dumps(identity, indent=2) + "\n").encode()


def require_same(
    out: Path, what: str, claimed: Mapping[str, Any], identity: Mapping[str, Any], remedy: str
) -> None:
    """See that a directory holds what this command makes.

    Parameters
    ----------
    out : Path
    what : str
        A word for it.
    claimed, identity : dict
        What the one there depends on, and this command's.
    remedy : str
        What the user is told to do otherwise.

    Raises
    ------
    BuildError
        If they differ; the sentence names in what.
    """
    # In the order of this command's: what a user names stands before what follows from it.
    for name in {**identity, **claimed}:
        if claimed.get(name) != identity.get(name):
            raise BuildError(
                f"{out} holds another {what}: its {name} is {claimed.get(name)}, this command's is "
                f"{identity.get(name)}; {remedy}."
            )
