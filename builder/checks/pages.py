"""Pages: whether preview, plots, Croissant metadata and card say what the rows say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import pyarrow.compute as pc
import yaml

from builder.checks.pictures import shows
from builder.dataset.dataset import DataSet, UnreadableError
from builder.dataset.layout import CARD_FILE, CROISSANT_FILE
from builder.errors import first_line
from builder.pages.card import make_card
from builder.pages.pages import make_pages
from builder.pages.preview import PREVIEWS, Preview, preview_rows

_LONGEST_LINE = 80


def header_is_the_data_s(data: DataSet) -> Iterator[str]:
    """Yield what the card's header, for `datasets` and the Hub, says otherwise than the data."""
    # Parsed, since releases of the libraries that write it do so differently.
    found = _header(_read(data, CARD_FILE))
    expected = _header(make_card(data))
    for key in {**expected, **found}:
        if found.get(key) != expected.get(key):
            yield f"{key} in the header of {CARD_FILE} is not what the data say"


def pages_are_the_data_s(data: DataSet) -> Iterator[str]:
    """Yield the first difference of each page from the one that this program makes of the data."""
    for name, content in make_pages(data).items():
        found, expected = _read(data, name), content.decode()
        if name == CROISSANT_FILE:
            if _parsed(json.loads, found) != json.loads(expected):
                yield f"{name} is not what the data say"
        elif name == CARD_FILE:
            # Lines are counted from the top of the file.
            skipped = "\n" * found.count("\n", 0, len(found) - len(_body(found)))
            if _body(found) != _body(expected):
                yield _first_difference(name, skipped + _body(found), skipped + _body(expected))
        elif found != expected:
            yield _first_difference(name, found, expected)


def _read(data: DataSet, name: str) -> str:
    try:
        return data.path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{name} cannot be read ({first_line(error)}).") from error


def preview_is_the_masks(data: DataSet) -> Iterator[str]:
    """Yield rows of previews that are not those of the configs that they show, rendered."""
    for preview in PREVIEWS:
        for split in data.splits_of(preview.of):
            yield from _unlike_shown(data, split, preview)


def _unlike_shown(data: DataSet, split: str, preview: Preview) -> Iterator[str]:
    own, shown = preview.config, preview.of
    rows, found = preview_rows(data, split, preview), data.read(own, split)
    if found["image_id"].to_pylist() != rows["image_id"].to_pylist():
        yield f"{own} of {split} has other rows than {shown} gives it"
        return
    for name in preview.copied:
        if found[name].to_pylist() != rows[name].to_pylist():
            yield f"{own} of {split} has another {name} than {shown}"
    try:
        rendered = preview.masks(rows)
    except (ValueError, IndexError):  # Grids of another shape than their row says.
        yield f"grids of {shown} of {split} cannot be rendered"
        return
    for kind, masks in rendered.items():
        pictures = pc.struct_field(found[f"{kind}_mask"], "bytes").to_pylist()
        for row, (mask, picture) in enumerate(zip(masks, pictures, strict=True)):
            if not shows(picture, mask):
                name = found["image_id"][row]
                yield f"{name} ({split}) has a {kind}_mask in {own} that is not its grids'"


def _header(card: str) -> dict[str, Any]:
    """Return a card's header, empty where it has none that can be read."""
    parts = card.split("---\n", 2)
    header = _parsed(yaml.safe_load, parts[1]) if len(parts) == 3 else None
    return header if isinstance(header, dict) else {}


def _body(card: str) -> str:
    return card.split("---\n", 2)[-1]


def _parsed(parse: Any, text: str) -> Any:
    try:
        return parse(text)
    except (ValueError, yaml.YAMLError):
        return None


def _first_difference(name: str, found: str, expected: str) -> str:
    pairs = zip_longest(found.splitlines(), expected.splitlines(), fillvalue="")
    for number, (line, other) in enumerate(pairs, 1):
        if line != other:
            start = next(
                place for place, pair in enumerate(zip_longest(line, other)) if pair[0] != pair[1]
            )
            part = slice(max(0, start - 20), start + _LONGEST_LINE)
            return f"{name}, line {number}: {line[part]!r} where the data say {other[part]!r}"
    return f"{name} ends its lines differently"
