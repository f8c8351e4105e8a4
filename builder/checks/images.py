"""Images: whether a sample of them can be found by id, and is what was recorded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from builder.dataset.configs import CONTENTS
from builder.dataset.dataset import DataSet
from builder.errors import first_line
from builder.images.content import digest_of
from builder.images.sources import FORMATS, LARGEST_FILE, Images, find_images
from builder.pages.preview import spread

SAMPLE = 200


def images_are_those(data: DataSet, images: Images, split: str) -> Iterator[str]:
    """Yield images of a sample, spread over the classes of a split, that are not as recorded.

    Parameters
    ----------
    data : DataSet
    images : Images
    split : str
    """
    table = data.read("masks", split, ["image_id", "label", "width", "height"])
    sample = table.take(pa.array(spread(table["label"].to_numpy(), SAMPLE)))
    digests = _digests(data, split, sample["image_id"])
    places = find_images(images, digests.keys())
    for row in sample.to_pylist():
        name = row["image_id"]
        if name not in places:
            yield f"{name} is not among the images of {split}"
            continue
        difference = _difference(images, places[name], row, digests[name])
        if difference:
            yield f"{name} ({split}) {difference}"


def _digests(data: DataSet, split: str, names: pa.ChunkedArray) -> dict[str, str | None]:
    """Return the digest of each image's file by its name, None where the data set has none."""
    found: dict[str, str | None] = dict.fromkeys(names.to_pylist())
    for table in data.tables(CONTENTS, split, ["image_id", "content"]):
        chosen = table.filter(pc.is_in(table["image_id"], names))
        found |= zip(chosen["image_id"].to_pylist(), chosen["content"].to_pylist(), strict=True)
    return found


def _difference(images: Images, place: int, row: dict[str, Any], digest: str | None) -> str | None:
    """Return in which way an image is not as recorded."""
    recorded = row["width"], row["height"]
    try:
        if images.stat(place).size > LARGEST_FILE:
            return "is larger than any file that a build reads"
        content = images.read(place)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            found = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"cannot be read ({first_line(error)})"
    if found != recorded:
        return f"is {found[0]} x {found[1]} pixels, recorded as {recorded[0]} x {recorded[1]}"
    if digest not in (None, digest_of(content)):
        return "has its size, but is another file than its masks were made from"
    return None
