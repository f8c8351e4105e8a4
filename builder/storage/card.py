"""Cards by which `load_dataset` finds tables in a directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from builder.storage.files import sha256_of


class Table(NamedTuple):
    """A table of Parquet, which `datasets` calls a config.

    Attributes
    ----------
    name : str
    split : str
    file : Path
        What holds it.
    pattern : str
        By which it is found, relative to the card.
    """

    name: str
    split: str
    file: Path
    pattern: str


def card_header(tables: Sequence[Table]) -> str:
    """Return the YAML header of a card, the first table being the one that is loaded by default.

    What `datasets` has prepared of a local directory it finds again by the directory's name and
    its card, whatever the files hold: so the card says their hashes.
    """
    configs = [
        {
            "config_name": table.name,
            **({} if place else {"default": True}),
            "data_files": [{"split": table.split, "path": table.pattern}],
        }
        for place, table in enumerate(tables)
    ]
    infos = [
        {"config_name": table.name, "description": f"SHA-256 {sha256_of(table.file)}"}
        for table in tables
    ]
    said = yaml.safe_dump({"configs": configs, "dataset_info": infos}, sort_keys=False)
    return f"---\n{said}---\n"
