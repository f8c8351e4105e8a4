"""The world of true masks, with the objects that were drawn as object masks."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.dataset.format import parquet_schema, segmentation_features
from builder.dataset.object_mask import distance_from_centre, write_object_mask
from builder.evaluate.classifier import Classifier
from tests.evaluate.conftest import WORLD, Reader, TrueMasks, raw, true_masks, write_data

__all__ = ["true_masks"]


class Guessing(Reader):
    """A reader that says the first class where it cannot read: it is right by chance."""

    def otherwise(self, label: int) -> int:
        return 0


def with_objects(
    world: TrueMasks, target: Path, files: int = 2, without: Collection[str] = ()
) -> Path:
    """Write the world's data set with object masks of all images but some."""
    write_data(target, world.rows, files=files)
    schema = parquet_schema(segmentation_features(WORLD.names))
    names = []
    (target / "segmentations").mkdir()
    for path in sorted((target / "masks").iterdir()):
        rows = []
        for image_id in pq.read_table(path)["image_id"].to_pylist():
            is_object = world.places(image_id, "core")
            if image_id not in without and is_object.any():
                rows.append(
                    {
                        "image_id": image_id,
                        "label": world.truth.rows[image_id]["label"],
                        "object_mask": {"bytes": write_object_mask(is_object), "path": None},
                        "area": is_object.mean(),
                        "distance": distance_from_centre(is_object),
                        "release_rank": None,
                    }
                )
        names.append(f"segmentations/{path.name}")
        pq.write_table(pa.Table.from_pylist(rows, schema), target / names[-1])
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["files"].update({name: {} for name in names})
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


@pytest.fixture(scope="session")
def left_out(true_masks: TrueMasks) -> set[str]:
    """Return half of the images of each class, of which nobody drew the object."""
    return {row["image_id"] for row in true_masks.rows if row["spuriosity_rank"] % 2}


@pytest.fixture(scope="session")
def with_masks(
    true_masks: TrueMasks, left_out: set[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return with_objects(true_masks, tmp_path_factory.mktemp("objects") / "data", without=left_out)


@pytest.fixture(scope="session")
def readers(true_masks: TrueMasks) -> dict[str, Callable[[], Classifier]]:
    return {
        "reads the object": lambda: raw("reads the object", Guessing(true_masks, "core")),
        "reads the cue": lambda: raw("reads the cue", Guessing(true_masks, "spurious")),
    }
