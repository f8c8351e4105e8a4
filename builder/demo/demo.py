"""The demo: from nothing to a data set whose truth is known, by the builder's own commands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from numpy.typing import NDArray

from builder.annotate.candidates import Candidate, read_candidates
from builder.annotate.discover import discover
from builder.dataset.votes import Vote, write_votes
from builder.demo.annotators import Crowd, cast_votes, hot_shares, regions_of
from builder.demo.recovery import (
    DRAWS,
    GOALS,
    Evidence,
    Recovery,
    core_shares,
    gather,
    recover,
    render,
    score_rows,
)
from builder.demo.training import Recipe, train_networks
from builder.demo.world import (
    CUES,
    TRUTH_FILE,
    Truth,
    World,
    read_truth,
    write_world,
)
from builder.errors import BuildError
from builder.evaluate.conditions import CLEAN
from builder.evaluate.evaluation import Results, evaluate_model
from builder.evaluate.measures import overall
from builder.evaluate.models import load_classifier
from builder.images.loader import Batch, LoadedBatch
from builder.network.inference import Inference, open_inference, open_network
from builder.pages.gallery import make_gallery
from builder.pages.views import GroundTruth
from builder.reporter import Reporter, SilentReporter
from builder.run.build import build
from builder.settings.annotation import Search
from builder.settings.build import Settings
from builder.settings.gallery import GallerySettings
from builder.settings.network import NetworkSettings
from builder.storage.files import (
    atomic_write,
    disk_errors_as_sentences,
    exclusive,
    require_directory,
)
from builder.storage.objects import saved_object
from salient_imagenet_1m import encode_grids

NETWORK = "small-convnet"
SPLITS = ("train", "validation")

CORRUPTION = "gray"
"""Noise would not hide a thing from networks that begin with the mean of 16 pixels."""

_DEAD = 1e-3
"""A feature whose maps never get higher is not alive."""


@dataclass(frozen=True)
class Folder:
    """What lies where in the demo's directory, in the order in which it is made."""

    root: Path

    @property
    def settings(self) -> Path:
        """What the demo was run with."""
        return self.root / "demo.json"

    @property
    def images(self) -> Path:
        """The planted images, laid out like ImageNet."""
        return self.root / "images"

    @property
    def robust(self) -> Path:
        """Weights of the robust network."""
        return self.root / "robust.pt"

    @property
    def plain(self) -> Path:
        """Weights of the network that was trained plainly."""
        return self.root / "plain.pt"

    @property
    def features(self) -> Path:
        """The table of each class's features, from which annotation starts."""
        return self.root / "features.csv"

    @property
    def definitions(self) -> Path:
        """What each class is, in words, for people who vote."""
        return self.root / "definitions.txt"

    @property
    def votes(self) -> Path:
        """The votes of the simulated workers."""
        return self.root / "votes.csv"

    @property
    def dataset(self) -> Path:
        """The data set."""
        return self.root / "dataset"

    @property
    def gallery(self) -> Path:
        """The page for people."""
        return self.root / "gallery.html"

    @property
    def report(self) -> Path:
        """The numbers."""
        return self.root / "report.json"


@dataclass
class Clock:
    """Seconds by step of this run."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Note the duration of the block."""
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start


def run_demo(
    out: Path, world: World, reporter: Reporter, recipe: Recipe | None = None
) -> dict[str, Any]:
    """Run the demo, or go on where an earlier run stopped.

    Parameters
    ----------
    out : Path
        A new directory, or one of an earlier run of the same demo.
    world : World
    reporter : Reporter
    recipe : Recipe, optional
        How the networks are trained; by default as `Recipe` says, with the world's seed.

    Returns
    -------
    dict
        The report, as in report.json.

    Raises
    ------
    BuildError
        If the directory cannot be used.
    """
    folder = Folder(out)
    recipe = recipe or Recipe(seed=world.seed)
    with disk_errors_as_sentences(out):
        _check(folder)
        out.mkdir(parents=True, exist_ok=True)
        with exclusive(out):
            _claim(folder, world, recipe)
            _define(folder, world)
            report = saved_object(folder.report)
            if report is not None and "evaluation" in report:  # An earlier version's is not.
                reporter.say(f"Nothing to do: {out} already holds this very demo.")
                return report
            return _make(folder, world, recipe, reporter)


def _check(folder: Folder) -> None:
    root = folder.root
    require_directory(root)
    if root.is_dir() and any(root.iterdir()) and not folder.settings.exists():
        raise BuildError(f"{root} is not empty and holds no demo: use an empty or new --out.")


def _claim(folder: Folder, world: World, recipe: Recipe) -> None:
    """Take note of what this demo is, so that only the same is ever resumed."""
    settings = {"world": asdict(world), "recipe": asdict(recipe)}
    if not folder.settings.exists():
        with atomic_write(folder.settings) as file:
            file.write((json.dumps(settings, indent=2) + "\n").encode())
        return
    if saved_object(folder.settings) != settings:
        raise BuildError(
            f"{folder.root} holds another demo (another --seed or version): use another --out."
        )


