"""JSON objects in files that may hold anything: cut, damaged, or made to do harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def json_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object that bytes hold.

    Raises
    ------
    ValueError
        If they hold none: half of one, another value, brackets in brackets without end.
    """
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise ValueError("its values are nested too deep") from error
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 (content, not an argument)
    return found


def saved_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object that a file holds, None where it is not there, or damaged."""
    try:
        return json_object(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
