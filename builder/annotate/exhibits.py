"""What people see of a pair when they vote on it: pictures, made ahead and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from builder.annotate.attacks import STEP_LENGTH, STEPS
from builder.annotate.candidates import Candidate, PairName, read_candidates
from builder.annotate.panels import draw_panel
from builder.annotate.pictures import BATCH_SIZES, Job, PictureMaker, Pictures, jpeg
from builder.errors import BuildError
from builder.images.loader import Batch, Loader, batches_of
from builder.network.analysis import Predictor
from builder.network.devices import find_device
from builder.network.inference import Inference, open_inference, open_network
from builder.reporter import Reporter
from builder.settings.network import NetworkSettings
from builder.storage.files import atomic_write, disk_errors_as_sentences
from builder.storage.objects import saved_object

EXAMPLES = 5
"""Images that show what a class is."""

_VERSION = 1
"""Of the pictures; another one makes them anew."""

KINDS = ("image", "heat", "attack")

_NONE = np.empty(0, np.int64)

_GONE = "it is not among the images any more"

_Row = dict[str, Any]
"""What a record has of an image."""


@dataclass(frozen=True)
class Shown:
    """An image of a pair and what is shown of it.

    Attributes
    ----------
    image_id : str
    image, heat, attack : Path, optional
        JPEGs of 224 x 224: what the network sees of the image, its heat map, and the image after
        the feature attack; None where there is no picture, as of an attack in a panel.
    activation, attacked : float
        Of the feature, before and after the attack.
    unmoved : bool
        Whether the attack had no gradient to follow, and left the image as it is.
    problem : str, optional
        What is wrong with the image, such as that it is gone since.
    """

    image_id: str
    image: Path | None = None
    heat: Path | None = None
    attack: Path | None = None
    activation: float = 0.0
    attacked: float = 0.0
    unmoved: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class Exhibit:
    """What a pair is shown with.

    Attributes
    ----------
    images : tuple of Shown
        Those of the class that activate the feature most, the first the most; five, or fewer where
        the feature is silent in the others.
    """

    images: tuple[Shown, ...]


@dataclass(frozen=True)
class Panel:
    """By what people judge whether a feature means the same where its maps are trusted.

    The images of the class are those of the top 20 % by the activation of the feature.

    Attributes
    ----------
    highest, middle, lowest : tuple of Shown
        The five that activate it most, five drawn at random from between, and the five that
        activate it least, each in falling order; a third of the images each where they are fewer
        than 15.
    zone : int
        How many images the top 20 % are.
    """

    highest: tuple[Shown, ...]
    middle: tuple[Shown, ...]
    lowest: tuple[Shown, ...]
    zone: int

    @property
    def images(self) -> tuple[Shown, ...]:
        """All of them."""
        return self.highest + self.middle + self.lowest


class Exhibits:
    """The pictures of pairs and classes, in a cache on disk.

    A picture is known by the network's weights, the content of the image's file and the feature, so
    that several networks and tables may share a directory. What is there is there whole.

    Parameters
    ----------
    directory : Path
        Of the cache.
    inference : Inference
        The network and the images.
    candidates : sequence of Candidate
        The pairs.
    batch_size : int, optional
        Images that are attacked at a time; by default 5 on a CPU and 64 on CUDA.

    Attributes
    ----------
    network : Network
    candidates : dict of (str, int) to Candidate
        The pairs, by class and feature, in their order.
    """

    def __init__(
        self,
        directory: Path,
        inference: Inference,
        candidates: Sequence[Candidate],
        batch_size: int | None = None,
    ) -> None:
        self.network = inference.network
        self.candidates = {pair.key: pair for pair in candidates}
        self._labels = {pair.wnid: pair.label for pair in candidates}
        self._inference = inference
        self._maker = PictureMaker(inference, batch_size or BATCH_SIZES[self.network.device.type])
        self._directory = directory / _hash(
            _VERSION, self.network.weights_sha256, self.network.precision, STEPS, STEP_LENGTH
        )
        self._by_label = _group(inference.plan.order, inference.plan.labels)

    def get(self, pair: PairName) -> Exhibit | None:
        """Return what a pair is shown with, or None while it is not made, or where it is no pair.

        An image that is gone since it was made is shown as it was, and has a `problem`.
        """
        record = self._record("exhibits", pair)
        images = self._shown(record, pair, has_attack=True) if record else None
        return None if images is None else Exhibit(tuple(images))

    def panel(self, pair: PairName) -> Panel | None:
        """Return the panel of a pair, or None while it is not made, or where it is no pair."""
        record = self._record("panels", pair)
        images = self._shown(record, pair, has_attack=False) if record else None
        if record is None or images is None:
            return None
        rest = iter(images)
        highest, middle, lowest = (tuple(islice(rest, count)) for count in record["parts"])
        return Panel(highest, middle, lowest, record["zone"])

    def examples(self, wnid: str) -> list[Path] | None:
        """Return JPEGs of five images of a class at most, or None while they are not made."""
        if wnid not in self._labels:
            return None
        record = saved_object(self._examples_file(wnid))
        files = [self._example(digest) for digest in record["images"]] if record else []
        return files if record and all(file.is_file() for file in files) else None

    def missing(self) -> list[str]:
        """Return the ids of top images that are not among the images, in the order of the pairs."""
        return [
            name
            for label, pairs in groupby(self.candidates.values(), key=lambda pair: pair.label)
            for members in [self._members(label)]
            for pair in pairs
            for name in pair.images
            if name not in members
        ]

    def make(self, pairs: Iterable[PairName], reporter: Reporter, *, panels: bool = True) -> None:
        """Make what is missing: examples of classes, then exhibits in the order given, then panels.

        Whatever ends it, what is made stays, and the next call goes on. Images that could not be
        used are tried again.

        Parameters
        ----------
        pairs : iterable of (str, int)
            Some of `candidates`.
        reporter : Reporter
        panels : bool
            Whether to make panels too, for which the network runs over all images of the classes.

        Raises
        ------
        BuildError
            If the disk is full, say, or the device has too little memory.
        """
        chosen = [self.candidates[pair] for pair in pairs]
        with disk_errors_as_sentences(self._directory):
            self._make_examples(chosen, reporter)
            self._make_exhibits(chosen, reporter)
            if panels:
                self._make_panels(chosen, reporter)

    def _make_examples(self, pairs: list[Candidate], reporter: Reporter) -> None:
        wnids = dict.fromkeys(pair.wnid for pair in pairs)
        missing = [wnid for wnid in wnids if self.examples(wnid) is None]
        loader = Loader(self._inference.images, self._inference.plan)
        tops = {name for pair in self.candidates.values() for name in pair.images}
        with reporter.track("examples of classes", len(missing)) as advance:
            for wnid in missing:
                members = self._members(self._labels[wnid])
                # Preferably none that are shown as top images.
                names = sorted(members, key=lambda name: name in tops)[:EXAMPLES]
                loaded = loader(Batch(0, np.array([members[name] for name in names], np.int64)))
                for content, pixels in zip(loaded.contents, loaded.pixels.numpy(), strict=True):
                    _write(self._example(content.digest), jpeg(pixels))
                digests = [content.digest for content in loaded.contents]
                _save(self._examples_file(wnid), {"images": digests})
                advance(1)

    def _make_exhibits(self, pairs: list[Candidate], reporter: Reporter) -> None:
        missing = [pair for pair in pairs if self._lacks(pair, self.get(pair.key))]
        rows: list[_Row] = []
        total = sum(len(pair.images) for pair in missing)
        with reporter.track("pictures of features", total) as advance:
            for pair, own in self._pictures([(pair, pair.images) for pair in missing], attack=True):
                _save(self._file("exhibits", pair.key), {"images": own})
                rows += own
                advance(len(own))
        _tell(rows, reporter)

    def _make_panels(self, pairs: list[Candidate], reporter: Reporter) -> None:
        missing: defaultdict[int, list[Candidate]] = defaultdict(list)
        for pair in pairs:
            if self._lacks(pair, self.panel(pair.key)):
                missing[pair.label].append(pair)
        total = sum(len(self._by_label.get(label, ())) for label in missing)
        with reporter.track("images for panels", total) as advance:
            for seen in self._see(list(missing), advance):
                drawn = {
                    pair: draw_panel(seen.names, seen.activations[:, pair.feature])
                    for pair in missing[seen.label]
                }
                wanted = [(pair, panel.names) for pair, panel in drawn.items()]
                for pair, rows in self._pictures(wanted, attack=False):
                    panel = drawn[pair]
                    record = {"images": rows, "parts": panel.parts, "zone": panel.zone}
                    _save(self._file("panels", pair.key), record)

    def _see(self, labels: list[int], advance: Callable[[int], None]) -> Iterator[_Seen]:
        """Run the network over all images of classes, one class after the other."""
        size = self._inference.batch_size
        batches = [
            (label, batch)
            for label in labels
            for batch in batches_of(self._by_label.get(label, _NONE), size)
        ]
        found = self._inference.run(Predictor(self.network), [batch for _, batch in batches])
        seen = zip((label for label, _ in batches), found, strict=True)
        for label, group in groupby(seen, key=lambda item: item[0]):
            predictions = [prediction for _, prediction in group]
            advance(sum(len(each.members) + len(each.set_aside) for each in predictions))
            members = np.concatenate([each.members for each in predictions])
            yield _Seen(
                label,
                self._inference.plan.ids.take(pa.array(members)).to_pylist(),
                np.concatenate([each.activations for each in predictions]),
            )

    def _pictures(
        self, wanted: Sequence[tuple[Candidate, Sequence[str]]], *, attack: bool
    ) -> Iterator[tuple[Candidate, list[_Row]]]:
        """Make and keep the pictures of images of pairs, and yield what records have of them."""
        jobs = [self._jobs(pair, names) for pair, names in wanted]
        made = self._maker.make([list(own.values()) for own in jobs], attack=attack)
        for (pair, names), own in zip(wanted, jobs, strict=True):
            results = ((name, next(made) if name in own else _GONE) for name in names)
            yield pair, [self._keep(name, pair, result) for name, result in results]

    def _jobs(self, pair: Candidate, names: Sequence[str]) -> dict[str, Job]:
        """Return what is to be made of images of a pair, by id, without those that are gone."""
        members = self._members(pair.label)
        return {name: Job(members[name], pair.feature) for name in names if name in members}

    def _lacks(self, pair: Candidate, found: Exhibit | Panel | None) -> bool:
        """Whether there is something to make, or to try again since the image is there."""
        if found is None:
            return True
        unmade = [shown.image_id for shown in found.images if shown.image is None]
        return bool(unmade and self._jobs(pair, unmade))

    def _keep(self, name: str, pair: Candidate, made: Pictures | str) -> _Row:
        if isinstance(made, str):
            return {"image_id": name, "problem": made}
        for kind, content in zip(KINDS, (made.image, made.heat, made.attack), strict=True):
            if content:  # A panel has no attacks.
                _write(self._picture(pair.feature, made.digest, kind), content)
        return {
            "image_id": name,
            "problem": None,
            "digest": made.digest,
            "stamp": made.stamp,
            "activation": made.activation,
            "attacked": made.attacked,
            "unmoved": made.unmoved,
        }

    def _shown(
        self, record: dict[str, Any], pair: PairName, *, has_attack: bool
    ) -> list[Shown] | None:
        """Return what a record has of images; None where pictures are gone or images others."""
        members = self._members(self._labels[pair[0]])
        shown = []
        for row in record["images"]:
            name, problem = row["image_id"], row["problem"]
            if problem:
                shown.append(Shown(name, problem=problem))
                continue
            try:
                if self._inference.images.stat(members[name]).stamp != row["stamp"]:
                    return None
            except (KeyError, OSError):
                problem = _GONE
            image, heat, attack = (self._picture(pair[1], row["digest"], kind) for kind in KINDS)
            if not all(file.is_file() for file in (image, heat, *[attack] * has_attack)):
                return None
            shown.append(
                Shown(
                    name,
                    image,
                    heat,
                    attack if has_attack else None,
                    row["activation"],
                    row["attacked"],
                    row["unmoved"],
                    problem,
                )
            )
        return shown

    def _members(self, label: int) -> dict[str, int]:
        """Return the positions in the listing of the images of a class, by id, in their order."""
        members = self._by_label.get(label, _NONE)
        names = self._inference.plan.ids.take(pa.array(members, pa.int64())).to_pylist()
        return dict(zip(names, members.tolist(), strict=True))

    def _record(self, kind: str, pair: PairName) -> dict[str, Any] | None:
        return saved_object(self._file(kind, pair)) if pair in self.candidates else None

    def _file(self, kind: str, pair: PairName) -> Path:
        """Return where the record of a pair lies; a panel depends on all images of the class."""
        candidate = self.candidates[pair]
        names = candidate.images if kind == "exhibits" else tuple(self._members(candidate.label))
        return self._directory / kind / f"{_hash(*pair, *names)}.json"

    def _examples_file(self, wnid: str) -> Path:
        names = self._members(self._labels[wnid])
        return self._directory / "examples" / f"{_hash(wnid, *names)}.json"

    def _example(self, digest: str) -> Path:
        return self._directory / "examples" / f"{digest}.jpg"

    def _picture(self, feature: int, digest: str, kind: str) -> Path:
        return self._directory / "pictures" / str(feature) / digest / f"{kind}.jpg"


class _Seen(NamedTuple):
    """What the network made of the images of a class."""

    label: int
    names: list[str]
    activations: npt.NDArray[np.float32]


def open_exhibits(
    settings: NetworkSettings, table: Path, directory: Path, reporter: Reporter
) -> Exhibits:
    """Open network, images and table, and see that they belong together.

    Parameters
    ----------
    settings : NetworkSettings
    table : Path
        That `discover` wrote.
    directory : Path
        Of the cache of pictures; made where it is missing.
    reporter : Reporter
        Also told which images of the table are gone since.

    Returns
    -------
    Exhibits

    Raises
    ------
    BuildError
        If one of them cannot be used, or the table is of another network, or of other images.
    """
    candidates = read_candidates(table)
    inference = open_inference(
        settings, open_network(settings, find_device(settings.device)), reporter
    )
    for pair in candidates:
        _check(pair, inference, settings, table)
    exhibits = Exhibits(directory, inference, candidates, settings.batch_size)
    missing, images = exhibits.missing(), sum(len(pair.images) for pair in candidates)
    if missing:
        said = (
            f"{settings.images} lacks {len(missing):,} of the {images:,} images that {table} "
            f"names, such as {missing[0]}"
        )
        if len(missing) == images:
            raise BuildError(f"{said}: check --images and --split.")
        reporter.say(f"{said}.")
    return exhibits


def _check(pair: Candidate, inference: Inference, settings: NetworkSettings, table: Path) -> None:
    """See that a pair is of the network and the images."""
    network = inference.network
    label = inference.labels.get(pair.wnid)
    if label != pair.label:
        there = "has no such class" if label is None else f"has it as {label}"
        raise BuildError(
            f"{table} has the class {pair.wnid} as {pair.label}, and {settings.images} {there}: "
            "check --images, --split and --classes."
        )
    if pair.feature >= network.channels:
        raise BuildError(
            f"{table} has the feature {pair.feature} and {network.name} the features 0 to "
            f"{network.channels - 1}: check --network."
        )
    weight = float(network.head_weight[pair.label, pair.feature])
    if not np.isclose(weight, pair.weight, rtol=1e-4, atol=1e-7):
        raise BuildError(
            f"{table} is of other weights than {network.name} has here: of the class {pair.wnid} "
            f"the weight of feature {pair.feature} is {pair.weight:g} there, and {weight:g} here; "
            "check --network and --checkpoint."
        )


def _group(
    order: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> dict[int, npt.NDArray[np.int64]]:
    """Return the positions in the listing of the images of each label, in the order of the plan."""
    by_label = np.argsort(labels[order], kind="stable")
    values, starts = np.unique(labels[order][by_label], return_index=True)
    groups = np.split(order[by_label], starts[1:])
    return dict(zip(values.tolist(), groups, strict=True))


def _tell(rows: list[_Row], reporter: Reporter) -> None:
    """Say which pictures could not be made."""
    problems = [row for row in rows if row["problem"]]
    if problems:
        first = problems[0]
        reporter.say(
            f"{len(problems):,} of {len(rows):,} images cannot be shown; of the first, "
            f"{first['image_id']}: {first['problem']}."
        )
    unmoved = sum(row.get("unmoved", False) for row in rows)
    if unmoved:
        reporter.say(
            f"The feature attack has no gradient to follow in {unmoved:,} of {len(rows):,} images, "
            "and leaves them as they are."
        )


def _hash(*values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def _save(path: Path, record: dict[str, Any]) -> None:
    _write(path, json.dumps(record).encode())


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)
