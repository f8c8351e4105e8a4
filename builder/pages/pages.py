"""What a data set says of itself, all from its rows: preview, plots, metadata and card."""

from __future__ import annotations

import json
from pathlib import Path

from builder.dataset.dataset import DataSet
from builder.dataset.layout import (
    CARD_FILE,
    CROISSANT_FILE,
    KINDS_PLOT,
    MASKS_PLOT,
    SPURIOSITY_PLOT,
)
from builder.dataset.statistics import split_statistics
from builder.dataset.subject import Subject
from builder.pages.card import make_card
from builder.pages.croissant import make_croissant
from builder.pages.plots import kinds_plot, masks_plot, spuriosity_plot
from builder.pages.preview import example_rows
from builder.storage.files import atomic_write

PAGES_VERSION = "2"
"""Of the text of plots, metadata and card: to be raised whenever the same data give another.

It stands in the manifest, so that nobody takes the words of another version for damage.
"""


def write_pages(data: DataSet, target: Path) -> None:
    """Write the pages of all splits.

    Parameters
    ----------
    data : DataSet
        With all other files, of which its manifest knows; it takes note of what is written.
    target : Path
        A directory that is laid out like the data set.
    """
    data.manifest.pages = PAGES_VERSION
    pages = make_pages(data)
    for name, content in pages.items():
        with atomic_write(target / name) as file:
            file.write(content)
    data.manifest.record(target, pages)


def make_pages(data: DataSet) -> dict[str, bytes]:
    """Return the contents of every page by its name: the same data give the same bytes."""
    statistics = {split: split_statistics(data, split) for split in data.splits}
    about = Subject.of(data.manifest)
    names = [about.short_name(name) for name in data.names]
    croissant = json.dumps(make_croissant(data), indent=2, ensure_ascii=False)
    pages = {
        MASKS_PLOT: masks_plot(example_rows(data), names),
        KINDS_PLOT: kinds_plot(statistics),
        SPURIOSITY_PLOT: spuriosity_plot(statistics),
        CROISSANT_FILE: f"{croissant}\n",
        CARD_FILE: make_card(data),
    }
    return {name: page.encode() for name, page in pages.items()}
