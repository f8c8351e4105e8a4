"""Features: what a model hands to its head, of images that the loader reads, kept in files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor, nn

import salient_imagenet_1m as si
from builder.evaluate.batches import at_work, batches_of_shards
from builder.evaluate.classifier import ReadyClassifier, View
from builder.evaluate.views import Batch, Views, collate
from builder.network.devices import BATCH_SIZES, WORKERS
from builder.reporter import Reporter
from builder.storage.parquet import (
    damage_as_sentence,
    fixed_lists,
    matrix,
    read_parquet,
    write_parquet,
)

FEATURES = ".features"
"""The directory in a run's own where features are kept, if no other is named."""

_COLUMNS = ["image", "image_id", "label", "width", "height", "spuriosity_rank"]
_LIBRARIES = ("datasets", "numpy", "pillow", "timm", "torch", "torchvision")


@dataclass(frozen=True)
class Features:
    """The features of images.

    Attributes
    ----------
    image_ids : list of str
    labels, ranks : ndarray of int64, shape (images,)
        Ranks are of spuriosity, -1 where the class has none.
    values : Tensor of float32, shape (images, features)
    """

    image_ids: list[str]
    labels: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    values: Tensor

    def __len__(self) -> int:
        return len(self.image_ids)

    def at(self, places: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Features:
        """Return those of some images."""
        chosen = np.arange(len(self))[places]
        ids = [self.image_ids[place] for place in chosen.tolist()]
        values = self.values[torch.from_numpy(chosen)]
        return Features(ids, self.labels[chosen], self.ranks[chosen], values)


class HeadInputs:
    """What a head was handed in the last pass of a thread.

    Parameters
    ----------
    head : nn.Linear
    """

    def __init__(self, head: nn.Linear) -> None:
        self._captured = threading.local()
        head.register_forward_pre_hook(self._capture)

    def _capture(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._captured.features = inputs[0]

    def take(self) -> Tensor:
        """Return it, float32 of shape (n, features), and forget it."""
        features: Tensor = self._captured.features
        del self._captured.features
        return features.float()


class Encoding(Protocol):
    """What makes numbers of images; may be called from several threads."""

    @property
    def view(self) -> View:
        """How it wants images."""

    def __call__(self, images: Tensor, labels: Tensor, /) -> Tensor:
        """Return float32 of shape (n, numbers).

        Parameters
        ----------
        images : Tensor of float32 in [0, 1], shape (n, 3, size, size)
        labels : Tensor of int64, shape (n,)
        """


class Encoder:
    """A model up to its head; may be called from several threads.

    Parameters
    ----------
    classifier : ReadyClassifier
        On its device.
    head : nn.Linear
        Its head.

    Attributes
    ----------
    view : View
    """

    def __init__(self, classifier: ReadyClassifier, head: nn.Linear) -> None:
        self._classifier, self.view = classifier, classifier.view
        self._inputs = HeadInputs(head)

    def __call__(self, images: Tensor, _labels: Tensor) -> Tensor:
        """Return the features of images, as `Encoding` says."""
        self._classifier(images)
        return self._inputs.take()


class LoadedImages(Protocol):
    """Where images come from, and how they are loaded: options of a command."""

    @property
    def data(self) -> str:
        """The data set."""

    @property
    def images(self) -> str:
        """Its images."""

    @property
    def batch_size(self) -> int | None:
        """Images of a batch, None for the device's own."""

    @property
    def workers(self) -> int | None:
        """Threads that load, None for the device's own."""


class FeatureStore:
    """Features of the images of a data set, computed once and kept in a directory.

    A shard's file appears when it is whole; whoever is killed goes on after the last. What features
    depend on is in the name of the directory that files of an image set lie in, so that runs
    that differ can share a store.

    Parameters
    ----------
    encoder : Encoding
    made_from : dict
        Hashes of the data set and of the encoder's weights.
    settings : LoadedImages
    directory : Path
        Where files are kept.
    device : torch.device
        Where the encoder runs.
    reporter : Reporter
    """

    def __init__(
        self,
        encoder: Encoding,
        made_from: dict[str, Any],
        settings: LoadedImages,
        directory: Path,
        device: torch.device,
        reporter: Reporter,
    ) -> None:
        self._encoder, self._made_from = encoder, made_from
        self._settings, self._device, self._reporter = settings, device, reporter
        self._batch_size = settings.batch_size or BATCH_SIZES[device.type]
        self.directory = directory

    def features(self, split: str, ids: Sequence[str]) -> Features:
        """Return the features of some images of a split, in the order of the data set.

        Raises
        ------
        BuildError
            If a file of the store is damaged.
        """
        return _features([_read(path) for path in self.computed(split, ids)])

    def computed(self, split: str, ids: Sequence[str]) -> list[Path]:
        """Return the files of some images of a split, which are then whole.

        Each is Parquet, with the columns image_id, label, spuriosity_rank and features.

        Raises
        ------
        BuildError
            If one is damaged.
        """
        stream = self._stream(split, ids)
        directory = self.directory / self._name(split, ids, stream.num_shards)
        paths = [directory / f"{shard:06d}.parquet" for shard in range(stream.num_shards)]
        missing = [shard for shard, path in enumerate(paths) if not path.exists()]
        done = sum(len(_read(path, ["label"])) for path in paths if path.exists())
        with self._reporter.track(f"features, {split}", len(ids), done) as advance:
            batches = batches_of_shards(stream, missing, self._batch_size)
            encoded = at_work(self._device, batches, self._encode)
            for shard, tables in groupby(encoded, itemgetter(0)):
                _write(paths[shard], (table for _, table in tables), advance)
        return paths

    def _stream(self, split: str, ids: Sequence[str]) -> Any:
        settings = self._settings
        workers = WORKERS[self._device.type] if settings.workers is None else settings.workers
        return si.load(
            settings.data,
            "images",
            images=settings.images,
            split=split,
            streaming=True,
            columns=_COLUMNS,
            select=si.Selection(ids=ids),
            transform=Views([self._encoder.view], []),
            threads=workers or None,
        )

    def _name(self, split: str, ids: Sequence[str], shards: int) -> str:
        """Return a name of all that the bytes of features depend on."""
        depends_on = {
            **self._made_from,
            "split": split,
            "ids": hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest(),
            "shards": shards,
            "view": asdict(self._encoder.view),
            "device": self._device.type,
            "batch_size": self._batch_size,
            **{name: version(name) for name in _LIBRARIES},
        }
        content = json.dumps(depends_on, sort_keys=True).encode()
        return f"{split}-{hashlib.sha256(content).hexdigest()[:16]}"

    def _encode(self, batch: tuple[int, list[dict[str, Any]]]) -> tuple[int, pa.Table | None]:
        shard, examples = batch
        return shard, self._table(collate(examples)) if examples else None

    def _table(self, batch: Batch) -> pa.Table:
        # Channels come last in memory, as convolutions like them.
        pixels = batch.pixels[self._encoder.view].to(self._device, non_blocking=True)
        labels = batch.labels.to(self._device, non_blocking=True)
        features = self._encoder(pixels.permute(0, 3, 1, 2) / 255, labels)
        columns = {
            "image_id": pa.array(batch.image_ids),
            "label": batch.labels.numpy(),
            "spuriosity_rank": batch.ranks.numpy(),
            "features": fixed_lists(features.cpu().numpy()),
        }
        return pa.table(columns)


def _schema(features: int) -> pa.Schema:
    return pa.schema(
        {
            "image_id": pa.string(),
            "label": pa.int64(),
            "spuriosity_rank": pa.int64(),
            "features": pa.list_(pa.float32(), features),
        }
    )


def _write(path: Path, tables: Iterator[pa.Table | None], advance: Callable[[int], None]) -> None:
    """Write a shard batch by batch; an empty table where it has no image."""
    found = []
    for table in tables:
        if table is not None:
            found.append(table)
            advance(len(table))
    width = found[0].schema.field("features").type.list_size if found else 0
    write_parquet(path, _schema(width), found)


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    with damage_as_sentence(path):
        return read_parquet(path, columns)


def _features(tables: Sequence[pa.Table]) -> Features:
    table = pa.concat_tables([table for table in tables if len(table)])
    return Features(
        table["image_id"].to_pylist(),
        table["label"].to_numpy().copy(),
        table["spuriosity_rank"].to_numpy().copy(),
        torch.from_numpy(np.array(matrix(table["features"]))),
    )
