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
import pyarrow.compute as pc
import torch

import salient_imagenet_1m as si
from builder.errors import BuildError
from builder.evaluate.batches import at_work, batches_of_shards
from builder.evaluate.classifier import Classifier, ReadyClassifier
from builder.evaluate.conditions import CONDITIONS, Condition, feature_condition
from builder.evaluate.examiner import Examiner
from builder.evaluate.predictions import SCHEMA
from builder.evaluate.turns import Turns
from builder.evaluate.views import Views, collate
from builder.network.devices import BATCH_SIZES, WORKERS, be_exact, find_devices
from builder.settings import Evaluation

_COLUMNS = ["image", "core_mask", "spurious_mask", "image_id", "label", "width", "height"]
_OF_FEATURES = ["grids", "grid_height", "grid_width", "kinds"]
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

    Attributes
    ----------
    shards : int
        Into which the images are cut: as their files are, whoever evaluates them.
    conditions : list of Condition
        Besides the clean images.

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
        self._check_k()
        self.conditions = self._find_conditions()
        self._stream = self._open()
        self.shards: int = self._stream.num_shards
        self._examiner = Examiner(
            Turns(ready, self._device),
            self.conditions,
            settings.corruption,
            settings.sigma,
            settings.draws,
            self._device,
        )

    @property
    def models(self) -> list[str]:
        """The names of the models, in the order of predictions."""
        return [classifier.name for classifier in self._classifiers]

    @property
    def images(self) -> int:
        """How many images there are."""
        return sum(self.build.images_by_label(self.split).values())

    @property
    def workers(self) -> int:
        """Threads that load ahead of the models."""
        given = self.settings.workers
        return WORKERS[self._runs_on] if given is None else given

    def identity(self) -> dict[str, Any]:
        """Return all that predictions depend on."""
        settings = self.settings
        files = json.dumps(self.build.manifest["files"], sort_keys=True)
        return {
            "data": hashlib.sha256(files.encode()).hexdigest(),
            "split": self.split,
            "models": {
                c.name: {"weights_sha256": self._weights[c.name], **asdict(c.view)}
                for c in self._classifiers
            },
            "conditions": [condition.name for condition in self.conditions],
            "corruption": settings.corruption,
            "sigma": settings.sigma,
            "draws": settings.draws,
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
            Take only this many batches.

        Yields
        ------
        Examined
            For each batch of a shard, and once more at its end; all batches are of one shard.
        """
        size = self.settings.batch_size or BATCH_SIZES[self._device.type]
        batches = islice(batches_of_shards(self._stream, shards, size), limit)
        yield from at_work(self._device, batches, self._examine)

    def _examine(self, batch: tuple[int, list[dict[str, Any]]]) -> Examined:
        shard, examples = batch
        table = self._examiner(collate(examples)) if examples else SCHEMA.empty_table()
        return Examined(shard, len(examples), table)

    def _open(self) -> Any:
        settings = self.settings
        views = dict.fromkeys(classifier.view for classifier in self._classifiers)
        masks = dict.fromkeys(condition.mask for condition in self.conditions)
        columns = [*_COLUMNS, "spuriosity_rank", *(_OF_FEATURES if settings.per_feature else [])]
        images: Any = settings.images
        if isinstance(images, datasets.Dataset):
            images = images.to_iterable_dataset(max(1, len(images) // _ROWS_OF_SHARD))
        return si.load(
            settings.data,
            "images",
            images=images,
            split=self.split,
            streaming=True,
            columns=columns,
            transform=Views(list(views), list(masks)),
            threads=self.workers or None,
        )

    def _find_conditions(self) -> list[Condition]:
        count = int(self.build.manifest["origin"].get("features_per_class", 5))
        features = range(count) if self.settings.per_feature else ()
        return [*CONDITIONS, *map(feature_condition, features)]

    def _check_k(self) -> None:
        k = self.settings.k
        ranked = self.build.scan("rankings", self.split, ["label"])["label"]
        counts = pc.value_counts(ranked).to_pylist()
        if not counts:
            raise BuildError(
                f"No class of {self.settings.data} has a spurious feature, so nothing is ranked: "
                "evaluate on a data set that has some."
            )
        smallest = min(counts, key=lambda count: count["counts"])
        if 2 * k > smallest["counts"]:
            most = smallest["counts"] // 2
            raise BuildError(
                f"--k {k} takes {2 * k} images of each ranked class, and class "
                f"{smallest['values']} has {smallest['counts']}: "
                f"{f'use --k {most} or less' if most else 'evaluate on more images'}."
            )


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BuildError(f"The model {twice[0]} is asked for twice: leave one out.")
