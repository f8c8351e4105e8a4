"""Builds to which everything happens at random: in the end not one byte differs.

    python -m tests.chaos --minutes 2 --seed 0

Prints how many faults of each kind were survived, on all cores together.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset, Image, disable_progress_bars

import salient_imagenet_1m as si
from builder.dataset.configs import WHOLE_IMAGES
from builder.dataset.manifest import Manifest
from builder.demo.world import write_world
from builder.errors import BuildError
from builder.run.status import read_status
from builder.settings.build import Settings
from builder.settings.task import WHOLE, Task
from builder.shards.shard import shard_path
from builder.storage.files import sha256_of
from builder.storage.parquet import read_parquet
from builder.threads import usable_cores
from salient_imagenet_1m import image_id
from tests.built import hashes
from tests.conftest import CLASSES, PLANTED, World, write_checkpoint, write_votes
from tests.faults import DONE, FAILED, STOPPED, Faults, run
from tests.forked import PROCESSES

COPIES = 2
SHARD = 5
LIFE = 12
"""How many shards a process finishes at most before it is ended, if it is."""
INDEX_DAMAGES = 5
"""Of each build that was made."""

MOMENT = 0.1
"""How much longer it lives at most, as a share of what a whole build takes in peace."""

KILLS = {
    "SIGKILL": (signal.SIGKILL,),
    "SIGTERM": (signal.SIGTERM,),
    "SIGTERM twice": (signal.SIGTERM, signal.SIGTERM),
}
SIDE_FILES = {
    "shard": ("shards/*.parquet", 0.4),
    "ledger": ("drivers/*/ledger.npz", 0.05),
    "note of the inputs": ("inputs.json", 0.2),
    "sign of life": ("drivers/*/progress.json", 0.2),
}
"""What lies in the directory of unfinished work, and how often one of each is damaged."""

UNREADABLE = (f"{CLASSES[0]}_301.JPEG", f"{CLASSES[2]}_101.JPEG")


class Arena:
    """A few hundred tiny images, good and bad, and what a build of them in peace comes to.

    Parameters
    ----------
    base : Path
        An empty directory.
    """

    def __init__(self, base: Path) -> None:
        self.base, self.log = base, base / "log"
        write_world(base, PLANTED, lambda _count: None)
        write_votes(base / "votes.csv", {(0, 2): ["background"] * 5})
        write_checkpoint(base / "network.pt")
        self.images = _crowd(base / "images" / "train", base / "crowd")
        self._world = World(self.images.parent, base / "votes.csv", base / "network.pt")
        peace = self.settings(base / "peace")
        start = time.monotonic()
        process = self.start(peace, self.faults(0))
        process.join()
        self.seconds = time.monotonic() - start
        assert process.exitcode == DONE
        self.expected = hashes(peace.out)

    def settings(self, out: Path, task: Task = WHOLE, workers: int = 0) -> Settings:
        """Return the settings of a build of the images."""
        return self._world.settings(
            out, shard_size=SHARD, task=task, workers=workers, whole_image=True
        )

    def faults(self, seed: int, **rates: Any) -> Faults:
        """Return faults, among them images that can never be read."""
        return Faults(seed, self.log, unreadable=UNREADABLE, **rates)

    def start(self, settings: Settings, faults: Faults) -> ForkServerProcess:
        """Begin a build in a process of its own."""
        process = PROCESSES.Process(target=run, args=(settings, faults))
        process.start()
        return process

    def check(self, out: Path) -> None:
        """See that the bytes are those of peace, and that each image is in there exactly once."""
        assert hashes(out) == self.expected
        rows = [
            name
            for path in (out / "masks").glob("*.parquet")
            for name in pq.read_table(path, columns=["image_id"])["image_id"].to_pylist()
        ]
        set_aside = pq.read_table(out / "set_aside.parquet")["image_id"].to_pylist()
        files = [image_id(str(path)) for path in self.images.glob("*/*")]
        assert sorted(rows + set_aside) == sorted(files)
        assert {image_id(name) for name in UNREADABLE} <= set(set_aside)


def _crowd(images: Path, crowd: Path) -> Path:
    """Link images under many names and add some that cannot be used."""
    root = crowd / "train"
    for path in sorted(images.glob("*/*")):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        for number in range(COPIES):
            (root / path.parent.name / f"{path.stem}{number:02d}.JPEG").symlink_to(path)
    good = path.read_bytes()
    for label, content in enumerate((b"", b"no image", good[: len(good) // 2])):
        (root / CLASSES[label] / "broken.JPEG").write_bytes(content)
        (root / CLASSES[label] / f"broken_{label}.JPEG").write_bytes(content)
    return root


class Chaos:
    """Throws dice over builds of an arena.

    Attributes
    ----------
    survived : Counter
        Faults, by kind.
    lives : int
        Processes that were begun.
    """

    def __init__(self, arena: Arena, seed: int) -> None:
        self._arena, self._dice = arena, random.Random(seed)
        self.survived: Counter[str] = Counter()
        self.lives = 0
        self._damages: list[Callable[[Path], None]] = [_flip, _cut, Path.unlink]

    def build(self, out: Path, is_over: Callable[[int], bool]) -> None:
        """Build until it is done; nothing goes wrong any more after so many processes."""
        arena, dice = self._arena, self._dice
        while not is_done(out):
            if is_over(self.lives):
                process = arena.start(arena.settings(out), arena.faults(0))
                process.join()
                assert process.exitcode == DONE
                break
            workers = dice.choice([0, 0, 1])
            faults = arena.faults(
                dice.randrange(2**32),
                read=dice.choice([0.0, 0.05, 0.3]),
                write=dice.choice([0.0, 0.0, 0.05]),
                full=dice.choice([0.0, 0.0, 0.02]),
                clock=dice.choice([0.0, -1e6, 1e6]),
                little_shared_memory=bool(workers) and dice.random() < 0.5,
            )
            task = dice.choice([WHOLE, WHOLE, Task(dice.randrange(3), 3), Task(0, 2)])
            settings = arena.settings(out, task, workers=workers)
            self.survived["clock that jumps"] += bool(faults.clock)
            self._live(settings, faults)
            if dice.random() < 0.15:
                self._swap(out)
            self._damage(out)
            with suppress(BuildError):  # Nothing may have been begun yet.
                read_status(out)
        arena.check(out)
        self._damage_index(out)

    def _live(self, settings: Settings, faults: Faults) -> None:
        """Run a build until it ends or is ended; sometimes another one gets in its way."""
        dice = self._dice
        process = self._arena.start(settings, faults)
        self.lives += 1
        self._let_live(process, settings.out)
        if process.is_alive() and dice.random() < 0.1:
            self._intrude(settings)
        if process.is_alive() and dice.random() < 0.5:
            self._stall(process, settings.out)
        if process.is_alive():
            kill = dice.choice(["SIGKILL", *KILLS])
            self.survived[kill] += 1
            for number in KILLS[kill]:
                # It may come to its end by itself at any moment.
                with suppress(ProcessLookupError):
                    os.kill(process.pid or 0, number)
                time.sleep(0.05)
        process.join()
        known = (DONE, FAILED, STOPPED, 128 + signal.SIGTERM, -signal.SIGKILL, -signal.SIGTERM)
        assert process.exitcode in known, process.exitcode

    def _let_live(self, process: ForkServerProcess, out: Path) -> None:
        """Wait for some more shards and then some moments, however fast the machine is today."""
        shards = shards_in(out) + self._dice.randrange(LIFE)
        while process.is_alive() and shards_in(out) < shards:
            time.sleep(0.002)
        process.join(self._dice.uniform(0, MOMENT) * self._arena.seconds)

    def _stall(self, process: ForkServerProcess, out: Path) -> None:
        """Have one of its loaders stand still for a while, if it has any."""
        loaders = children(process.pid or 0)
        if not loaders:
            return
        loader = self._dice.choice(loaders)
        with suppress(ProcessLookupError):
            os.kill(loader, signal.SIGSTOP)
            process.join(self._dice.uniform(0, MOMENT) * self._arena.seconds)
            os.kill(loader, signal.SIGCONT)
            self.survived["loader that stood still"] += 1
        self._let_live(process, out)

    def _intrude(self, settings: Settings) -> None:
        """Begin a whole build beside one that runs."""
        whole = replace(settings, task=WHOLE)
        process = self._arena.start(whole, self._arena.faults(0))
        process.join()
        self.survived["second build refused"] += process.exitcode == FAILED

    def _swap(self, out: Path) -> None:
        """Put another image for a while in the place of one that finished work was made from."""
        arena, works = self._arena, unfinished(out)
        names = finished_images(works[0]) if works else []
        if not names:
            return
        path = next(arena.images.glob(f"*/{self._dice.choice(names)}.JPEG"))
        own = path.readlink()
        links = [each.readlink() for each in sorted(path.parent.iterdir()) if each.is_symlink()]
        lead(path, self._dice.choice([link for link in links if link != own]))
        process = arena.start(arena.settings(out), arena.faults(0))
        process.join()
        lead(path, own)
        assert process.exitcode == FAILED
        assert "is not the one that finished work" in arena.log.read_text().splitlines()[-1]
        self.survived["swapped image refused"] += 1

    def _damage_index(self, out: Path) -> None:
        """Damage what the loader keeps to look up images by id: it finds the same ones again."""
        cache = self._arena.base / "cache"
        found = joined_ids(self._arena.images, out, cache)
        assert found
        for _ in range(INDEX_DAMAGES):
            files = [path for path in sorted(cache.rglob("*")) if path.is_file()]
            self._dice.choice(self._damages)(self._dice.choice(files))
            assert joined_ids(self._arena.images, out, cache) == found
            self.survived["damaged index"] += 1
        shutil.rmtree(cache)

    def _damage(self, out: Path) -> None:
        """Sometimes damage what lies on the disk."""
        dice = self._dice
        for work, (kind, (pattern, chance)) in product(unfinished(out), SIDE_FILES.items()):
            paths = sorted(work.glob(pattern))
            if paths and dice.random() < chance:
                dice.choice(self._damages)(dice.choice(paths))
                self.survived[f"damaged {kind}"] += 1


def is_done(out: Path) -> bool:
    """Return whether a build has come to its end, whole images and all."""
    manifest = Manifest.load(out)
    return manifest is not None and WHOLE_IMAGES in manifest.splits["train"]


def unfinished(out: Path) -> list[Path]:
    """Return where the work on crops and on whole images is, that which has not ended."""
    works = [out / ".build" / name for name in ("train", f"train-{WHOLE_IMAGES}")]
    is_made = [(out / "manifest.json").exists(), is_done(out)]
    return [work for work, made in zip(works, is_made, strict=True) if work.exists() and not made]


def shards_in(out: Path) -> int:
    """Return how many shards of a build have been made, of those of published crops the most."""
    shards = len(list(out.glob(".build/train-whole/shards/*.parquet")))
    manifest = Manifest.load(out)
    if manifest:
        return shards + int(manifest.splits["train"]["counts"]["images"]) // SHARD + 1
    return shards + len(list(out.glob(".build/train/shards/*.parquet")))


def finished_images(work: Path) -> list[str]:
    """Return the images of a finished shard that no damage has undone, empty where there is none.

    Of the largest ledger: others that have the same shards are left out.
    """
    ledgers = [finished_shards(path) for path in work.glob("drivers/*/ledger.npz")]
    for shard, sha256 in max(ledgers, key=len, default={}).items():
        path = shard_path(work, shard)
        if path.exists() and sha256_of(path) == sha256:
            names: list[str] = read_parquet(path, ["image_id"])["image_id"].to_pylist()
            return names
    return []


def finished_shards(ledger: Path) -> dict[int, str]:
    """Return the hashes of a ledger's shards, none where it is damaged."""
    with suppress(Exception), np.load(ledger, allow_pickle=False) as file:
        return dict(zip(file["shards"].tolist(), file["sha256"].tolist(), strict=True))
    return {}


