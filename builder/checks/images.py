"""Images: whether a sample of them can be found by id, and has the recorded size."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
from PIL import Image

from builder.dataset.dataset import DataSet
from builder.errors import first_line
from builder.images.sources import FORMATS, Images, find_images
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
    rows = table.take(pa.array(spread(table["label"].to_numpy(), SAMPLE))).to_pylist()
    wanted = {row["image_id"] for row in rows}
    places = find_images(images, wanted)
    for row in rows:
        name, recorded = row["image_id"], (row["width"], row["height"])
        if name not in places:
            yield f"{name} is not among the images of {split}"
            continue
        found = _size(images, places[name])
        if found != recorded:
            size = found if isinstance(found, str) else f"is {found[0]} x {found[1]} pixels"
            yield f"{name} ({split}) {size}, recorded as {recorded[0]} x {recorded[1]}"


def _size(images: Images, place: int) -> tuple[int, int] | str:
    try:
        with Image.open(io.BytesIO(images.read(place)), formats=FORMATS) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"cannot be read ({first_line(error)})"
