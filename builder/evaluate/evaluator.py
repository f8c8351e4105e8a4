"""An evaluator has models and the images of a data set, and shows the ones to the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import torch

import salient_imagenet_1m as si
from builder.errors import BuildError
from builder.evaluate.batches import at_work, batches_of_shards
from builder.evaluate.classifier import Classifier, ReadyClassifier
from builder.evaluate.examiner import Examiner
from builder.evaluate.salient_imagenet import SalientImageNet
from builder.evaluate.suite import SuiteMaker
from builder.evaluate.turns import Turns
from builder.network.devices import BATCH_SIZES, WORKERS, be_exact, find_devices
from builder.settings.evaluation import Evaluation

_LIBRARIES = ("datasets", "numpy", "pillow", "timm", "torch", "torchvision")
_ROWS_OF_SHARD = 1024


class Examined(NamedTuple):
    """What models said of a batch: its shard, how many images it has, and their predictions."""

    shard: int
    images: int
    table: pa.Table


class Evaluator:
    """Shows models the images of a data set; the loader is its only way to the data.

    Parameters
    ----------
    classifiers : sequence of Classifier
    settings : Evaluation
    device : torch.device, optional
        Where models run; by default the first of the settings.
    runs_on : str, optional
        The kind of device that runs them elsewhere, if that is not `device`.
    make_suite : callable
        What they are asked.

    Attributes
    ----------
    shards : int
        Into which the images are cut: as their files are, whoever evaluates them.
    suite, make_suite : Suite, callable

    Raises
    ------
    BuildError
        If the data set, its images or a model cannot be used.
    """

    def __init__(
        self,
        classifiers: Sequence[Classifier],
        settings: Evaluation,
        device: torch.device | None = None,
        runs_on: str | None = None,
        make_suite: SuiteMaker = SalientImageNet,
    ) -> None:
        self.settings = settings
        self._device = device or find_devices(settings.device)[0]
        self._runs_on = runs_on or self._device.type
        be_exact(self._device)
        self.build = si.Build.open(settings.data)
        self.split = self.build.split(settings.split)
        wnids = self.build.wnids(self.split)
        self.names = self.build.features("masks", self.split)["label"].names
        self._classifiers = classifiers
        ready = [ReadyClassifier(c, wnids, len(self.names), self._device) for c in classifiers]
        _check_names([c.name for c in classifiers])
        self.make_suite = make_suite
        self.suite = make_suite(settings, self.build, self.split)
        self.suite.prepare(ready)
        self._stream = self._open()
        self.shards: int = self._stream.num_shards
        self._examiner = Examiner(Turns(ready, self._device), self.suite, self._device)

    @property
    def models(self) -> list[str]:
        """The names of the models, in the order of predictions."""
        return [classifier.name for classifier in self._classifiers]

    @property
    def images(self) -> int:
        """How many images there are."""
        return self.suite.images

    @property
    def workers(self) -> int:
        """Threads that load ahead of the models."""
        given = self.settings.workers
        return WORKERS[self._runs_on] if given is None else given

    def identity(self) -> dict[str, Any]:
        """Return all that predictions depend on."""
        return {
            "data": data_sha256(self.build),
            "split": self.split,
            "models": {
                c.name: {"weights_sha256": self._weights[c.name], **asdict(c.view)}
                for c in self._classifiers
            },
            **self.suite.identity,
            "shards": self.shards,
            "device": self._runs_on,
            **{name: version(name) for name in _LIBRARIES},
        }

    @cached_property
    def _weights(self) -> dict[str, str]:
        return {c.name: c.weights_sha256 for c in self._classifiers}

    def examine(self, shards: Iterable[int], limit: int | None = None) -> Iterator[Examined]:
        """Show all models the images of shards, under all conditions.

        Parameters
        ----------
        shards : iterable of int
            Taken up as there is room, in the thread of the caller.
        limit : int, optional
            Take only this many batches that have images.

        Yields
        ------
        Examined
            For each batch of a shard, and once more at its end; all batches are of one shard.
        """
        size = self.settings.batch_size or BATCH_SIZES[self._device.type]
        batches = batches_of_shards(self._stream, shards, size)
        if limit is not None:
            batches = islice((batch for batch in batches if batch[1]), limit)
        yield from at_work(self._device, batches, self._examine)

    def _examine(self, batch: tuple[int, list[dict[str, Any]]]) -> Examined:
        shard, examples = batch
        suite = self.suite
        table = self._examiner(suite.collate(examples)) if examples else suite.schema.empty_table()
        return Examined(shard, len(examples), table)

    def _open(self) -> Any:
        settings = self.settings
        views = dict.fromkeys(classifier.view for classifier in self._classifiers)
        images: Any = settings.images
        if isinstance(images, datasets.Dataset):
            images = images.to_iterable_dataset(max(1, len(images) // _ROWS_OF_SHARD))
        return si.load(
            settings.data,
            "images",
            images=images,
            split=self.split,
            streaming=True,
            transform=self.suite.transform(list(views)),
            threads=self.workers or None,
            **self.suite.loading,
        )


def data_sha256(build: si.Build) -> str:
    """Return a hash of all files of a data set, as its manifest has them."""
    files = json.dumps(build.manifest["files"], sort_keys=True)
    return hashlib.sha256(files.encode()).hexdigest()


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BuildError(f"The model {twice[0]} is asked for twice: leave one out.")