def lead(link: Path, target: Path) -> None:
    """Have a link lead elsewhere."""
    link.unlink()
    link.symlink_to(target)


def joined_ids(images: Path, build: Path, cache: Path) -> list[str]:
    """Return the ids of all images that have masks, as the loader finds them."""
    good = (path for path in images.glob("*/*") if path.is_symlink())
    paths = sorted(str(path) for path in good if path.name not in UNREADABLE)
    disable_progress_bars()
    dataset = Dataset.from_dict({"image": paths}).cast_column("image", Image())
    joined = si.join(dataset, build, split="train", cache_dir=cache)
    return list(joined["image_id"])


def children(parent: int) -> list[int]:
    """Return the processes that a process has begun and not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name of a program, in brackets, may hold anything.
            state, above = path.read_text().rpartition(")")[2].split()[:2]
            if int(above) == parent and state != "Z":
                found.append(int(path.parent.name))
    return sorted(found)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: -1 - len(content) // 7])


def survive(arena: Arena, is_over: Callable[[int], bool], seed: int) -> tuple[int, Counter[str]]:
    """Let chaos reign for a while.

    Parameters
    ----------
    arena : Arena
    is_over : callable
        Told how many processes have been begun, says whether that is enough.
    seed : int

    Returns
    -------
    builds : int
        How many came to their end, each with the right bytes.
    survived : Counter
        Faults, by kind.
    """
    chaos = Chaos(arena, seed)
    builds = 0
    while not builds or not is_over(chaos.lives):
        out = arena.base / f"chaos-{builds}"
        chaos.build(out, is_over)
        shutil.rmtree(out)
        builds += 1
    lines = arena.log.read_text().splitlines() if arena.log.exists() else []
    chaos.survived.update(line for line in lines if not line.startswith("ended: "))
    chaos.survived["image that stays unreadable"] = len(UNREADABLE) * builds
    return builds, chaos.survived


def survive_for(minutes: float, seed: int) -> tuple[int, Counter[str]]:
    """Let chaos reign for so long; see `survive`."""
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as directory:
        return survive(Arena(Path(directory)), lambda _lives: time.monotonic() >= end, seed)


def kill_often(arena: Arena, out: Path, kills: int, seed: int) -> int:
    """Kill a build at random moments, that often if it takes so long, then let it end.

    Returns
    -------
    int
        How often it was killed.
    """
    dice = random.Random(seed)
    done = 0
    while done < kills and not is_done(out):
        process = arena.start(arena.settings(out), arena.faults(0))
        goal = shards_in(out) + dice.randrange(2)
        while process.is_alive() and shards_in(out) <= goal:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.02))
        done += process.is_alive()
        process.kill()
        process.join()
    process = arena.start(arena.settings(out), arena.faults(0))
    process.join()
    assert process.exitcode == DONE
    arena.check(out)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=usable_cores())
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.at_once)
    builds, survived = 0, Counter[str]()
    with ProcessPoolExecutor(len(seeds)) as pool:
        for more, kinds in pool.map(partial(survive_for, arguments.minutes), seeds):
            builds += more
            survived += kinds
    print(f"{builds} builds, each with the bytes of one in peace, survived:")
    for kind, count in sorted(survived.items()):
        print(f"{count:6} {kind}")
    print(f"{sum(survived.values()):6} in all")


if __name__ == "__main__":
    main()
