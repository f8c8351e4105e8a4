"""Whose a directory is: what the model in it, or whatever it holds, is made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from builder.errors import BuildError, first_line
from builder.storage.files import atomic_write
from builder.storage.objects import json_object


def claim(out: Path, name: str, identity: dict[str, Any], held: str = "another model") -> None:
    """Take note of what is made in a directory, so that only the same goes on there.

    Parameters
    ----------
    out : Path
    name : str
        Of the file that says so.
    identity : dict
        All that the result depends on, as JSON has it.
    held : str
        What it is that other options make.

    Raises
    ------
    BuildError
        If the directory holds something else; the sentence names what differs.
    """
    path = out / name
    try:
        claimed = json_object(path.read_bytes())
    except FileNotFoundError:
        if any(out.iterdir()):
            raise BuildError(f"{out} is not empty and holds no {name}: use a new --out.") from None
        with atomic_write(path) as file:
            file.write((json.dumps(identity, indent=2) + "\n").encode())
        return
    except ValueError as error:
        raise BuildError(f"{path} is damaged ({first_line(error)}): use another --out.") from error
    for key in {**identity, **claimed}:
        if claimed.get(key) != identity.get(key):
            raise BuildError(
                f"{out} holds {held}: its {key} is {claimed.get(key)}, this command's is "
                f"{identity.get(key)}; use another --out, or the same options."
            )
