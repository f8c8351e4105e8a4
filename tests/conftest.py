"""A tiny labelled image set, network and votes, made once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from filelock import FileLock
from selenium import webdriver

from builder.dataset import votes
from builder.dataset.votes import ANSWERS, Vote
from builder.demo.world import World as PlantedWorld
from builder.demo.world import read_truth, write_world
from builder.run.build import build
from builder.segmentations.segmentations import add_segmentations
from builder.settings.build import Settings
from builder.settings.segmentation import Segmentation
from tests.browser import chromium
from tests.forked import PROCESSES
from tests.quiet import Quiet
from tests.releases import write_hard_imagenet

# Freed memory is kept for the next tensor, instead of asking the system for zeroed pages each time,
# which took a tenth of the processor's time. The C library reads this when a process starts: those
# of pytest-xdist and the commands under test inherit it.
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 30))
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 30))

# Ray's workers are as nice as anybody's: at its 15 they starve where other tests compute.
os.environ.setdefault("RAY_worker_niceness", "0")

# Of processes, those that engines begin among them, none spends seconds importing PyTorch: all are
# forked from one that has imported everything and done nothing.
PROCESSES.set_forkserver_preload(
    ["builder.cli.app", "tests.built", "tests.conftest", "tests.faults", "tests.forked"]
)

# Tiny networks gain nothing from a second thread, and wait long for it on a busy machine.
torch.set_num_threads(1)

PLANTED = PlantedWorld(classes=3, train=12, val=5, size=64)
CLASSES = tuple(PLANTED.wnids)
NETWORK = "timm:test_resnet"
CHANNELS = 96
FEATURES = 5

SLOWEST = (
    "demo/test_demo.py",
    "mitigate/test_training.py",
    "test_real.py",
    "loader/test_script.py",
    "shards/test_engine.py",
    "storage/test_remote.py",
    "run/test_chaos.py",
    "run/test_build.py",
    "loader/test_readme.py",
    "evaluate/test_evaluation.py",
    "objects/test_hard_imagenet.py",
    "hub/test_load.py",
    "cli/test_streams.py",
    "cli/test_build.py",
)
"""Files that take longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have processes begin with what takes longest: else one is left alone with it in the end."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@dataclass(frozen=True)
class World:
    """Paths of a tiny image set and of all that a build of it needs."""

    root: Path
    votes: Path
    checkpoint: Path

    def settings(self, out: Path, **changes: object) -> Settings:
        """Return settings of a build of the training images."""
        options: dict[str, object] = {
            "images": str(self.root),
            "votes": self.votes,
            "checkpoint": self.checkpoint,
            "network": NETWORK,
            "out": out,
            "batch_size": 4,
            "shard_size": 7,
            "allow_mismatch": True,
            "device": "cpu",
            **changes,
        }
        return Settings(**options)  # type: ignore[arg-type]


def write_votes(path: Path, spurious: dict[tuple[int, int], list[str]]) -> None:
    """Write votes on features 1, 4, 7, ... of each class, main_object but for those given.

    `spurious` maps (label, rank) to the five answers of the pair.
    """
    rows = [
        Vote(
            str(worker), wnid, label, 20 * label + 3 * rank - 2, rank, answer, worker % 5 + 1, "why"
        )
        for label, wnid in enumerate(CLASSES)
        for rank, feature in enumerate(range(20 * label + 1, 20 * label + 3 * FEATURES, 3), 1)
        for worker, answer in enumerate(spurious.get((label, rank), [ANSWERS[0]] * 5))
    ]
    votes.write_votes(path, rows)


