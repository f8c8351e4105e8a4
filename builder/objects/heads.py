"""Heads that are fine-tuned before models are evaluated with them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

import salient_imagenet_1m as si
from builder.dataset.configs import SEGMENTATIONS
from builder.errors import BuildError
from builder.evaluate.claim import HEADS, WORK, check_claim, read_claim
from builder.evaluate.classifier import ReadyClassifier
from builder.evaluate.evaluator import data_sha256
from builder.evaluate.features import Encoder, FeatureStore
from builder.evaluate.models import Entry, load_classifier
from builder.network.devices import be_exact, find_devices
from builder.network.head import Head, find_head, write_head
from builder.objects.fine_tuning import Recipe, fine_tune
from builder.objects.hard_imagenet import HardImageNet
from builder.reporter import Reporter
from builder.settings.evaluation import Evaluation
from builder.storage.files import (
    disk_errors_as_sentences,
    exclusive,
    make_directory,
    require_directory,
)

TRAIN = "train"
"""The split that heads are trained on, and not tested on."""

NEVER = -1e4
"""The logit of a class that a head does not know: its probability is 0."""

_FEATURES = "features"


@dataclass(frozen=True)
class _Lesson:
    """What heads are trained on.

    Attributes
    ----------
    build : Build
    ids : list of str
        Of training images that have an object mask, and whose class is tested.
    classes : list of int
        Labels of the tested classes.
    identity : dict
        What is known of the evaluation before heads are.
    """

    build: si.Build
    ids: list[str]
    classes: list[int]
    identity: dict[str, Any]


def with_fine_tuned(
    settings: Evaluation, entries: Sequence[Entry], reporter: Reporter
) -> list[Entry]:
    """Return the models, and each again with a head that is trained unless it is there already.

    Parameters
    ----------
    settings : Evaluation
    entries : sequence of Entry
    reporter : Reporter

    Raises
    ------
    BuildError
        If training images have no object masks, or not of all tested classes.
    """
    require_directory(settings.out)
    lesson = _lesson(settings)
    with disk_errors_as_sentences(settings.out):
        # What a claim tells of models is compared when their heads are there.
        claimed = read_claim(settings.out) or {"models": {}}
        check_claim(settings.out, {**claimed, **lesson.identity})
        with _held(settings):
            tuned = [
                entry._replace(head=_head(settings, entry, lesson, reporter))
                for entry in entries
                if entry.head is None
            ]
    return [*entries, *map(_titled, tuned)]


def _held(settings: Evaluation) -> AbstractContextManager[None]:
    """Hold the directory of heads while some may be written, so that tasks train none twice."""
    if settings.finalise_only:
        return nullcontext()
    make_directory(settings.out / HEADS)
    return exclusive(settings.out / HEADS, wait=True)


def planned(settings: Evaluation, entries: Sequence[Entry]) -> list[Entry]:
    """Return as many models as `with_fine_tuned`, without training: those that take as long."""
    _lesson(settings)
    return [*entries, *(_titled(entry) for entry in entries if entry.head is None)]


def _titled(entry: Entry) -> Entry:
    return entry._replace(title=f"{entry.title or entry.name}, head fine-tuned")


def _lesson(settings: Evaluation) -> _Lesson:
    build = si.Build.open(settings.data)
    tested = build.split(settings.split)
    if tested == TRAIN:
        raise BuildError(
            "--head-finetune trains on the split train, so that nothing can be tested on it: use "
            "--split validation."
        )
    suite = HardImageNet(settings, build, tested)
    classes = sorted(set(_segmented(build, tested)["label"].to_pylist()))
    train = _segmented(build, TRAIN)
    if not len(train):
        raise BuildError(
            f"No image of the split {TRAIN} of {settings.data} has an object mask, and "
            "--head-finetune trains on these: add some with salient-imagenet segmentations, or "
            "leave it out."
        )
    missing = sorted(set(classes) - set(train["label"].to_pylist()))
    if missing:
        raise BuildError(
            f"--head-finetune needs training images with object masks of all classes, and has none "
            f"of {', '.join(map(str, missing[:5]))}{', ...' if len(missing) > 5 else ''}: add some "
            "with salient-imagenet segmentations, or leave it out."
        )
    own = train.filter(pc.is_in(train["label"], pa.array(classes, train["label"].type)))
    identity = {"data": data_sha256(build), "split": tested, **suite.identity}
    return _Lesson(build, own["image_id"].to_pylist(), classes, identity)


def _segmented(build: si.Build, split: str) -> pa.Table:
    """Return ids and labels of the images that have an object mask."""
    columns = ["image_id", "label"]
    is_there = build.has(SEGMENTATIONS, split)
    table = build.scan(SEGMENTATIONS if is_there else "masks", build.split(split), columns)
    return table if is_there else table.slice(0, 0)


def _head(settings: Evaluation, entry: Entry, lesson: _Lesson, reporter: Reporter) -> Path:
    """Return the file of a model's fine-tuned head, which is trained unless it is there."""
    device, recipe = find_devices(settings.device)[0], Recipe(seed=settings.seed)
    be_exact(device)
    classifier = load_classifier(*entry)
    made_from = {"data": data_sha256(lesson.build), "weights_sha256": classifier.weights_sha256}
    path = settings.out / HEADS / _name(entry, made_from, lesson, recipe, device)
    if path.exists():
        return path
    if settings.finalise_only:
        raise BuildError(
            f"The head of {entry.title} is not fine-tuned yet: run the tasks, or leave out "
            "--finalise-only."
        )
    own = find_head(classifier.name, classifier.model, classifier.view.size)
    count = len(lesson.build.features("masks", TRAIN)["label"].names)
    ready = ReadyClassifier(classifier, lesson.build.wnids(TRAIN), count, device)
    ready.to(device)
    directory = settings.out / WORK / _FEATURES
    store = FeatureStore(Encoder(ready, own), made_from, settings, directory, device, reporter)
    features = store.features(TRAIN, lesson.ids)
    labels = torch.searchsorted(torch.tensor(lesson.classes), torch.from_numpy(features.labels))
    with reporter.track("fine-tuning"):
        head = fine_tune(
            features.values.to(device), labels.to(device), len(lesson.classes), recipe
        ).cpu()
    weight = torch.zeros(own.out_features, own.in_features)
    bias = torch.full((own.out_features,), NEVER)
    outputs = [ready.labels[label] if ready.labels else label for label in lesson.classes]
    weight[outputs], bias[outputs] = head.weight, head.bias
    write_head(path, Head(weight, bias, entry.name, made_from["weights_sha256"]))
    return path


def _name(
    entry: Entry,
    made_from: dict[str, str],
    lesson: _Lesson,
    recipe: Recipe,
    device: torch.device,
) -> str:
    """Return a name of all that the head depends on."""
    depends_on: dict[str, Any] = {
        **made_from,
        "ids": lesson.ids,
        "classes": lesson.classes,
        "recipe": asdict(recipe),
        "device": device.type,
        **{name: version(name) for name in ("timm", "torch", "torchvision")},
    }
    digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', entry.name)}-{digest[:16]}.safetensors"
