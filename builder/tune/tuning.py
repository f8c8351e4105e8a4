"""Tuning of a head from beginning to end: a model in, its new head and a report out."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import salient_imagenet_1m as si
from builder.dataset.scores import NO_RANK
from builder.errors import BuildError
from builder.evaluate.classifier import Classifier, ReadyClassifier
from builder.evaluate.evaluator import data_sha256
from builder.evaluate.features import FEATURES, Encoder, FeatureStore
from builder.evaluate.models import load_classifier, parse_model
from builder.network.devices import be_exact, find_device
from builder.network.head import Head, find_head
from builder.reporter import Reporter
from builder.settings.head_tuning import HeadTuning
from builder.storage.claim import claim
from builder.storage.files import (
    disk_errors_as_sentences,
    exclusive,
    make_directory,
    remove_directory,
    require_directory,
)
from builder.tune.choice import at_random, ends_of_classes, halves, least_spurious
from builder.tune.descent import Recipe, tune
from builder.tune.dfr import Fitted, fit_dfr
from builder.tune.judge import Judge, Standing
from builder.tune.output import read_summary, write_report
from builder.tune.report import HeadReport

SPLITS = ("train", "validation")
"""Whose images a head is tuned on, and whose tell how it stands."""

TUNING_FILE = "tuning.json"
"""What a head is tuned from; it is written first, and only the same goes on there."""

NEVER = -1e4
"""The logit of a class of which no image was seen: its probability is 0."""


@dataclass(frozen=True)
class _Table:
    """The images of a split.

    Attributes
    ----------
    ids : list of str
    labels, ranks : ndarray of int64, shape (images,)
    """

    ids: list[str]
    labels: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]

    def at(self, places: npt.NDArray[np.int64]) -> list[str]:
        """Return the ids of some images."""
        return [self.ids[place] for place in places.tolist()]


def tune_head(settings: HeadTuning, reporter: Reporter) -> dict[str, Any]:
    """Tune the head of a model, and write it with a report.

    Parameters
    ----------
    settings : HeadTuning
    reporter : Reporter

    Returns
    -------
    dict
        As in report.json.

    Raises
    ------
    BuildError
        With a sentence for the user.
    """
    require_directory(settings.out)
    if settings.features is not None:
        require_directory(settings.features, "--features")
    with disk_errors_as_sentences(settings.out):
        opened = _Opened(settings, reporter)
        make_directory(settings.out)
        with exclusive(settings.out):
            claim(settings.out, TUNING_FILE, opened.identity)
            found = read_summary(settings.out)
            if found is not None:
                reporter.say(f"Nothing to do: {settings.out} already holds this very head.")
                return found
            report = opened.tuned()
            write_report(settings.out, report)
            if settings.features is None:
                remove_directory(opened.store.directory)
    return report.summary()


class _Opened:
    """The opened inputs of a tuning."""

    def __init__(self, settings: HeadTuning, reporter: Reporter) -> None:
        self._settings, self._reporter = settings, reporter
        self._device = find_device(settings.device)
        be_exact(self._device)
        self._build = si.Build.open(settings.data)
        self._names = self._build.features("masks", self._build.split("train"))["label"].names
        self._tables = {split: _table(self._build, split) for split in SPLITS}
        _check_k(self._tables["validation"], settings.k)
        classifier = load_classifier(*parse_model(settings.model), title=settings.model)
        self._weights_sha256 = classifier.weights_sha256
        self._own = find_head(classifier.name, classifier.model, classifier.view.size)
        self._outputs, self.store = self._encoding(classifier)

    def _encoding(self, classifier: Classifier) -> tuple[list[int], FeatureStore]:
        """Return the output of each label, and the store of the classifier's features."""
        wnids, classes = self._build.wnids("train"), len(self._names)
        ready = ReadyClassifier(classifier, wnids, classes, self._device)
        ready.to(self._device)
        made_from = {"data": data_sha256(self._build), "weights_sha256": self._weights_sha256}
        settings, encoder = self._settings, Encoder(ready, self._own)
        directory = settings.features or settings.out / FEATURES
        store = FeatureStore(encoder, made_from, settings, directory, self._device, self._reporter)
        return ready.labels or list(range(classes)), store

    @property
    def identity(self) -> dict[str, Any]:
        """All that the head depends on."""
        settings = self._settings
        own = {
            "sgd": ("choose", "also_unranked", "learning_rate", "epochs", "stop_gap"),
            "dfr": ("fits",),
        }
        options = ("model", "method", *own[settings.method], "per_class", "k", "seed")
        return {
            "data": data_sha256(self._build),
            "weights_sha256": self._weights_sha256,
            **{name: getattr(settings, name) for name in options},
            "device": self._device.type,
            **{name: version(name) for name in ("scikit-learn", "timm", "torch")},
        }

    def tuned(self) -> HeadReport:
        """Tune the head."""
        settings = self._settings
        validation = self.store.features("validation", self._tables["validation"].ids)
        stop, told = halves(validation.labels, validation.ranks)
        k = settings.k // 2
        deciding = Judge(validation.at(stop), k, settings.seed)
        telling = Judge(validation.at(told), k, settings.seed)
        before = self._head_of_labels()
        after, images, how = (
            self._tuned_by_descent(deciding) if settings.method == "sgd" else self._fitted_to_ends()
        )
        return HeadReport(
            made_from=self.identity,
            names=self._names,
            images=images,
            how=how,
            scores={"before": telling.scores(before), "after": telling.scores(after)},
            along={"before": telling.along(before), "after": telling.along(after)},
            head=self._head_of_outputs(after),
        )

    def _tuned_by_descent(self, judge: Judge) -> tuple[nn.Linear, int, list[Standing]]:
        settings = self._settings
        features = self.store.features("train", self._chosen())
        head = self._head_of_labels()
        values = features.values.to(self._device)
        labels = torch.from_numpy(features.labels).to(self._device)
        recipe = Recipe(
            settings.learning_rate, settings.epochs, settings.stop_gap / 100, settings.seed
        )
        with self._reporter.track("epochs", settings.epochs) as advance:

            def judged(head: nn.Linear) -> Standing:
                advance(1)
                return judge.standing(head)

            standings = tune(head, values, labels, recipe, judged)
        return head, len(features), standings

    def _chosen(self) -> list[str]:
        """Return the ids of the images that the head is tuned on."""
        settings, table = self._settings, self._tables["train"]
        labels, ranks, count = table.labels, table.ranks, settings.per_class
        is_ranked = ranks != NO_RANK
        if settings.choose == "least-spurious":
            places = least_spurious(labels, ranks, count)
        elif settings.choose == "random":
            places = at_random(labels, is_ranked, count, settings.seed)
        else:
            places = at_random(labels, self._wrong(table), count, settings.seed)
        chosen = np.bincount(labels[places], minlength=labels.max() + 1)
        fewer = int((chosen[np.unique(labels[is_ranked])] < count).sum())
        if fewer:
            self._reporter.say(f"{fewer:,} ranked classes have fewer than {count:,} such images.")
        if not len(places):
            raise BuildError(f"No image is {settings.choose}: use another --choose.")
        if settings.also_unranked:
            others = at_random(labels, ~is_ranked, count, settings.seed)
            places = np.concatenate([places, others])
        return table.at(places)

    def _wrong(self, table: _Table) -> npt.NDArray[np.bool_]:
        """Return which images of ranked classes the model gets wrong."""
        features = self.store.features("train", table.at(np.flatnonzero(table.ranks != NO_RANK)))
        right = Judge(features, self._settings.k, self._settings.seed).right(self._head_of_labels())
        wrong = {image for image, fits in zip(features.image_ids, right, strict=True) if not fits}
        return np.array([image in wrong for image in table.ids])

    def _fitted_to_ends(self) -> tuple[nn.Linear, int, Fitted]:
        settings, table = self._settings, self._tables["train"]
        groups = ends_of_classes(table.labels, table.ranks, settings.per_class, settings.seed)
        chosen = np.concatenate([end for ends in groups.values() for end in ends])
        if len(chosen) < 4 * len(groups):
            raise BuildError(
                "--method dfr needs four images of each class, to fit to half of either end: use a "
                "larger --per-class, or a data set of more images."
            )
        features = self.store.features("train", table.at(chosen))
        place = {image: row for row, image in enumerate(features.image_ids)}
        rows = {
            label: [np.array([place[image] for image in table.at(end)]) for end in ends]
            for label, ends in groups.items()
        }
        with self._reporter.track("fits") as advance:
            fitted = fit_dfr(
                features.values.numpy(), rows, settings.fits, settings.seed, advance=advance
            )
        head = self._head_of_labels()
        weight, bias = torch.zeros_like(head.weight), torch.full_like(head.bias, NEVER)
        labels = torch.from_numpy(fitted.labels)
        weight[labels] = torch.from_numpy(fitted.weight).to(weight)
        bias[labels] = torch.from_numpy(fitted.bias).to(bias)
        return _linear(weight, bias), len(features), fitted

    def _head_of_labels(self) -> nn.Linear:
        """Return a copy of the model's own head, with an output for each label."""
        return _linear(self._own.weight[self._outputs], _bias(self._own)[self._outputs])

    def _head_of_outputs(self, head: nn.Linear) -> Head:
        """Return a head with the outputs of the model, those that are labels from another head."""
        weight, bias = self._own.weight.clone(), _bias(self._own).clone()
        weight[self._outputs], bias[self._outputs] = head.weight.detach(), head.bias.detach()
        return Head(weight, bias, self._settings.model, self._weights_sha256)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    head = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    head.weight = nn.Parameter(weight.detach().clone())
    head.bias = nn.Parameter(bias.detach().clone())
    return head


def _bias(head: nn.Linear) -> Tensor:
    """Return a head's bias: one that has none adds nothing."""
    return head.bias if head.bias is not None else head.weight.new_zeros(head.out_features)


def _table(build: si.Build, split: str) -> _Table:
    table = build.scan("masks", build.split(split), ["image_id", "label", "spuriosity_rank"])
    ranks = table["spuriosity_rank"].fill_null(NO_RANK).to_numpy().astype(np.int64)
    labels = table["label"].to_numpy().astype(np.int64)
    return _Table(table["image_id"].to_pylist(), labels, ranks)


def _check_k(table: _Table, k: int) -> None:
    counts = np.bincount(table.labels[table.ranks != NO_RANK])
    counts = counts[counts > 0]
    if not len(counts):
        raise BuildError(
            "No class of the data set has a spurious feature, so nothing is ranked: tune on a data "
            "set that has some."
        )
    if counts.min() < 2 * k:
        raise BuildError(
            f"--k {k} takes {2 * k} validation images of each ranked class, and one has "
            f"{counts.min()}: use --k {max(2, counts.min() // 2)} or less, or more images."
        )
