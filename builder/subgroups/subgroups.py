"""The main job of subgroups: a data set and a model in, memberships and a report out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import salient_imagenet_1m as si
from builder.dataset.configs import EMBEDDINGS
from builder.dataset.votes import read_votes
from builder.errors import BuildError
from builder.evaluate.classifier import Classifier, ReadyClassifier
from builder.evaluate.evaluator import data_sha256
from builder.evaluate.features import FEATURES, Encoding, FeatureStore
from builder.evaluate.models import load_classifier, parse_model
from builder.network.devices import be_exact, find_device
from builder.network.head import find_head
from builder.reporter import Reporter
from builder.settings.subgrouping import Subgrouping
from builder.storage.claim import claim
from builder.storage.files import (
    disk_errors_as_sentences,
    exclusive,
    make_directory,
    remove_directory,
    require_directory,
    sha256_of,
)
from builder.subgroups.clip import Clip, read_words
from builder.subgroups.decomposition import Decomposer
from builder.subgroups.examiner import ANSWERS, Examiner
from builder.subgroups.groups import Division, divide
from builder.subgroups.names import Word, named_by, words_along
from builder.subgroups.output import read_summary, write_report
from builder.subgroups.page import make_page
from builder.subgroups.report import Component, DividedClass, Report, ends_of
from builder.subgroups.tables import (
    Answers,
    Embeddings,
    FeatureTables,
    StoredFeatures,
    classes_with_features,
    read_answers,
    read_images,
    read_pairs,
)
from builder.subgroups.thumbnails import make_thumbnails
from builder.threads import in_threads, usable_cores

CLAIM_FILE = "subgroups.json"
"""What subgroups are found from; it is written first, and only the same goes on there."""

_LIBRARIES = ("numpy", "scikit-learn", "timm", "torch")


def find_subgroups(settings: Subgrouping, reporter: Reporter) -> dict[str, Any]:
    """Divide each class of a split into subgroups, and write who belongs to which.

    Parameters
    ----------
    settings : Subgrouping
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
    with disk_errors_as_sentences(settings.out):
        opened = _Opened(settings, reporter)
        make_directory(settings.out)
        with exclusive(settings.out):
            claim(settings.out, CLAIM_FILE, opened.identity, "set of subgroups")
            found = read_summary(settings.out)
            if found is not None:
                reporter.say(f"Nothing to do: {settings.out} already holds these very subgroups.")
                return found
            report = opened.report()
            pictures = make_thumbnails(settings, report, reporter)
            write_report(settings.out, settings.split, report, make_page(report, pictures))
            remove_directory(settings.out / FEATURES)
    return report.summary()


