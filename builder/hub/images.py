"""The original images as a config of their own, for repositories that are private."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, Value

from builder.dataset.format import parquet_schema
from builder.dataset.layout import IMAGES, file_prefix
from builder.dataset.manifest import Manifest
from builder.errors import BuildError
from builder.hub.part import Part
from builder.images.sources import Images, find_images, open_images
from builder.reporter import Reporter
from builder.storage.files import sha256_of

_ROW_GROUP = 100
_FILE_BYTES = 256 * 2**20


class PrivateImages:
    """Writes the images of a build as Parquet files, each to be published and removed.

    The rows are in the order of the config ``masks``, so that the two can be read side by side. The
    same images always make the same bytes, by which a publication that was broken off goes on.

    Parameters
    ----------
    directory : Path
        The build.
    manifest : Manifest
    source : str
        As `open_images` takes it.
    """

    def __init__(self, directory: Path, manifest: Manifest, source: str) -> None:
        self._directory, self._manifest, self._source = directory, manifest, source

    def write(self, scratch: Path, reporter: Reporter) -> Iterator[Part]:
        """Write the files one after another; each may be removed when the next is asked for.

        Parameters
        ----------
        scratch : Path
            An empty directory.
        reporter : Reporter

        Yields
        ------
        Part

        Raises
        ------
        BuildError
            If an image of the build is missing.
        """
        for split in sorted(self._manifest.splits):
            with reporter.track(f"listing the {split} images") as advance:
                images = open_images(self._source, split, advance)
            files = self._mask_files(split)
            ids = (pq.read_table(file, columns=["image_id"])["image_id"] for file, _ in files)
            places = find_images(images, {name for part in ids for name in part.to_pylist()})
            for file, number in files:
                yield from self._write_file(file, f"{split}-{number:05d}", images, places, scratch)

    def _mask_files(self, split: str) -> list[tuple[Path, int]]:
        names = sorted(n for n in self._manifest.files if n.startswith(file_prefix("masks", split)))
        return [(self._directory / name, number) for number, name in enumerate(names)]

    def _write_file(
        self, masks: Path, stem: str, images: Images, places: Mapping[str, int], scratch: Path
    ) -> Iterator[Part]:
        """Write the images of one file of masks, as several files where they are large."""
        rows = pq.read_table(masks, columns=["image_id", "label"])
        names = Features.from_arrow_schema(pq.read_schema(masks))["label"]
        schema = parquet_schema(
            Features({"image_id": Value("string"), "image": Image(), "label": names})
        )
        groups = self._row_groups(rows, images, places, schema)
        group = next(groups, None)
        count = 0
        while group is not None:
            path = scratch / f"{stem}-{count:03d}.parquet"
            with pq.ParquetWriter(path, schema, compression="none") as writer:
                size = 0
                while group is not None and size < _FILE_BYTES:
                    writer.write_table(group)
                    size += group.nbytes
                    group = next(groups, None)
            yield Part(f"{IMAGES}/{path.name}", path, path.stat().st_size, sha256_of(path))
            count += 1

    def _row_groups(
        self, rows: pa.Table, images: Images, places: Mapping[str, int], schema: pa.Schema
    ) -> Iterator[pa.Table]:
        for batch in rows.to_batches(max_chunksize=_ROW_GROUP):
            ids = batch["image_id"].to_pylist()
            cells = [self._cell(image, images, places) for image in ids]
            columns = {"image_id": batch["image_id"], "image": cells, "label": batch["label"]}
            yield pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)

    def _cell(self, image: str, images: Images, places: Mapping[str, int]) -> dict[str, Any]:
        if image not in places:
            raise BuildError(
                f"{self._source} has no image {image}, of which the build has masks: give "
                "--with-images the images that the build was made from."
            )
        parts = PurePosixPath(str(images.paths[places[image]])).parts
        name = "/".join(parts[-1 - image.count("/") :])  # So much of the path as the id is made of.
        try:
            return {"bytes": images.read(places[image]), "path": name}
        except OSError as error:
            raise BuildError(f"{name} of {self._source} cannot be read: {error}.") from error