def _define(folder: Folder, world: World) -> None:
    """Say what each class is: its wnid tells nobody, and a finished demo may be an earlier one."""
    if not folder.definitions.exists():
        names = zip(world.wnids, world.names, strict=True)
        with atomic_write(folder.definitions) as file:
            file.write("".join(f"{wnid}\ta {name}\n" for wnid, name in names).encode())


def _make(folder: Folder, world: World, recipe: Recipe, reporter: Reporter) -> dict[str, Any]:
    clock = Clock()
    # Sparse features decay towards denormal numbers, which are slow to compute with.
    torch.set_flush_denormal(True)
    with clock.time("world"), reporter.track("drawing images") as advance:
        if not (folder.root / TRUTH_FILE).exists():
            write_world(folder.root, world, advance)
    truth = read_truth(folder.root)
    with clock.time("training"), reporter.track("training a robust and a plain network"):
        _train(folder, world, recipe, truth)
    with clock.time("discover"):
        candidates = _discover(folder, reporter)
    with clock.time("votes"), reporter.track("asking five workers about each feature"):
        if not folder.votes.exists():
            _vote(folder, world, truth, candidates)
    with clock.time("build"):
        for split in SPLITS:
            options = _options(folder, folder.robust, split)
            build(Settings(**options, votes=folder.votes, out=folder.dataset), reporter)
    with clock.time("evaluation"), reporter.track("evaluating both networks"):
        evaluation = _evaluate(folder, world)
    with clock.time("recovery"), reporter.track("comparing with the truth"):
        recovery = _recover(folder, world, truth, evaluation)
    with clock.time("gallery"):
        folder.gallery.unlink(missing_ok=True)
        gallery_settings = GallerySettings(
            folder.dataset, str(folder.images), folder.gallery, votes=folder.votes
        )
        make_gallery(gallery_settings, reporter, _known(world, truth, candidates, recovery))
    report = _report(recovery, evaluation, world, clock)
    with atomic_write(folder.report) as file:
        file.write((json.dumps(report, indent=2) + "\n").encode())
    return report


def _train(folder: Folder, world: World, recipe: Recipe, truth: Truth) -> None:
    out = {"robust": folder.robust, "plain": folder.plain}
    out = {name: path for name, path in out.items() if not path.exists()}
    rows = [row for row in truth.rows.values() if row["split"] == "train"]
    paths = [folder.images / "train" / row["wnid"] / f"{row['image_id']}.JPEG" for row in rows]
    if out:
        train_networks(paths, [row["label"] for row in rows], world.classes, recipe, out)


def _discover(folder: Folder, reporter: Reporter) -> list[Candidate]:
    if not folder.features.exists():
        search = Search(**_options(folder, folder.robust, "train"), out=folder.features)
        search.template.unlink(missing_ok=True)  # Of a run that was killed; the table comes last.
        discover(search, reporter)
    return read_candidates(folder.features)


def _vote(folder: Folder, world: World, truth: Truth, candidates: list[Candidate]) -> None:
    """Show each pair's top images and maps to the workers, and write what they answer."""
    inference = _open(folder, folder.robust, "train")
    place = {name: member for member, name in enumerate(inference.plan.ids.to_pylist())}
    batches = [
        Batch(0, np.array([place[name] for name in pair.images], np.int64)) for pair in candidates
    ]
    votes: list[Vote] = []
    for pair, maps in zip(candidates, _maps(inference, batches), strict=True):
        masks = render(encode_grids(maps[:, pair.feature])[0])
        regions = np.stack([regions_of(truth.label_map(name)) for name in pair.images])
        words = (f"the {world.names[pair.label]}", "another object", "the background")
        shares = hot_shares(masks, regions)
        votes += cast_votes(pair, shares, words, Crowd(seed=world.seed))
    write_votes(folder.votes, votes)


def _evaluate(folder: Folder, world: World) -> dict[str, Results]:
    """Show both networks the validation images, clean and corrupted."""
    return {
        name: evaluate_model(
            replace(load_classifier(NETWORK, weights), name=name),
            folder.dataset,
            folder.images,
            k=_ends_of_ranking(world),
            corruption=CORRUPTION,
            device="cpu",
        )
        for name, weights in {"plain": folder.plain, "robust": folder.robust}.items()
    }


def _ends_of_ranking(world: World) -> int:
    """Return how many images of a class the gap takes at either end: a third, out of few."""
    return world.val // 3


