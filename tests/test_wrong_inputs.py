"""Whatever is typed or called wrongly is answered by one sentence that says what to do.

A case is a line in one of the tables below: its name, what is typed or called, and a part of what
is said. Places and damages are tried with every command that reads a data set.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from torch import nn

import salient_imagenet_1m as si
from builder.cli import main
from builder.dataset.votes import COLUMNS
from builder.errors import printable
from builder.network.head import Head, write_head
from tests.conftest import NETWORK, World

MASKS = "masks/train-00000-of-00001.parquet"
LONG = "x" * 300


@dataclass(frozen=True)
class Place:
    """What a case may use.

    Attributes
    ----------
    world : World
    built : Path
        A good data set, not to be changed.
    segmented : Path
        The same with object masks.
    root : Path
        An empty directory.
    """

    world: World
    built: Path
    segmented: Path
    root: Path

    @property
    def data(self) -> Path:
        """A copy of the good data set, to be changed."""
        copy = self.root / "data"
        return copy if copy.exists() else shutil.copytree(self.built, copy)

    @property
    def out(self) -> Path:
        return self.root / "out"

    def file(self, name: str, content: bytes = b"") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


Make = Callable[[Place], Any]
Arguments = Callable[[Place], list[object]]


@dataclass(frozen=True)
class Case:
    """What is done wrongly, a part of what is said, and the exit status if it is typed.

    `typed` gives the words of a command line, or `called` makes a call of the loader.
    """

    name: str
    said: str
    typed: Arguments | None = None
    called: Make | None = None
    status: int = 2


# What is typed


def options_of(given: dict[str, object], place: Place) -> Iterator[object]:
    for name, value in given.items():
        made = value(place) if callable(value) else value
        if made is not None:
            option = f"--{name.replace('_', '-')}"
            yield from [option] if made is True else [option, made]


def build(**options: object) -> Arguments:
    """Return a build of the world's inputs, but for these options; None leaves one out."""

    def typed(place: Place) -> list[object]:
        given: dict[str, object] = {
            "images": place.world.root,
            "votes": place.world.votes,
            "checkpoint": place.world.checkpoint,
            "network": NETWORK,
            "out": place.out,
            "device": "cpu",
            "allow_mismatch": True,
            **options,
        }
        return ["build", *options_of(given, place)]

    return typed


def discover(**options: object) -> Arguments:
    def typed(place: Place) -> list[object]:
        given: dict[str, object] = {
            "images": place.world.root,
            "checkpoint": place.world.checkpoint,
            "network": NETWORK,
            "out": place.root / "table.csv",
            "device": "cpu",
            **options,
        }
        return ["discover", *options_of(given, place)]

    return typed


def gallery(data: Make = lambda place: place.built, **options: object) -> Arguments:
    def typed(place: Place) -> list[object]:
        given = {"images": place.world.root, "out": place.root / "pages", **options}
        return ["gallery", data(place), *options_of(given, place)]

    return typed


def evaluate(data: Make = lambda place: place.built, **options: object) -> Arguments:
    def typed(place: Place) -> list[object]:
        given = {
            "images": place.world.root,
            "out": place.root / "evaluation",
            "model": f"{NETWORK}={place.world.checkpoint}",
            "k": 2,
            **options,
        }
        return ["evaluate", data(place), *options_of(given, place)]

    return typed


def of_objects(data: Make = lambda place: place.segmented, **options: object) -> Arguments:
    """Return an evaluation of the suite hard-imagenet, but for these options."""
    return evaluate(data, **{"suite": "hard-imagenet", "k": None, **options})


def segmented_classes(*labels: int) -> Make:
    """Return a data set in which only some classes of training images have object masks."""

    def make(place: Place) -> Path:
        data = shutil.copytree(place.segmented, place.root / "classes")
        path = data / "segmentations" / "train-00000-of-00001.parquet"
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.is_in(table["label"], pa.array(labels, pa.int64()))), path)
        return data

    return make


def train(**options: object) -> Arguments:
    def typed(place: Place) -> list[object]:
        given: dict[str, object] = {
            "images": place.world.root,
            "out": place.root / "trained",
            "model": NETWORK,
            "batch_size": 8,
            "epochs": 1,
            "device": "cpu",
            **options,
        }
        return ["train", place.built, *options_of(given, place)]

    return typed


def tune_head(**options: object) -> Arguments:
    def typed(place: Place) -> list[object]:
        given: dict[str, object] = {
            "images": place.world.root,
            "out": place.root / "tuned",
            "model": f"{NETWORK}={place.world.checkpoint}",
            "k": 2,
            "device": "cpu",
            **options,
        }
        return ["tune-head", place.built, *options_of(given, place)]

    return typed


def subgroups(data: Make = lambda place: place.built, **options: object) -> Arguments:
    def typed(place: Place) -> list[object]:
        given = {
            "images": place.world.root,
            "out": place.root / "subgroups",
            "model": f"{NETWORK}={place.world.checkpoint}",
            "device": "cpu",
            **options,
        }
        return ["subgroups", data(place), *options_of(given, place)]

    return typed


def words(*arguments: object) -> Arguments:
    """Return a command line word by word, some of which a place makes."""
    return lambda place: [word(place) if callable(word) else word for word in arguments]


def built(place: Place) -> Path:
    return place.built


READERS: dict[str, Callable[[Make], Arguments]] = {
    "status": lambda data: words("status", data),
    "verify": lambda data: words("verify", data),
    "gallery": gallery,
    "evaluate": evaluate,
    "subgroups": subgroups,
    "publish": lambda data: words("publish", data, "org/name"),
    "publish --dry-run": lambda data: words("publish", data, "org/name", "--dry-run"),
}


def link_to_nowhere(place: Place) -> Path:
    (place.root / "link").symlink_to(place.root / "nowhere")
    return place.root / "link"


def link_loop(place: Place) -> Path:
    (place.root / "loop").symlink_to(place.root / "loop")
    return place.root / "loop"


def pipe(place: Place) -> Path:
    os.mkfifo(place.root / "pipe")
    return place.root / "pipe"


def empty(place: Place) -> Path:
    (place.root / "empty").mkdir()
    return place.root / "empty"