class _Opened:
    """The opened inputs."""

    def __init__(self, settings: Subgrouping, reporter: Reporter) -> None:
        self._settings, self._reporter = settings, reporter
        self._device = find_device(settings.device)
        be_exact(self._device)
        self._build = si.Build.open(settings.data)
        self._split = self._build.split(settings.split)
        self._names = self._build.features("masks", self._split)["label"].names
        self._check_votes()
        self._words = read_words(settings.words) if settings.words else []
        self._space = self._space_asked_for()
        self._images = read_images(self._build, self._split)
        self._pairs = read_pairs(self._build, self._split, settings.votes)
        self._clip = Clip(settings.clip, self._device) if settings.clip else None
        name, own = parse_model(settings.model)
        weights: Sequence[Path | None] = settings.checkpoint or [own]
        self._classifiers = [load_classifier(name, file) for file in weights]

    def _check_votes(self) -> None:
        votes = self._settings.votes
        told = self._build.manifest["origin"]["votes_sha256"]
        if votes and read_votes(votes, 1).sha256 != told:
            raise BuildError(f"{votes} are not the votes of {self._settings.data}: check --votes.")

    def _space_asked_for(self) -> str:
        """Return the name of the features that images are compared in."""
        asked, there = self._settings.features, self._build.has(EMBEDDINGS, self._split)
        if asked == "embeddings" and not there:
            raise BuildError(
                f"{self._settings.data} keeps no embeddings of {self._split}: use --features "
                "model, or build with --keep-embeddings."
            )
        return asked or ("embeddings" if there else "model")

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that subgroups and report depend on."""
        settings = self._settings
        own = {"dim": ("ends", "loss_weight"), "pca": ("ends",)}
        options = ("model", "split", "method", "components", *own.get(settings.method, ()), "seed")
        return {
            "data": data_sha256(self._build),
            "weights_sha256": [classifier.weights_sha256 for classifier in self._classifiers],
            **{name: getattr(settings, name) for name in options},
            "features": self._space,
            "features_sha256": self._clip.weights_sha256 if self._clip else None,
            "pictures": settings.pictures,
            **{
                f"{name}_sha256": sha256_of(path) if path else None
                for name, path in (("votes", settings.votes), ("words", settings.words))
            },
            "device": self._device.type,
            **{name: version(name) for name in _LIBRARIES},
        }

    def report(self) -> Report:
        """Divide all classes, and tell what their components show."""
        answers, tables = self._seen()
        settings = self._settings
        decomposer = Decomposer(
            settings.method,
            settings.components,
            settings.ends,
            settings.loss_weight,
            settings.seed,
        )
        total = len(np.unique(self._images.labels))
        # One thread of algebra to each class: sums are in the same order however many cores.
        with threadpool_limits(1), self._reporter.track("subgroups of classes", total) as advance:
            work = partial(self._divided, decomposer, answers)
            classes = classes_with_features(tables, self._images)
            divisions = []
            for division in in_threads(classes, work, usable_cores()):
                divisions.append(division)
                advance(1)
        named = self._named(divisions)
        return Report(self.identity, self._names, self._told_space(), list(named))

    def _seen(self) -> tuple[Answers, FeatureTables]:
        """Have models see all images; return what they said, and the features."""
        is_own = self._space == "model"
        files = [
            self._store(
                self._examiner(classifier, with_features=is_own and classifier is self._model),
                [classifier.weights_sha256, "answers", is_own and classifier is self._model],
            )
            for classifier in self._classifiers
        ]
        answers = read_answers(files, self._images)
        tables: FeatureTables
        if self._clip:
            files = [self._store(self._clip, [self._clip.weights_sha256, "clip"])]
            tables = StoredFeatures(files[0], 0)
        elif is_own:
            tables = StoredFeatures(files[-1], ANSWERS)
        else:
            tables = Embeddings(self._build, self._split)
        return answers, tables

    @property
    def _model(self) -> Classifier:
        return self._classifiers[-1]

    def _examiner(self, classifier: Classifier, *, with_features: bool) -> Examiner:
        head = (
            find_head(classifier.name, classifier.model, classifier.view.size)
            if with_features
            else None
        )
        wnids, classes = self._build.wnids(self._split), len(self._names)
        ready = ReadyClassifier(classifier, wnids, classes, self._device)
        ready.to(self._device)
        return Examiner(ready, head)

    def _store(self, encoder: Encoding, made_by: list[Any]) -> list[Path]:
        settings = self._settings
        made_from = {"data": data_sha256(self._build), "made_by": made_by}
        store = FeatureStore(
            encoder, made_from, settings, settings.out / FEATURES, self._device, self._reporter
        )
        return store.computed(self._split, self._images.ids)

    def _divided(
        self, decomposer: Decomposer, answers: Answers, of: tuple[int, slice, Any]
    ) -> Division:
        label, own, features = of
        return divide(
            decomposer,
            label,
            self._images.ids[own],
            features,
            answers.losses[own],
            answers.right[own],
        )

    def _named(self, divisions: list[Division]) -> Iterator[DividedClass]:
        embeddings = np.zeros((0, 0))
        if self._clip and self._words:
            embeddings = self._clip.embeddings_of(self._words).double().numpy()
        activations = dict(self._images.classes())
        for division in divisions:
            own = self._images.activations[activations[division.label]]
            features = named_by(self._pairs[division.label], own, division.decomposition.scores)
            components = []
            for place, named in enumerate(features):
                high, low = ends_of(division, place)
                words = self._words_of(division, place, embeddings)
                components.append(Component(named, high, low, *words))
            yield DividedClass(division, components)

    def _words_of(
        self, division: Division, place: int, embeddings: Any
    ) -> tuple[list[Word], list[Word]]:
        directions = division.decomposition.directions
        if directions is None or not self._words:
            return [], []
        return words_along(directions[place], self._words, embeddings)

    def _told_space(self) -> str:
        told = {
            "model": f"what {self._settings.model} hands to its head",
            "embeddings": "the activations that the build kept",
        }
        return told.get(self._space, f"the embeddings of {self._space}")