def _recover(
    folder: Folder, world: World, truth: Truth, evaluation: dict[str, Results]
) -> Recovery:
    # Streaming, since it leaves no copy in the user's cache.
    rows = {
        split: list(load_dataset(str(folder.dataset), "masks", split=split, streaming=True))
        for split in SPLITS
    }
    pairs = list(load_dataset(str(folder.dataset), "features", split="train", streaming=True))
    shape = (world.classes, max(pair["rank"] for pair in pairs))
    voted = np.zeros(shape, np.bool_)
    for pair in pairs:
        voted[pair["label"], pair["rank"] - 1] = pair["kind"] == "spurious"
    shares = core_shares([row for split in SPLITS for row in rows[split]], truth, shape)
    correct = {name: _correct(results) for name, results in evaluation.items()}
    k = _ends_of_ranking(world)
    evidence = gather(rows["validation"], truth, correct, world.classes, k)
    ids = [row["image_id"] for row in rows["validation"]]
    random = _random_features(folder, evidence, ids, shape[1], world.seed)
    return recover(evidence, voted, shares, random, world.seed)


def _correct(results: Results) -> dict[str, bool]:
    """Return whether a network is right on each clean image, by image id."""
    return {
        row["image_id"]: row["predicted"] == row["label"]
        for row in results.predictions.to_pylist()
        if row["condition"] == CLEAN
    }


def _random_features(
    folder: Folder, evidence: Evidence, ids: list[str], features: int, seed: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Yield soft masks and activations of features drawn at random for each class."""
    inference = _open(folder, folder.robust, "validation")
    plan = inference.plan
    maps = np.concatenate(list(_maps(inference)))
    place = {plan.ids[member].as_py(): row for row, member in enumerate(plan.order)}
    maps = maps[[place[name] for name in ids]]
    # Features that matter to no class are part of the draw, those that are dead are not.
    alive = np.flatnonzero(maps.max((0, 2, 3)) > _DEAD)
    rng = np.random.default_rng(seed)
    images = np.arange(len(maps))[:, None]
    for _ in range(DRAWS):
        drawn = np.array([rng.choice(alive, features, replace=False) for _ in evidence.cues])
        chosen = maps[images, drawn[evidence.labels]]
        yield np.stack([render(encode_grids(own)[0]) for own in chosen]), chosen.mean((2, 3))


def _options(folder: Folder, weights: Path, split: str) -> dict[str, Any]:
    """Return the options of whatever runs one of the networks over images."""
    return {
        "images": str(folder.images),
        "network": NETWORK,
        "checkpoint": weights,
        "split": split,
        "device": "cpu",
    }


def _open(folder: Folder, weights: Path, split: str) -> Inference:
    settings = NetworkSettings(**_options(folder, weights, split))
    network = open_network(settings, torch.device(settings.device))
    return open_inference(settings, network, SilentReporter())


def _maps(
    inference: Inference, batches: list[Batch] | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield the maps of each batch: float32 of shape (images, channels, 14, 14)."""

    def look(batch: LoadedBatch) -> NDArray[np.float32]:
        maps: NDArray[np.float32] = inference.network(batch.pixels).maps.numpy()
        return maps

    return inference.run(look, batches)


def _known(
    world: World, truth: Truth, candidates: list[Candidate], recovery: Recovery
) -> GroundTruth:
    """Return what only a planted world can tell of its classes and images."""
    shares = recovery.core_shares
    return GroundTruth(
        title="Salient ImageNet-1M: the demo",
        names=dict(zip(world.wnids, world.names, strict=True)),
        classes={
            label: "planted cue: " + ", ".join(CUES[cue].name for cue in world.cues_of(label))
            for label in range(world.classes)
        },
        pairs={
            (pair.label, pair.feature): "truth: "
            f"{shares[pair.label, pair.rank - 1]:.0%} of it is on the {world.names[pair.label]}"
            for pair in candidates
        },
        images={
            name: ", ".join(
                f"{cue} {strength:.0%}" if strength else f"no {cue}"
                for cue, strength in truth.strengths(name).items()
            )
            for name in truth.rows
        },
        scores=score_rows(recovery),
    )


def _report(
    recovery: Recovery, evaluation: dict[str, Results], world: World, clock: Clock
) -> dict[str, Any]:
    means = {name: overall(results.scores[name]) for name, results in evaluation.items()}
    return {
        **recovery.found,
        "seconds": sum(clock.seconds.values()),
        "goals": GOALS,
        "chance": recovery.chance,
        "controls": recovery.controls,
        "verdicts": {
            name: {key: recovery.verdict(name, key) for key in scores}
            for name, scores in recovery.controls.items()
        },
        "coverage": recovery.coverage,
        "all_classes": recovery.all_classes,
        "evaluation": {
            "k": _ends_of_ranking(world),
            "corruption": CORRUPTION,
            "models": {
                name: {
                    measure: {"value": score.value, "low": score.low, "high": score.high}
                    for measure, score in scores.items()
                }
                for name, scores in means.items()
            },
        },
        "seed": world.seed,
        "seconds_by_step": clock.seconds,
    }