PLACES: dict[str, Make] = {
    "nowhere": lambda place: place.root / "nowhere",
    "an empty directory": empty,
    "a file": lambda place: place.file("file"),
    "a place below a file": lambda place: place.file("file") / "data",
    "a pipe": pipe,
    "a device": lambda place: "/dev/zero",
    "a link to nowhere": link_to_nowhere,
    "a link to itself": link_loop,
    "an empty name": lambda place: "",
    "a name that is too long": lambda place: place.root / LONG,
    "a name with control characters": lambda place: place.root / "\x1b[2J\r\n",
    "a name that is not UTF-8": lambda place: place.root / "\udcff",
    "a name in markup": lambda place: place.root / "[/red] [bold]",
    "a data URL": lambda place: "data:text/plain,otter",
    "a protocol that there is not": lambda place: "nope://bucket/data",
    "a protocol that is not installed": lambda place: "oci://bucket/data",
    "an empty memory": lambda place: "memory://nowhere/data",
}


def in_manifest(edit: Callable[[dict[str, Any]], object]) -> Make:
    def spoil(place: Place) -> Path:
        path = place.data / "manifest.json"
        content = json.loads(path.read_bytes())
        edit(content)
        path.write_text(json.dumps(content))
        return place.data

    return spoil


def listing(name: str) -> Make:
    entry = {"bytes": 0, "sha256": "0" * 64}
    return in_manifest(lambda content: content["files"].update({name: entry}))


def manifest_of(content: bytes) -> Make:
    return lambda place: place.file("other/manifest.json", content).parent


def cut(name: str, share: float) -> Make:
    """Leave that share of a file of the data set."""

    def spoil(place: Place) -> Path:
        path = place.data / name
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return place.data

    return spoil


def instead(name: str, make: Callable[[Path], object]) -> Make:
    """Put something else in the place of a file or directory of the data set."""

    def spoil(place: Place) -> Path:
        path = place.data / name
        path.rename(place.root / "moved")
        make(path)
        return place.data

    return spoil


KIND = "is a directory, a pipe or a device"
MANIFESTS: dict[str, tuple[Make, str]] = {
    **{
        f"a manifest cut at {share:.0%}": (cut("manifest.json", share), "or damaged")
        for share in (0.0, 0.1, 0.5, 0.9, 0.99)
    },
    **{
        f"a manifest of {name}": (manifest_of(content), "or damaged")
        for name, content in {
            "nested brackets": b"[" * 100_000,
            "nested braces": b'{"origin":' * 100_000,
            "a list": b"[]",
            "nothing": b"null",
            "other keys": b'{"origin": {}, "more": 1}',
            "no UTF-8": b"\xff\xfe\xff",
            "lists for tables": b'{"origin": [], "splits": [], "files": []}',
            "a version in words": b'{"origin": {}, "format_version": "one"}',
        }.items()
    },
    "a manifest of a newer format": (
        in_manifest(lambda content: content.update(format_version=99)),
        "newer than this program's",
    ),
    **{
        f"a manifest {name}": (in_manifest(edit), "unlike any that a build writes")
        for name, edit in {
            "without splits": lambda content: content["splits"].clear(),
            "with another split": lambda content: content["splits"].update({"\x1b[2J": {}}),
            "without counts": lambda content: content["splits"]["train"].pop("counts"),
            "with counts in words": lambda content: content["splits"]["train"]["counts"].update(
                rows="many"
            ),
            "without origin": lambda content: content["origin"].clear(),
            "with a number for a title": lambda content: content["origin"].update(title=3),
            "with a file without hash": lambda content: content["files"].update({MASKS: {}}),
        }.items()
    },
    **{
        f"a manifest that lists {name!r}": (listing(name), f"lists the file {printable(name)}, ")
        for name in (
            *("/etc/passwd", "../../x", "/dev/zero", "data.py", ".publish/x.parquet", "."),
            *("masks/../README.md", f"{MASKS}\n", "\x1b]0;x\x07", "masks/train.parquet"),
        )
    },
    "masks that are a pipe": (instead(MASKS, os.mkfifo), KIND),
    "masks without end": (instead(MASKS, lambda path: path.symlink_to("/dev/zero")), KIND),
    "masks that are a directory": (instead(MASKS, Path.mkdir), KIND),
    "a card that is a pipe": (instead("README.md", os.mkfifo), KIND),
    "a manifest that is a pipe": (instead("manifest.json", os.mkfifo), KIND),
    "a directory that is a link": (
        instead("masks", lambda path: path.symlink_to(path.parents[1] / "moved")),
        "is a link, where a build writes a directory",
    ),
}

READING = [
    *(
        Case(f"{reader} {name}", "", typed=typed(make))
        for reader, typed in READERS.items()
        for name, make in PLACES.items()
    ),
    *(
        Case(f"{reader} {name}", said, typed=READERS[reader](make))
        for reader in ("status", "verify", "gallery", "publish")
        for name, (make, said) in MANIFESTS.items()
    ),
    *(
        Case(f"evaluate {name}", "manifest.json", typed=evaluate(make))
        for name, (make, said) in MANIFESTS.items()
        if said == "or damaged"
    ),
    *(
        Case(f"{reader} {name} that is cut", said, typed=typed(cut(name, 0.6)))
        for reader, said in (("gallery", "cannot be read"), ("publish", "is not what it says"))
        for typed in (READERS[reader],)
        for name in (MASKS, "features/train-00000-of-00001.parquet")
    ),
    Case(
        "verify masks that are cut",
        "is not what it says",
        words("verify", cut(MASKS, 0.6)),
        status=1,
    ),
]

# build


def cut_file(name: str, share: float) -> Make:
    """Return an input of the world of which only that share is left."""

    def make(place: Place) -> Path:
        content = (place.world.root.parent / name).read_bytes()
        return place.file(f"cut-{name}", content[: int(share * len(content))])

    return make


def votes(change: Callable[[list[list[str]]], object]) -> Make:
    """Return the world's votes but for a change of their rows."""

    def make(place: Place) -> Path:
        with place.world.votes.open(newline="") as file:
            rows = list(csv.reader(file))
        change(rows)
        path = place.root / "changed.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return path

    return make


