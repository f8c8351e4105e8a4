"""The whole way of somebody's own images, by commands alone: from folders to a joined dataset."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

import salient_imagenet_1m as si
from builder.annotate.candidates import read_candidates
from builder.cli import main
from builder.network.convnet import MEAN, STD, SmallConvNet

COLOURS = {"robin": (200, 60, 50), "barn owl": (210, 190, 150), "red kite": (60, 60, 190)}
OUTPUTS = list(COLOURS)
"""In the order of the network's outputs, which is not that of the names."""
NAMES = ("photo 1.jpg", "photo 2.jpg", "photo 3.png", "photo 4.jpg")
TITLE = "Birds & <b>friends</b>"
SOURCE = "https://example.org/birds"

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return folders of small images: each class has the same names, and a colour of its own."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for folder, colour in COLOURS.items():
            (tmp_path / "birds" / split / folder).mkdir(parents=True)
            for name in NAMES:
                noise = generator.integers(-40, 40, (64, 64, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "birds" / split / folder / name)
    return tmp_path / "birds"


@pytest.fixture
def checkpoint(images: Path, tmp_path: Path) -> Path:
    """Return a network whose head tells the classes by the means of their features."""
    torch.manual_seed(0)
    model = SmallConvNet(len(OUTPUTS)).eval()
    means = []
    with torch.no_grad():
        for folder in OUTPUTS:
            image = Image.open(images / "train" / folder / NAMES[0]).convert("RGB")
            pixels = functional.to_tensor(functional.resize(image, [224]))
            means.append(model.features(((pixels - MEAN) / STD)[None]).mean((0, 2, 3)))
        centred = torch.stack(means) - torch.stack(means).mean(0)
        model.head.weight.copy_(torch.linalg.pinv(centred).T)
        model.head.bias.copy_(-model.head.weight @ torch.stack(means).mean(0))
    path = tmp_path / "birds.ckpt"
    torch.save({"state_dict": {f"model.{n}": t for n, t in model.state_dict().items()}}, path)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs a command line and returns its exit status and all that it said."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["salient-imagenet", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out + said.err

    return run


def fill_in(votes: Path) -> None:
    """Call each class's second feature background, and the others its main object."""
    with votes.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        spurious = row["Input.feature_rank"] == "2"
        row["Answer.main"] = "background" if spurious else "main_object"
        row["Answer.confidence"] = "4"
    with votes.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_from_folders_to_a_joined_dataset(
    images: Path, checkpoint: Path, tmp_path: Path, run: Run
) -> None:
    classes, table, out = tmp_path / "classes.txt", tmp_path / "features.csv", tmp_path / "data"
    classes.write_text("\n".join(OUTPUTS))
    network = ("--network", "small-convnet", "--checkpoint", checkpoint, "--device", "cpu")
    inputs = ("--images", images, *network, "--classes", classes)

    status, said = run("discover", *inputs, "--out", table)
    assert (status, "15 class-feature pairs" in said) == (0, True)
    with table.open(newline="") as file:
        features = list(csv.DictReader(file))
    assert {(row["wnid"], int(row["label"])) for row in features} == {
        (name, label) for label, name in enumerate(OUTPUTS)
    }
    assert all(row["image_1"].startswith(f"{row['wnid']}/photo ") for row in features)

    votes = tmp_path / "features-votes.csv"
    words = ("--title", TITLE, "--source", SOURCE, "--licence", "CC BY 4.0")
    build = ("build", *inputs, "--votes", votes, "--out", out, *words)
    status, said = run(*build)
    assert (status, "75 of the 75 rows" in said) == (2, True)
    fill_in(votes)
    for split in ("train", "validation"):
        status, said = run(*build, "--split", split)
        assert status == 0, said
    status, said = run("verify", out, "--images", images)
    assert status == 0, said

    check_loaded(images, out)
    check_words(out)
    status, said = run("gallery", out, "--images", images, "--out", tmp_path / "page.html")
    assert status == 0, said
    assert "Birds &amp; &lt;b&gt;friends" in (tmp_path / "page.html").read_text()


def test_classes_are_those_of_a_dataset_that_names_its_labels(
    images: Path, checkpoint: Path, tmp_path: Path, run: Run
) -> None:
    source, table, out = tmp_path / "parquet", tmp_path / "features.csv", tmp_path / "data"
    names = datasets.ClassLabel(names=OUTPUTS)
    for split, folder in (("train", "train"), ("validation", "val")):
        files = sorted((images / folder).glob("*/*"))
        columns = {
            "image": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
            "label": [OUTPUTS.index(file.parent.name) for file in files],
        }
        features = datasets.Features({"image": datasets.Image(), "label": names})
        rows = datasets.Dataset.from_dict(columns, features=features)
        rows.to_parquet(source / f"{split}-00000-of-00001.parquet")
    network = ("--network", "small-convnet", "--checkpoint", checkpoint, "--device", "cpu")
    inputs = ("--images", source, *network)
    status, said = run("discover", *inputs, "--out", table)
    assert status == 0, said
    pairs = read_candidates(table)
    assert {(pair.wnid, pair.label) for pair in pairs} == {
        (name, label) for label, name in enumerate(OUTPUTS)
    }
    votes = tmp_path / "features-votes.csv"
    fill_in(votes)
    for split in ("train", "validation"):
        status, said = run("build", *inputs, "--votes", votes, "--out", out, "--split", split)
        assert status == 0, said
    stream = si.load(out, images=source, split="train", streaming=True)
    assert stream.features["label"].names == OUTPUTS
    found = {row["image_id"]: row["label"] for row in stream}
    assert len(found) == len(OUTPUTS) * len(NAMES)
    assert all(name.partition("/")[0] == OUTPUTS[label] for name, label in found.items())
    assert all(found.keys() >= set(pair.images) for pair in pairs)
    status, said = run("gallery", out, "--images", source, "--out", tmp_path / "page.html")
    assert status == 0, said
    assert all(name in (tmp_path / "page.html").read_text() for name in OUTPUTS)


def check_loaded(images: Path, out: Path) -> None:
    """Every image is there with its class, by the loader and by a join."""
    expected = {f"{path.parent.name}/{path.stem}": path for path in (images / "train").glob("*/*")}
    stream = si.load(out, images=images, split="train", streaming=True)
    assert stream.features["label"].names == OUTPUTS
    found = {row["image_id"]: row for row in stream}
    assert found.keys() == expected.keys()
    for name, row in found.items():
        assert OUTPUTS[row["label"]] == OUTPUTS[row["predicted"]] == name.partition("/")[0]
        assert row["image"].tobytes() == Image.open(expected[name]).convert("RGB").tobytes()
        assert row["spurious_mask"].size == (64, 64)
    kites = si.load(out, split="val", select=si.Selection(labels=["red kite"]))
    assert set(kites["label"]) == {OUTPUTS.index("red kite")}
    mine = datasets.load_dataset("imagefolder", data_dir=str(images / "train"), split="train")
    joined = si.join(mine, out)
    assert [joined[row]["image_id"] for row in range(len(joined))] == [
        si.image_id(path) for path in sorted(map(str, expected.values()))
    ]


def check_words(out: Path) -> None:
    """The card speaks of birds, and names ImageNet where it names a paper or the loader alone."""
    card = (out / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    assert "pretty_name: Birds & <b>friends</b>" in header
    assert "license_name: cc-by-4.0" in header
    assert body.startswith("\n# Birds &amp; &lt;b&gt;friends&lt;/b&gt;\n")
    assert f"for each image of {SOURCE} the soft masks" in body
    assert "* **This data set**: CC BY 4.0.\n" in body
    croissant = json.loads((out / "croissant.json").read_text())
    assert croissant.pop("citeAs")
    assert croissant["license"] == "CC BY 4.0"
    for text in (re.sub(r"^  title .*$", "", body, flags=re.MULTILINE), header, str(croissant)):
        assert "imagenet" not in text.lower().replace("salient_imagenet_1m", "")