def write_checkpoint(path: Path) -> None:
    """Write a randomly initialised network whose batch norms do something."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=len(CLASSES))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.2, 0.2)
    torch.save(model.state_dict(), path)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a directory that the first process of a run that needs it makes, for all of them."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            make(directory)
            done.touch()
    return directory


@pytest.fixture(scope="session")
def planted_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The demo's planted world, tiny: three classes of 12 training and 5 validation images."""
    base = tmp_path_factory.mktemp("world")
    write_world(base, PLANTED, lambda count: None)
    write_votes(
        base / "votes.csv",
        {
            # Class 0: one spurious feature; class 1: five; class 2: none.
            (0, 2): ["background"] * 3 + ["main_object"] * 2,
            **{(1, rank): ["separate_object"] * 5 for rank in (1, 2, 3, 4)},
            (1, 5): ["background"] * 2 + ["separate_object"] * 2 + ["main_object"],
            (2, 3): ["background", "separate_object"] + ["main_object"] * 3,
        },
    )
    write_checkpoint(base / "network.pt")
    return World(base / "images", base / "votes.csv", base / "network.pt")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture
def reporter() -> Quiet:
    """Return a reporter that remembers what was said."""
    return Quiet()


@pytest.fixture(scope="session")
def imagenette(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a build of the real Imagenette images, both splits, with EfficientNet-Lite0."""
    if "SALIENT_REAL_DATA" not in os.environ:
        pytest.skip("SALIENT_REAL_DATA does not name a folder with real images and votes")
    real = Path(os.environ["SALIENT_REAL_DATA"])

    def make(directory: Path) -> None:
        for split in ("train", "validation"):
            settings = Settings(
                images=str(real / "imagenette"),
                votes=real / "efficientnet_lite0_votes.csv",
                network="efficientnet-lite0",
                split=split,
                device="cpu",
                out=directory,
            )
            build(settings, Quiet())

    return made_once(tmp_path_factory, "imagenette", make)


@pytest.fixture(scope="session")
def world(planted_world: World) -> World:
    """Return the planted world; tests of the loader have another of this name."""
    return planted_world


@pytest.fixture(scope="session")
def planted(planted_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a build of the tiny world, both splits."""
    out = tmp_path_factory.mktemp("planted") / "out"
    build(planted_world.settings(out), Quiet())
    build(planted_world.settings(out, split="validation"), Quiet())
    return out


@pytest.fixture(scope="session")
def hard_imagenet(planted_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a release laid out like Hard ImageNet, of the tiny world's core objects."""
    root = tmp_path_factory.mktemp("release") / "hardImageNet"
    write_hard_imagenet(root, read_truth(planted_world.root.parent))
    return root


@pytest.fixture(scope="session")
def segmented(planted: Path, hard_imagenet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the build of the tiny world with object masks."""
    out = shutil.copytree(planted, tmp_path_factory.mktemp("segmented") / "out")
    add_segmentations(Segmentation(out, hard_imagenet=hard_imagenet), Quiet())
    return out


@pytest.fixture(scope="session")
def planted_whole(
    planted_world: World, planted: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the build of the tiny world with what a later run adds: masks of whole images."""
    out = tmp_path_factory.mktemp("whole") / "out"
    shutil.copytree(planted, out)
    for split in ("train", "validation"):
        build(planted_world.settings(out, split=split, whole_image=True), Quiet())
    return out


@pytest.fixture
def seeded() -> None:
    """Seed PyTorch, so that random networks are the same each time."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def datasets_3(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an interpreter with datasets 3.6 and Pillow.

    `SALIENT_DATASETS_3_PYTHON` names one; with `SALIENT_ALLOW_DOWNLOADS=1` this makes one.
    """
    given = os.environ.get("SALIENT_DATASETS_3_PYTHON")
    if given:
        return given
    if not os.environ.get("SALIENT_ALLOW_DOWNLOADS"):
        pytest.skip(
            "needs datasets 3.6: set SALIENT_DATASETS_3_PYTHON to an interpreter that has it, or "
            "SALIENT_ALLOW_DOWNLOADS=1"
        )

    def make(directory: Path) -> None:
        venv.create(directory)
        python = str(directory / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile"]
        subprocess.run([*pip, "datasets==3.6.0", "pillow"], check=True)
        # Of all that was installed only what is imported is compiled, once.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
        subprocess.run([python, "-c", "import datasets"], env=environment, check=True)

    return str(made_once(tmp_path_factory, "datasets3", make) / "bin" / "python")