def vote(column: str, value: str) -> Make:
    """Return the world's votes but for a value of their first row."""
    return votes(lambda rows: rows[1].__setitem__(COLUMNS.index(column), value))


def without_column(column: str) -> Make:
    place = COLUMNS.index(column)
    return votes(lambda rows: [row.pop(place) for row in rows])


def saved(content: Callable[[], Any]) -> Make:
    def make(place: Place) -> Path:
        torch.save(content(), place.root / "odd.pt")
        return place.root / "odd.pt"

    return make


def with_tensor(make: Callable[[], torch.Tensor], name: Any = "odd") -> Make:
    return saved(lambda: {"fc.weight": torch.zeros(3, 2), name: make()})


def tar_of(share: float) -> Make:
    def make(place: Place) -> Path:
        path = place.root / "train.tar"
        with tarfile.open(path, "w") as tar:
            tar.add(place.world.root / "train", ".")
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return path

    return make


def zipped_tar(place: Place) -> Path:
    return place.file("train.tar", gzip.compress(tar_of(1.0)(place).read_bytes()))


def vision_transformer(place: Place) -> Path:
    path = place.root / "vit.pt"
    torch.save(timm.create_model("test_vit3", num_classes=3).state_dict(), path)
    return path


def nan_weights(place: Place) -> Path:
    path = place.root / "nan.pt"
    weights = torch.load(place.world.checkpoint, weights_only=True)
    torch.save({n: w * torch.nan if w.is_floating_point() else w for n, w in weights.items()}, path)
    return path


def head_of_others(place: Place) -> Path:
    path = place.root / "head.safetensors"
    write_head(path, Head(torch.zeros(3, 96), torch.zeros(3), "otter", "0" * 64))
    return path


def head_that_is_cut(place: Place) -> Path:
    path = head_of_others(place)
    path.write_bytes(path.read_bytes()[:-9])
    return path


def full(place: Place) -> Path:
    return place.file("full/thesis.tex").parent


def only_validation(place: Place) -> Path:
    (place.root / "images").mkdir()
    (place.root / "images" / "val").symlink_to(place.world.root / "val")
    return place.root / "images"


def only_train(place: Place) -> Path:
    (place.root / "images").mkdir()
    (place.root / "images" / "train").symlink_to(place.world.root / "train")
    return place.root / "images"


