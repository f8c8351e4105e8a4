"""Whose a directory is: what the evaluation in it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.errors import BuildError
from builder.storage import claim as notes
from builder.storage.files import atomic_write, move_into_place

EVALUATION_FILE = "evaluation.json"
"""What an evaluation was made from; it is written first, and only the same goes on there."""

WORK = ".evaluation"
"""The directory of finished shards and of what is being written, until all is."""

HEADS = "heads"
"""The directory of heads that were fine-tuned to be evaluated."""


def read_claim(out: Path) -> dict[str, Any] | None:
    """Return what an evaluation was made from, None where there is none.

    Raises
    ------
    BuildError
        If the note of it is damaged.
    """
    path = out / EVALUATION_FILE
    found = notes.read_claim(path)
    if found is not None and not isinstance(found.get("models"), dict):
        raise BuildError(f"{path} is damaged (it names no models): use another --out.")
    return found


def check_claim(out: Path, identity: dict[str, Any]) -> None:
    """See whether an evaluation may go into a directory.

    Raises
    ------
    BuildError
        If it holds something else, or another evaluation; the sentence names what differs.
    """
    claimed = read_claim(out)
    if claimed is None:
        if out.exists() and any(path.name not in (WORK, HEADS) for path in out.iterdir()):
            raise BuildError(f"{out} is not empty and holds no evaluation: use a new --out.")
        return
    found, expected = (comparable(each) for each in (claimed, identity))
    notes.require_same(out, "evaluation", found, expected, "use another --out, or the same inputs")


def claim(out: Path, identity: dict[str, Any]) -> None:
    """Take note of what is evaluated, so that only the same goes on in a directory.

    Raises
    ------
    BuildError
        As `check_claim`.
    """
    check_claim(out, identity)
    if not (out / EVALUATION_FILE).exists():
        staged = out / WORK / EVALUATION_FILE
        with atomic_write(staged) as file:
            file.write(notes.text_of_claim(identity))
        move_into_place(staged, out / EVALUATION_FILE)


def comparable(identity: dict[str, Any]) -> dict[str, Any]:
    """Return an identity with an entry for each model, so that what differs can be named."""
    models = {f"model {name}": value for name, value in identity["models"].items()}
    rest = {name: value for name, value in identity.items() if name != "models"}
    return {**rest, "models": list(identity["models"]), **models}