def resized_images(place: Place) -> Path:
    copy = shutil.copytree(place.world.root, place.root / "images")
    for path in copy.glob("val/*/*"):
        with Image.open(path) as image:
            image.resize((image.width // 2, image.height // 2)).save(path)
    return copy


def fewer_images(place: Place) -> Path:
    copy = shutil.copytree(place.world.root, place.root / "images")
    next(copy.glob("val/*/*")).unlink()
    return copy


def other_classes(place: Place) -> Path:
    (place.root / "images").mkdir()
    (place.root / "images" / "n99999999").symlink_to(place.world.root / "train" / "n90000001")
    return place.root / "images"


USAGE = "Invalid value for '--{}'"
BUILD: dict[str, tuple[dict[str, object], str]] = {
    **{
        f"without {name}": ({name: None}, f"Missing option '--{name}'")
        for name in ("images", "votes", "out")
    },
    **{
        f"--{name.replace('_', '-')} {value}": (
            {name: value},
            USAGE.format(name.replace("_", "-")),
        )
        for name, values in {
            "limit": (0, -1, "x", 1.5, ""),
            "batch_size": (0, "x"),
            "workers": (-1, "x"),
            "shard_size": (0, "x"),
            "seed": (-1, 2**63, "x"),
        }.items()
        for value in values
    },
    **{
        f"--{name} {value!r}": ({name: value}, said)
        for name, said, values in (
            ("split", "There is no split", ("test", "", "Train", "\x1b[2J")),
            ("precision", "There is no precision", ("float8", "")),
            ("engine", "There is no engine", ("slurm", "")),
            ("device", "", ("tpu", "mps", "", "cpu,", "cuda:99", "cuda:-1", "cpu:x", "cpu,cuda")),
            ("task", "There is no task", ("2/2", "0/0", "-1/2", "1", "a/b", "0/2/3", "", "½/2")),
            ("network", "There is no network", ("", "otternet", "timm:", "timm", "torchvision")),
            ("network", "has no model", ("timm:otternet", "torchvision:otternet")),
        )
        for value in values
    },
    "--otter": ({"otter": "wet"}, "No such option"),
    "--address without Ray": ({"address": "10.0.0.1:6379"}, "use it with --engine ray"),
    "--finalise-only of a task": ({"finalise_only": True, "task": "0/2"}, "leave out --task"),
    "--finalise-only of nothing": ({"finalise_only": True}, "Nothing of the split train was built"),
    "--gpu-decode on the CPU": ({"gpu_decode": True}, "--gpu-decode needs CUDA"),
    **{
        f"images: {name}": ({"images": make}, said)
        for name, make, said in (
            ("nowhere", "nowhere", "There is no file, directory or dataset nowhere"),
            ("an empty name", "", ""),
            ("a password", "s3://KEY:SEC/RET@bucket/x", "dataset s3://...@bucket/x"),
            ("control characters", "\x1b[2J\r\n", r"dataset \x1b[2J\r\n"),
            ("a name that is too long", LONG, "cannot be listed (File name too long)"),
            ("an empty directory", empty, "in class folders"),
            ("a pipe", pipe, ""),
            ("a link to itself", link_loop, ""),
            ("text", lambda place: place.file("x.txt", b"otter"), "is no whole tar"),
            ("a zipped tar", zipped_tar, "is no whole tar"),
            *((f"a tar cut at {s:.0%}", tar_of(s), "is no whole tar") for s in (0.1, 0.5, 0.8)),
            ("another split's", only_validation, "has no folder for the split train, only val"),
            ("other classes", other_classes, "None of the 12 images of"),
        )
    },
    **{
        f"votes: {name}": ({"votes": make}, said)
        for name, make, said in (
            ("nowhere", "nowhere.csv", "The votes file nowhere.csv cannot be read"),
            ("a directory", empty, "cannot be read (Is a directory)"),
            ("nothing", lambda place: place.file("x.csv"), "lacks the column WorkerId"),
            ("no UTF-8", lambda place: place.file("x.csv", b"\xff\xfe"), "is no CSV in UTF-8"),
            ("a JPEG", lambda place: next(place.world.root.glob("train/*/*")), "is no CSV"),
            ("only a header", votes(lambda rows: rows.__delitem__(slice(1, None))), "has no votes"),
            ("a vote less", votes(lambda rows: rows.__delitem__(slice(1, 4))), "The pair class"),
            ("a row cut short", votes(lambda rows: rows[1].__delitem__(slice(3, None))), ""),
            *((f"cut at {s:.0%}", cut_file("votes.csv", s), "") for s in (0.05, 0.3, 0.7, 0.97)),
            *((f"no {name}", without_column(name), f"lacks the column {name}") for name in COLUMNS),
            *(
                (f"{name} {value!r}", vote(name, value), "use a")
                for name, values in {
                    "Input.class_index": ("x", "-1", "1.5", "", "9" * 20, "²"),
                    "Input.feature_index": ("x", "-1", "", "9" * 5000),
                    "Input.feature_rank": ("x", "0", "-1", ""),
                    "Answer.confidence": ("x", "0", "6", "nan", "inf"),
                }.items()
                for value in values
            ),
            ("no confidence", vote("Answer.confidence", ""), "have no Answer.confidence"),
            ("an animal", vote("Answer.main", "animal"), "has the unknown answer 'animal'"),
            ("another wnid", vote("Input.wordnet_id", "n1"), ""),
            ("another rank", vote("Input.feature_rank", "2"), "contradict each other"),
        )
    },
    **{
        f"classes: {name}": ({"classes": make}, said)
        for name, make, said in (
            ("nowhere", "nowhere.txt", "The file of classes nowhere.txt cannot be read"),
            ("a directory", empty, "cannot be read (Is a directory)"),
            ("nothing", lambda place: place.file("x.txt"), "has 0 classes and the network 3"),
            ("no UTF-8", lambda place: place.file("x.txt", b"\xff"), "is no text in UTF-8"),
            ("too few", lambda place: place.file("x.txt", b"otter"), "has 1 classes and the"),
            ("one twice", lambda place: place.file("x.txt", b"a\na\nb"), "in the lines 1 and 2"),
            ("an empty line", lambda place: place.file("x.txt", b"a\n\nb"), "x.txt:2 is empty"),
            ("others", lambda place: place.file("x.txt", b"a\nb\nc"), ""),
        )
    },
    **{
        f"checkpoint: {name}": ({"checkpoint": make}, said)
        for name, make, said in (
            ("nowhere", "nowhere.pt", "The checkpoint nowhere.pt cannot be read"),
            ("a directory", empty, "cannot be read (Is a directory)"),
            ("nothing", lambda place: place.file("x.pt"), "is no PyTorch checkpoint"),
            ("a page", lambda place: place.file("x.pt", b"<html>404"), "is no PyTorch checkpoint"),
            ("the votes", lambda place: place.world.votes, "is no PyTorch checkpoint"),
            *(
                (f"cut at {s:.0%}", cut_file("network.pt", s), "is no PyTorch checkpoint")
                for s in (0.01, 0.3, 0.7, 0.99)
            ),
            ("a module", saved(lambda: nn.Linear(2, 2)), "can only be read by running code"),
            ("no tensors", saved(lambda: {"fc.weight": 3}), "holds more than tensors"),
            ("an empty dict", saved(dict), "holds no state dict"),
            ("a list", saved(lambda: [torch.zeros(1)]), "holds no state dict"),
            ("others' weights", saved(nn.Linear(2, 3).state_dict), "is of another architecture"),
            ("sparse", with_tensor(lambda: torch.eye(3).to_sparse()), "holds 'odd', which is no"),
            ("meta", with_tensor(lambda: torch.empty(3, device="meta")), "holds 'odd', which is"),
            ("complex", with_tensor(lambda: torch.zeros(3, dtype=torch.complex64)), "holds 'odd'"),
            ("of any size", with_tensor(lambda: torch.zeros(1).expand(10**9, 512)), "holds 'odd'"),
            ("a number for a name", with_tensor(lambda: torch.zeros(3), 7), "holds 7, which is no"),
            ("no numbers", nan_weights, "gives numbers that are not finite"),
        )
    },
    "a network without maps": (
        {"network": "timm:test_vit3", "checkpoint": vision_transformer},
        "does not end in conv map, spatial mean, linear head",
    ),
    "madry-resnet50 without weights": (
        {"network": "madry-resnet50", "checkpoint": None},
        "give --checkpoint imagenet_l2_3_0.pt",
    ),
    "madry-resnet50 of other weights": (
        {"network": "madry-resnet50"},
        "is no checkpoint of the robustness library",
    ),
    "small-convnet without weights": (
        {"network": "small-convnet", "checkpoint": None},
        "give --checkpoint DEMO/robust.pt",
    ),
    **{
        f"out: {name}": ({"out": make}, said)
        for name, make, said in (
            ("a file", lambda place: place.file("file"), "is a file: give --out a directory"),
            ("below a file", lambda place: place.file("file") / "out", "--out"),
            ("not empty", full, "is not empty and holds no build"),
            ("a pipe", pipe, "is a file: give --out a directory"),
            ("a device", "/dev/null", "is a file: give --out a directory"),
            ("a link to nowhere", link_to_nowhere, "is a link that leads nowhere"),
            ("a link to itself", link_loop, "is a link that leads nowhere"),
            ("an empty name", "", "An empty name is no place"),
            ("a name that is too long", lambda place: place.root / LONG, "File name too long"),
            ("no UTF-8", lambda place: place.root / "\udcff", r"\udcff is not written in UTF-8"),
            ("a data URL", "data:text/plain,x", "cannot be opened"),
            ("http", "http://127.0.0.1:9/x", "Nothing that is written to http://127.0.0.1:9/x is"),
            ("https", "https://127.0.0.1:9/x", "Nothing that is written to"),
            ("memory", "memory://x", "Nothing that is written to memory://x is kept"),
            ("no protocol", "nope://bucket/x", "nope://bucket/x cannot be opened"),
            ("not installed", "oci://bucket/x", "needs a package that is not installed"),
            ("a damaged data set", cut("manifest.json", 0.5), "or damaged"),
            ("a hostile data set", listing("../x"), "lists the file ../x, unlike any"),
            ("another build", built, "holds another build"),
        )
    },
}

BUILDING = [
    *(
        Case(f"build {name}", said, typed=build(**options))
        for name, (options, said) in BUILD.items()
    ),
    *(
        Case(f"build --dry-run {name}", said, typed=build(**options, dry_run=True))
        for name, (options, said) in BUILD.items()
        if name.startswith("out: ")
    ),
]

# discover, gallery, publish, demo

OTHERS = [
    Case("no such command", "No such command 'otter'", words("otter")),
    Case("an option before the command", "No such option", words("--otter", "build")),
    *(
        Case(f"{command} of nothing", "Missing", words(command))
        for command in ("build", "status", "verify", "publish", "gallery", "discover", "demo")
    ),
    *(
        Case(f"{command} of two", "unexpected extra argument", words(command, built, "more"))
        for command in ("status", "verify")
    ),
    *(
        Case(f"discover {name}", said, typed=discover(**options))
        for name, options, said in (
            ("out that is there", {"out": lambda p: p.file("x.csv")}, "exists already"),
            ("out in no directory", {"out": lambda p: p.root / "no" / "x.csv"}, "no directory"),
            ("out at a URL", {"out": "s3://bucket/x.csv"}, ""),
            ("out in memory", {"out": "memory://x.csv"}, "is a URL: give --out a path"),
            ("out without a name", {"out": ""}, "An empty name is no place"),
            ("images nowhere", {"images": "nowhere"}, "There is no file, directory or dataset"),
            ("another split", {"split": "test"}, "There is no split test"),
            ("no network", {"network": None}, "Missing option '--network'"),
            ("an odd network", {"network": "otternet"}, "There is no network otternet"),
            ("no device", {"device": "tpu"}, "There is no device tpu"),
            ("no checkpoint", {"checkpoint": "no.pt"}, "The checkpoint no.pt cannot be read"),
            ("other classes", {"images": other_classes}, "The images have 1 classes and the"),
            ("limit 0", {"limit": 0}, "Invalid value for '--limit'"),
        )
    ),
    *(
        Case(f"gallery {name}", said, typed=gallery(**options))
        for name, options, said in (
            ("without images", {"images": None}, "Missing option '--images'"),
            ("images nowhere", {"images": "nowhere"}, "There is no file, directory or dataset"),
            ("images of others", {"images": other_classes}, "lacks"),
            ("another split", {"split": "test"}, "There is no split test: use --split train or"),
            ("votes nowhere", {"votes": "no.csv"}, "The votes file no.csv cannot be read"),
            ("other votes", {"votes": vote("Answer.reasons", "x")}, "are not the votes of"),
            ("out that is there", {"out": full}, "exists already"),
            ("out in no directory", {"out": lambda p: p.root / "no" / "x.html"}, "no directory"),
            ("out below a file", {"out": lambda p: p.file("f") / "x"}, "is a file"),
            ("out in memory", {"out": "memory://x"}, "is a URL: give --out a path"),
            ("out with a long name", {"out": lambda p: p.root / LONG}, "File name too long"),
        )
    ),
    *(
        Case(f"evaluate {name}", said, typed=evaluate(**options))
        for name, options, said in (
            ("without images", {"images": None}, "Missing option '--images'"),
            ("images nowhere", {"images": "nowhere"}, "There is no file or directory nowhere"),
            ("another split", {"split": "test"}, "There is no split test: use --split train or"),
            ("no model", {"model": None}, "No model is named: use --model NAME"),
            ("an odd model", {"model": "otternet"}, "There is no network otternet"),
            ("a model near another", {"model": "timm:resnet51"}, "use one that it has, as resnet"),
            ("a model of no module", {"model": "otter:load"}, "There is no model otter:load"),
            ("weights nowhere", {"model": f"{NETWORK}=no.pt"}, "The checkpoint no.pt cannot be"),
            ("a model near CLIP", {"model": "clip:ViT-B-33/openai"}, "such as ViT-B-32"),
            ("no weights", {"model": "madry-resnet50"}, "--model madry-resnet50=imagenet_l2_3"),
            ("an odd function", {"model": "builtins:list"}, "builtins:list returned list"),
            ("a module that fails", {"model": "torch.nn:Identity"}, "no tensor of a logit per"),
            ("weights of no numbers", {"model": lambda p: f"{NETWORK}={nan_weights(p)}"}, "finite"),
            ("other classes", {"model": "efficientnet-lite0"}, "has no output for n90000001"),
            ("no images of a split", {"images": only_train}, "has no folder for the split valid"),
            ("resized copies", {"images": resized_images}, "use the original images and not"),
            ("fewer images", {"images": fewer_images}, "complete the images"),
            ("a list nowhere", {"models": "no.toml"}, "no.toml is no list of models"),
            ("another corruption", {"corruption": "rain"}, "There is no corruption rain"),
            ("no device", {"device": "tpu"}, "There is no device tpu"),
            ("devices of which one is not there", {"device": "cpu,cuda:99"}, "is not there"),
            ("another engine", {"engine": "otter"}, "There is no engine otter: use --engine local"),
            ("an address without Ray", {"address": "10.0.0.1:1"}, "use it with --engine ray"),
            ("a task that is none", {"task": "3/3"}, "There is no task 3/3: use --task I/N"),
            ("the end of a task", {"task": "0/2", "finalise_only": True}, "leave out --task"),
            ("the end of nothing", {"finalise_only": True}, "Nothing was evaluated in"),
            ("a dry run of a large k", {"dry_run": True, "k": 99}, "takes 198 images of each"),
            ("a dry run among others", {"dry_run": True, "out": full}, "is not empty and holds"),
            ("no models to try", {"dry_run": True, "model": None}, "No model is named"),
            ("a large k", {"k": 99}, "takes 198 images of each ranked class"),
            ("k 0", {"k": 0}, "Invalid value for '--k'"),
            ("sigma below 0", {"sigma": -1}, "Invalid value for '--sigma'"),
            ("no draws", {"draws": 0}, "Invalid value for '--draws'"),
            ("out that is full", {"out": full}, "is not empty and holds no evaluation"),
            ("out in memory", {"out": "memory://x"}, "is a URL: give --out a path"),
            ("out without a name", {"out": ""}, "An empty name is no place"),
            ("out in a file", {"out": lambda p: p.file("f") / "x"}, "is a file"),
        )
    ),
    *(
        Case(f"evaluate {name}", said, typed=typed)
        for name, said, typed in (
            ("another suite", "There is no suite otter: use", evaluate(suite="otter")),
            ("no objects", "has an object mask: add some with", of_objects(built)),
            ("no layer", "No layer for GradCAM is known of", of_objects(model="torch.nn:Flatten")),
            ("k of no rank", "--k is of --suite salient-imagenet", of_objects(k=3)),
            ("no masks to corrupt", "--corruption is of --suite", of_objects(corruption="gray")),
            ("no objects to publish", "--as-published is of", evaluate(as_published=True)),
            ("no objects to see", "--no-alignment is of --suite", evaluate(no_alignment=True)),
            ("no heads", "--head-finetune is of --suite", evaluate(head_finetune=True)),
            (
                "heads tested on what they learn",
                "use --split validation",
                of_objects(head_finetune=True, split="train"),
            ),
            (
                "heads without masks",
                "No image of the split train of",
                of_objects(segmented_classes(), head_finetune=True),
            ),
            (
                "heads of fewer classes",
                "has none of 1: add some",
                of_objects(segmented_classes(0, 2), head_finetune=True),
            ),
            (
                "a dry run of heads without masks",
                "No image of the split train of",
                of_objects(segmented_classes(), head_finetune=True, dry_run=True),
            ),
        )
    ),
    *(
        Case(f"evaluate with a head {name}", said, typed=evaluate(**options))
        for name, options, said in (
            ("nowhere", {"head": "no.safetensors"}, "The head no.safetensors cannot be read"),
            ("in a directory", {"head": empty}, "cannot be read"),
            ("of nothing", {"head": lambda p: p.file("h")}, "is no head that tune-head wrote"),
            ("of weights", {"head": lambda p: p.world.checkpoint}, "is no head that tune-head"),
            ("that is cut", {"head": head_that_is_cut}, "or a damaged one"),
            ("of other weights", {"head": head_of_others}, "is a head of otter, and not of"),
            ("of which model", {"head": head_of_others, "models": "papers"}, "--head is of one"),
        )
    ),
    *(
        Case(f"train {name}", said, typed=train(**options))
        for name, options, said in (
            ("without a model", {"model": None}, "Missing option '--model'"),
            ("an odd model", {"model": "otternet"}, "There is no network otternet"),
            ("images nowhere", {"images": "nowhere"}, "There is no file or directory nowhere"),
            ("another method", {"method": "otter"}, "There is no method otter: use --method erm"),
            ("a method twice", {"method": "swap+swap"}, "is no sum: name each of noise, swap"),
            ("another region", {"region": "otter"}, "There is no region otter: use --region core"),
            ("another extent", {"extent": "otter"}, "There is no extent otter: use --extent crop"),
            ("of whole images", {"extent": "image"}, "build it with --whole-image"),
            ("a likely noise", {"probability": 2}, "Invalid value for '--probability'"),
            ("another precision", {"precision": "float8"}, "There is no precision float8"),
            ("weights nowhere", {"model": f"{NETWORK}=no.pt"}, "The checkpoint no.pt cannot be"),
            ("no device", {"device": "tpu"}, "There is no device tpu"),
            ("out that is full", {"out": full}, "is not empty and holds no training.json"),
            ("out in memory", {"out": "memory://x"}, "is a URL: give --out a path"),
            ("out in a file", {"out": lambda p: p.file("f") / "x"}, "is a file"),
        )
    ),
    *(
        Case(f"tune-head {name}", said, typed=tune_head(**options))
        for name, options, said in (
            ("without images", {"images": None}, "Missing option '--images'"),
            ("images nowhere", {"images": "nowhere"}, "There is no file or directory nowhere"),
            ("an odd model", {"model": "otternet"}, "There is no network otternet"),
            ("weights nowhere", {"model": f"{NETWORK}=no.pt"}, "The checkpoint no.pt cannot be"),
            ("other classes", {"model": "efficientnet-lite0"}, "has no output for n90000001"),
            ("without a head", {"model": "torch.nn:Identity"}, "does not end in a linear layer"),
            ("another method", {"method": "otter"}, "There is no method otter: use --method sgd"),
            ("other images", {"choose": "otter"}, "There is no choose otter: use --choose least"),
            ("dfr of some", {"method": "dfr", "choose": "random"}, "leave out --choose"),
            ("dfr of few", {"method": "dfr", "per_class": 1}, "needs four images of each class"),
            ("a large k", {"k": 99}, "takes 198 validation images of each ranked class"),
            ("k 1", {"k": 1}, "Invalid value for '--k'"),
            ("no images", {"per_class": 0}, "Invalid value for '--per-class'"),
            ("no device", {"device": "tpu"}, "There is no device tpu"),
            ("out that is full", {"out": full}, "is not empty and holds no tuning.json"),
            ("out in memory", {"out": "memory://x"}, "is a URL: give --out a path"),
            ("out without a name", {"out": ""}, "An empty name is no place"),
            ("out in a file", {"out": lambda p: p.file("f") / "x"}, "is a file"),
            ("features in a file", {"features": lambda p: p.file("f")}, "give --features a direct"),
        )
    ),
    *(
        Case(f"subgroups {name}", said, typed=subgroups(**options))
        for name, options, said in (
            ("without images", {"images": None}, "Missing option '--images'"),
            ("images nowhere", {"images": "nowhere"}, "There is no file or directory nowhere"),
            ("another split", {"split": "test"}, "There is no split test: use --split train or"),
            ("no model", {"model": None}, "Missing option '--model'"),
            ("an odd model", {"model": "otternet"}, "There is no network otternet"),
            ("weights nowhere", {"checkpoint": "no.pt"}, "The checkpoint no.pt cannot be read"),
            ("other classes", {"model": "efficientnet-lite0"}, "has no output for n90000001"),
            ("a method that is none", {"method": "x"}, "There is no method x: use --method dim or"),
            ("one component", {"components": 1}, "Invalid value for '--components'"),
            ("losses that weigh less", {"loss_weight": -1}, "Invalid value for '--loss-weight'"),
            ("features that are none", {"features": "x"}, "There are no features x: use --feat"),
            ("no embeddings", {"features": "embeddings"}, "keeps no embeddings of train: use"),
            ("a model near CLIP", {"features": "clip:ViT-B-33/openai"}, "such as ViT-B-32"),
            ("words without CLIP", {"words": "x.txt"}, "--words names directions of CLIP's"),
            (
                "words nowhere",
                {"words": "x.txt", "features": "clip:RN50/openai"},
                "The words x.txt cannot be read",
            ),
            ("votes nowhere", {"votes": "no.csv"}, "The votes file no.csv cannot be read"),
            ("other votes", {"votes": vote("Answer.reasons", "x")}, "are not the votes of"),
            ("no device", {"device": "tpu"}, "There is no device tpu"),
            ("out that is full", {"out": full}, "is not empty and holds no subgroups.json"),
            ("out in memory", {"out": "memory://x"}, "is a URL: give --out a path"),
            ("out in a file", {"out": lambda p: p.file("f") / "x"}, "is a file"),
        )
    ),
    *(
        Case(f"train {name}", said, typed=train(**options))
        for name, options, said in (
            ("subgroups alone", {"subgroups": empty}, "--reweight soft or dro go together"),
            ("to reweight nothing", {"reweight": "soft"}, "--reweight soft or dro go together"),
            ("another way", {"subgroups": empty, "reweight": "x"}, "There is no reweight x: use"),
            ("of no subgroups", {"subgroups": empty, "reweight": "soft"}, "holds no memberships/"),
            (
                "parts of a step",
                {"subgroups": empty, "reweight": "dro", "accumulate": 2},
                "leave out --accumulate",
            ),
            ("a step below 0", {"dro_step": -1}, "Invalid value for '--dro-step'"),
        )
    ),
    *(
        Case(f"verify {name}", said, words("verify", built, *options))
        for name, options, said in (
            ("another split", ("--split", "test"), "There is no split test: use --split train or"),
            ("images nowhere", ("--images", "nowhere"), "check --images"),
            ("images of others", ("--images", empty), "check --images"),
        )
    ),
    *(
        Case(f"publish {name!r}", said, words("publish", built, name, "--dry-run"))
        for name, said in (
            ("name", "Whose is name? Give ORG/name"),
            ("a/b/c", "takes no repository name"),
            ("org/bad--name", "takes no repository name"),
            ("org/", "takes no repository name"),
            ("", "takes no repository name"),
            ("org/\x1b[2J", r"takes no repository name 'org/\x1b[2J'"),
            ("org/salient_imagenet_1m", "give the repository a name with hyphens"),
            ("org/data.py", "such as org/data"),
        )
    ),
    *(
        Case(f"publish {name}", said, words("publish", built, "org/name", *options))
        for name, options, said in (
            *((f"tag {tag!r}", ("--tag", tag), "is no tag") for tag in ("", "a b", "../x", "é/")),
            ("images in public", ("--with-images", "x"), "only with --private"),
            ("images nowhere", ("--private", "--with-images", "x"), "check --images"),
        )
    ),
    *(
        Case(f"demo {name}", said, words("demo", *options))
        for name, options, said in (
            ("of a seed below 0", ("--seed", "-1", "--out", "x"), "Invalid value for '--seed'"),
            ("of a large seed", ("--seed", 2**32, "--out", "x"), "Invalid value for '--seed'"),
            ("in a file", ("--out", lambda p: p.file("f")), "is a file: give --out a directory"),
            ("among others", ("--out", full), "is not empty and holds no demo"),
            ("in a bucket", ("--out", "memory://bucket"), "is a URL: give --out a path"),
            ("without a name", ("--out", ""), "An empty name is no place"),
        )
    ),
]

# What is called


def load(place: Place, *arguments: Any, **options: Any) -> Any:
    given = {"split": "train", "cache_dir": place.root / "cache", **options}
    return si.load(place.built, *arguments, **given)


def joined(place: Place, dataset: Any, **options: Any) -> Any:
    return si.join(dataset, place.built, cache_dir=place.root / "cache", **options)


def with_images(place: Place, **options: Any) -> Any:
    return load(place, images=place.world.root, streaming=True, **options)


def row(**changes: Any) -> dict[str, Any]:
    grids = np.zeros((2, 7, 7), np.uint8)
    whole = {"grids": grids, "kinds": ["core", "spurious"], "width": 50, "height": 40}
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def loading(content: bytes) -> Make:
    return lambda place: si.load(manifest_of(content)(place))


def of_split(split: Any) -> Make:
    return lambda place: load(place, split=split)


def selecting(**options: Any) -> Make:
    return lambda place: si.Selection(**options)


def rendering(*arguments: Any, **options: Any) -> Make:
    return lambda place: si.render(*arguments, **options)


def pictures() -> datasets.Dataset:
    return datasets.Dataset.from_dict({"label": [0]})


CALLS: dict[str, tuple[Make, str]] = {
    "load nowhere": (lambda p: si.load(p.root / "nowhere"), "There is no directory"),
    "load a file": (lambda p: si.load(p.file("file")), "There is no directory"),
    "load an empty directory": (lambda p: si.load(empty(p)), "is no build of Salient"),
    "load an empty name": (lambda p: si.load(""), "is no build of Salient"),
    "load no protocol": (lambda p: si.load("nope://bucket/x"), "nope://bucket/x"),
    **{
        f"load a manifest of {name}": (
            loading(content),
            "",
        )
        for name, content in {
            "nothing": b"",
            "half of one": b'{"origin": {}, "splits":',
            "nested brackets": b"[" * 100_000,
            "a list": b"[]",
            "no UTF-8": b"\xff\xfe\xff",
            "no files": b'{"format_version": 1, "splits": {}}',
            "a version in words": b'{"format_version": "one", "splits": {}, "files": {}}',
        }.items()
    },
    "load a newer format": (
        lambda p: si.load(in_manifest(lambda m: m.update(format_version=99))(p)),
        "upgrade salient-imagenet-1m",
    ),
    "load another config": (lambda p: load(p, "mask"), "There is no config mask"),
    **{
        f"load split {split!r}": (of_split(split), "has no split")
        for split in ("test", "", "train+test", "Train")
    },
    "load split 3": (of_split(3), "split cannot be 3"),
    "stream a slice": (lambda p: with_images(p, split="train[:3]"), "A stream has no split"),
    "load images without images": (lambda p: load(p, "images"), "Say images="),
    "load images nowhere": (
        lambda p: load(p, images=p.root / "nowhere"),
        "There is no file or directory",
    ),
    "load images of another split": (
        lambda p: load(p, images=only_validation(p)),
        "has no folder for the split train, only val",
    ),
    "load images that are no dataset": (lambda p: load(p, images=3), "Images are a path or a"),
    "load one column": (lambda p: load(p, columns="label"), "columns is a list"),
    "load another column": (lambda p: load(p, columns=["picture"]), "no column picture"),
    "load images' other column": (lambda p: with_images(p, columns=["x"]), "no column x"),
    "select by a list": (lambda p: load(p, select=["n90000001"]), "select= takes a Selection"),
    "select another class": (
        lambda p: load(p, select=si.Selection(labels=("n00000000",))),
        "The build has no class 'n00000000'",
    ),
    "select another label": (
        lambda p: load(p, select=si.Selection(labels=(99,))),
        "The build has no class 99",
    ),
    "skip or not": (lambda p: with_images(p, on_missing="never"), "There is no on_missing 'never'"),
    "warn or not": (lambda p: with_images(p, on_mismatch="x"), "There is no on_mismatch 'x'"),
    "another geometry": (lambda p: with_images(p, geometry="x"), "There is no geometry 'x'"),
    "another format": (lambda p: with_images(p, format="jax"), "There is no format 'jax'"),
    "mask_size of no crop": (lambda p: with_images(p, mask_size=56), "mask_size= is of a crop"),
    **{
        f"Selection of {name}": (selecting(**options), said)
        for name, options, said in (
            ("a wnid", {"labels": "n01440764"}, "labels is a list"),
            ("a label", {"labels": 0}, "labels is a list"),
            ("another zone", {"zone": "x"}, "There is no zone 'x'"),
            ("none", {"most_spurious": 0}, "use 1 or more images of each class"),
            ("less than none", {"least_spurious": -1}, "use 1 or more images of each class"),
        )
    },
    "join nothing": (lambda p: joined(p, None), "Images are a path or a dataset"),
    "join a path": (lambda p: joined(p, str(p.world.root)), "not str"),
    "join all splits": (lambda p: joined(p, {"train": pictures()}), "joined one by one"),
    "join without images": (lambda p: joined(p, pictures(), split="train"), "0 columns of images"),
    "join without a split": (lambda p: joined(p, pictures()), "does not tell its split"),
    "join another split": (lambda p: joined(p, pictures(), split="test"), "has no split test"),
    "join another column": (
        lambda p: joined(p, pictures(), split="train", image_column="x"),
        "The dataset has no column x",
    ),
    "join by another column": (
        lambda p: joined(p, pictures(), split="train", image_column="label", id_column="x"),
        "The dataset has no column x",
    ),
    **{
        f"render {name}": (
            rendering(*arguments, **options),
            said,
        )
        for name, arguments, options, said in (
            ("another kind", (row(), "both"), {}, "There is no kind 'both'"),
            ("another feature", (row(), 2), {}, "There is no feature 2: a class has 2"),
            ("without grids", (row(grids=None),), {}, "needs the columns grids"),
            ("without kinds", (row(kinds=None),), {}, "needs the columns kinds"),
            ("without a shape", (row(grids=bytes(98)),), {}, "needs the columns grid_height"),
            ("no pixels", (row(),), {"size": 0}, "size cannot be 0"),
            ("an empty window", (row(),), {"window": (5, 5, 5, 9)}, "has no pixels"),
            ("a window turned around", (row(),), {"window": (9, 9, 1, 1)}, "has no pixels"),
            ("no number", (row(),), {"window": (0, 0, float("nan"), 9)}, "has no pixels"),
            ("another geometry", (row(),), {"geometry": "x"}, "There is no geometry 'x'"),
        )
    },
    "a box of another geometry": (lambda p: si.grid_box(9, 9, "x"), "There is no geometry 'x'"),  # type: ignore[arg-type]
}

CALLING = [Case(name, said, called=call) for name, (call, said) in CALLS.items()]
CASES = [*READING, *BUILDING, *OTHERS, *CALLING]


@pytest.fixture
def place(planted_world: World, planted: Path, segmented: Path, tmp_path: Path) -> Place:
    return Place(planted_world, planted, segmented, tmp_path)


@pytest.fixture(autouse=True)
def away_from_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)


def test_there_are_many() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 200


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("case", CASES, ids=lambda case: printable(case.name))
def test_a_wrong_input_is_one_sentence(
    case: Case,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if case.called:
        with pytest.raises((si.SalientImageNetError, FileNotFoundError)) as raised:
            case.called(place)
        said = str(raised.value)
        check_sentence(said)
    else:
        assert case.typed
        words_typed = map(str, case.typed(place))
        monkeypatch.setattr("sys.argv", ["salient-imagenet", *words_typed])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        said = said_on(printed.err)
        assert ended.value.code == case.status, printed
        assert case.status == 1 or not printed.out
    assert case.said in said


def said_on(terminal: str) -> str:
    """Return the sentence on a terminal, or what typer says of the command line."""
    assert "Traceback" not in terminal
    lines = terminal.splitlines()
    if lines[0].startswith("Usage: "):
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", terminal).split())
    assert terminal.count("Error: ") <= 1
    said = lines[-1].removeprefix("Error: ")
    check_sentence(said)
    return said


def check_sentence(said: str) -> None:
    """See that a sentence is one, on one line, without what a terminal would obey."""
    assert said.endswith("."), said
    assert said == printable(said)
    assert len(said.split()) >= 4
