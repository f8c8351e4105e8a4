from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import timm
import torch
from PIL import Image
from timm.data.imagenet_info import ImageNetInfo
from torchvision import transforms

from builder.annotate.candidates import COLUMNS, TopImages, read_candidates
from builder.annotate.discover import discover
from builder.dataset.classes import class_names, read_classes
from builder.errors import BuildError
from builder.images.labels import label_classes
from builder.images.sources import NO_LABEL
from builder.settings.annotation import Search
from tests.conftest import CLASSES, NETWORK, World
from tests.quiet import Quiet


def search(world: World, out: Path, **changes: Any) -> Search:
    options = {
        "images": str(world.root),
        "network": NETWORK,
        "checkpoint": world.checkpoint,
        "device": "cpu",
        "batch_size": 4,
        **changes,
    }
    return Search(out=out, **options)


def listed(wnids: list[str | None], labels: list[int] | None = None) -> Any:
    return SimpleNamespace(
        paths=pa.array([f"{index}.JPEG" for index in range(len(wnids))], pa.string()),
        wnids=pa.array(wnids, pa.string()),
        labels=np.array(labels or [NO_LABEL] * len(wnids), np.int64),
    )


def slow_features(world: World) -> dict[int, list[tuple[int, float, list[str]]]]:
    """Return each predicted class's top five features as the formula says, image by image."""
    model: Any = timm.create_model(NETWORK.partition(":")[2], num_classes=len(CLASSES)).eval()
    model.load_state_dict(torch.load(world.checkpoint, weights_only=True))
    config = model.pretrained_cfg
    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(config["mean"], config["std"]),
        ]
    )
    ids, labels, rows, predicted = [], [], [], []
    for label, wnid in enumerate(CLASSES):
        for path in sorted((world.root / "train" / wnid).iterdir()):
            image = prepare(Image.open(path).convert("RGB"))[None]
            with torch.no_grad():
                rows.append(model.forward_features(image).mean((2, 3))[0].numpy())
                predicted.append(int(model(image).argmax()))
            ids.append(path.stem)
            labels.append(label)
    activations, weight = np.array(rows), model.get_classifier().weight.detach().numpy()
    found = {}
    for label in sorted(set(predicted)):
        importance = (activations[np.array(predicted) == label] * weight[label]).mean(0)
        own = np.flatnonzero(np.array(labels) == label)
        found[label] = [
            (
                feature,
                float(importance[feature]),
                [ids[row] for row in own[np.argsort(-activations[own, feature])][:5]],
            )
            for feature in np.argsort(-importance)[:5].tolist()
        ]
    return found


def test_features_and_images_are_the_formula_s(world: World, tmp_path: Path) -> None:
    out = tmp_path / "features.csv"
    candidates = discover(search(world, out), Quiet())
    expected = slow_features(world)
    assert sorted({pair.label for pair in candidates}) == sorted(expected)
    for pair in candidates:
        feature, importance, images = expected[pair.label][pair.rank - 1]
        assert pair.feature == feature
        assert pair.importance == pytest.approx(importance, rel=1e-3)
        assert list(pair.images) == images
        assert pair.wnid == CLASSES[pair.label]


def test_the_table_reads_back_and_has_the_documented_columns(world: World, tmp_path: Path) -> None:
    out = tmp_path / "features.csv"
    candidates = discover(search(world, out), Quiet())
    with out.open(newline="") as file:
        assert next(csv.reader(file)) == list(COLUMNS)
    for read, made in zip(read_candidates(out), candidates, strict=True):
        assert read[:5] == made[:5]
        assert read.images == made.images
        assert read[5:7] == pytest.approx(made[5:7], rel=1e-5)


def test_it_does_not_depend_on_batches_or_workers(world: World, tmp_path: Path) -> None:
    tables = []
    for number, options in enumerate(({}, {"batch_size": 9}, {"workers": 1})):
        discover(search(world, tmp_path / f"{number}.csv", **options), Quiet())
        tables.append([pair[:5] for pair in read_candidates(tmp_path / f"{number}.csv")])
    assert tables[0] == tables[1] == tables[2]


def test_a_broken_image_is_counted_and_stops_nothing(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for wnid in CLASSES:
        (folder / wnid).mkdir(parents=True)
        for path in (world.root / "train" / wnid).iterdir():
            (folder / wnid / path.name).write_bytes(path.read_bytes())
    (folder / CLASSES[0] / "broken.JPEG").write_bytes(b"no image")
    reporter = Quiet()
    discover(search(world, tmp_path / "features.csv", images=str(folder)), reporter)
    assert "1 of 37 images could not be used: 1 not_an_image." in reporter.lines


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": "/nowhere"}, "There is no file, directory or dataset /nowhere"),
        ({"network": "lenet"}, "There is no network lenet"),
        ({"split": "validation", "limit": 1}, None),
    ],
)
def test_bad_input_is_one_sentence(
    world: World, tmp_path: Path, changes: dict[str, Any], sentence: str | None
) -> None:
    out = tmp_path / "features.csv"
    if sentence is None:
        discover(search(world, out, **changes), Quiet())
        assert out.exists()
        return
    with pytest.raises(BuildError, match=sentence):
        discover(search(world, out, **changes), Quiet())
    assert not out.exists()


def test_a_table_is_never_overwritten(world: World, tmp_path: Path) -> None:
    out = tmp_path / "features.csv"
    out.write_text("a week of work")
    with pytest.raises(BuildError, match="exists already"):
        discover(search(world, out), Quiet())
    with pytest.raises(BuildError, match="There is no directory"):
        discover(search(world, tmp_path / "no" / "features.csv"), Quiet())
    assert out.read_text() == "a week of work"


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("/proc/features.csv", "cannot be made"),
        (f"{'x' * 250}.csv", r"-votes.csv cannot be made \(File name too long\)"),
    ],
)
def test_an_out_that_cannot_be_written_is_noticed_before_all_work(
    world: World, out: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.annotate.discover.open_network", unwanted)
    with pytest.raises(BuildError, match=sentence):
        discover(search(world, Path(out)), Quiet())


def unwanted(*_arguments: object) -> None:
    raise AssertionError("nobody should have come so far")


def test_empty_votes_lie_beside_the_table(world: World, tmp_path: Path) -> None:
    candidates = discover(search(world, tmp_path / "features.csv"), Quiet())
    with (tmp_path / "features-votes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * len(candidates)
    for pair, row in zip(candidates, rows[::5], strict=True):
        assert (row["Input.wordnet_id"], row["Input.class_index"]) == (pair.wnid, str(pair.label))
        assert (row["Input.feature_index"], row["Answer.main"]) == (str(pair.feature), "")


def test_votes_are_never_overwritten(world: World, tmp_path: Path) -> None:
    (tmp_path / "features-votes.csv").write_text("a week of work")
    with pytest.raises(BuildError, match=r"features-votes\.csv exists already"):
        discover(search(world, tmp_path / "features.csv"), Quiet())
    assert [path.name for path in tmp_path.iterdir()] == ["features-votes.csv"]


def test_images_that_share_their_ids_are_named_and_not_the_checkpoint(
    world: World, tmp_path: Path
) -> None:
    image = next((world.root / "train").glob("*/*")).read_bytes()
    for wnid in CLASSES:
        (tmp_path / wnid).mkdir()
        for name in ("photo 1.jpg", "photo 1.png"):
            (tmp_path / wnid / name).write_bytes(image)
    said = (
        r"None of the 6 images of .* can be used \(of the first, n\d+/photo 1.jpg: it has the id "
        r"n\d+/photo 1, and so has another\): give each image of a folder a name of its own\."
    )
    with pytest.raises(BuildError, match=said):
        discover(search(world, tmp_path / "features.csv", images=str(tmp_path)), Quiet())


def test_images_that_cannot_be_used_are_named_and_not_the_checkpoint(
    world: World, tmp_path: Path
) -> None:
    for wnid in CLASSES:
        (tmp_path / wnid).mkdir()
        (tmp_path / wnid / f"{wnid}_1.JPEG").write_bytes(b"")
    said = "None of the 3 images can be used: 3 empty; the first is"
    with pytest.raises(BuildError, match=said):
        discover(search(world, tmp_path / "features.csv", images=str(tmp_path)), Quiet())


def write_classes(directory: Path, text: str) -> Path:
    path = directory / "classes.txt"
    path.write_text(text)
    return path


def test_a_file_says_which_output_is_which_class(world: World, tmp_path: Path) -> None:
    order = [CLASSES[2], CLASSES[0], "a class without images"]
    classes = write_classes(tmp_path, "\n".join(order) + "\n")
    reporter = Quiet()
    candidates = discover(search(world, tmp_path / "features.csv", classes=classes), reporter)
    assert {(pair.label, pair.wnid, pair.name) for pair in candidates} <= {
        (0, CLASSES[2], CLASSES[2]),
        (1, CLASSES[0], CLASSES[0]),
    }
    told = "12 of 36 images could not be used: 12 of no class of the network."
    assert told in reporter.lines


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a\nb\na\n", "classes.txt has a in the lines 1 and 3: give each output"),
        ("a\n\nb\n", "classes.txt:2 is empty: name the class of each output"),
        ("a\nb\n", "has 2 classes and the network 3 outputs: name the class of each"),
        ("", "has 0 classes and the network 3 outputs"),
        ("a\nb\nc\n", f"such as {CLASSES[0]}, is among those that --classes names, such as a"),
    ],
)
def test_a_bad_file_of_classes_is_one_sentence(
    world: World, tmp_path: Path, text: str, sentence: str
) -> None:
    classes = write_classes(tmp_path, text)
    with pytest.raises(BuildError, match=sentence):
        discover(search(world, tmp_path / "features.csv", classes=classes), Quiet())


def test_a_file_of_classes_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot be read \(No such file"):
        read_classes(tmp_path / "none.txt", 3)
    (tmp_path / "latin.txt").write_bytes(b"m\xf6we\n")
    with pytest.raises(BuildError, match="is no text in UTF-8"):
        read_classes(tmp_path / "latin.txt", 1)


def test_lines_of_a_file_of_classes_may_end_as_on_windows(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfbarn owl\r\nred kite \r\n\r\n")
    assert read_classes(tmp_path / "classes.txt", 2) == ["barn owl", "red kite"]


def test_a_class_without_a_name_takes_no_folder_s() -> None:
    assert class_names({"class 2": 0, "wren": 1}, 3) == ["class 2", "wren", "another class 2"]


def test_a_file_of_classes_names_the_outputs_that_nobody_voted_on() -> None:
    assert class_names({"wren": 1}, 3, ["robin", "wren", "kite"]) == ["robin", "wren", "kite"]
    imagenet = ImageNetInfo().label_names()
    assert class_names({"n01440764": 0}, 1000, imagenet)[0] == "tench, Tinca tinca"
    assert class_names({"n01440764": 999}, 1000, imagenet[::-1]) == imagenet[::-1]


def test_labels_are_the_sorted_wnids() -> None:
    assert label_classes(listed(["n2", "n1", "n2"]), 2) == {"n1": 0, "n2": 1}
    with pytest.raises(BuildError, match="have 1 classes and the network 2"):
        label_classes(listed(["n1"]), 2)


def test_a_part_of_imagenet_keeps_imagenet_s_labels() -> None:
    assert label_classes(listed(["n01443537"]), 1000) == {"n01443537": 1}


def test_labels_are_the_source_s_where_it_has_them() -> None:
    assert label_classes(listed(["b", "a", "b"], [0, 1, 0]), 3) == {"b": 0, "a": 1}
    # A folder's name is no class where it stands for several.
    assert label_classes(listed(["all", "all"], [0, 1]), 2) == {"class 0": 0, "class 1": 1}
    with pytest.raises(BuildError, match="labels up to 5"):
        label_classes(listed([None], [5]), 2)


def test_top_images_are_those_of_all_batches() -> None:
    generator = np.random.default_rng(0)
    activations = generator.random((40, 3), np.float32)
    activations[:, 2] = 0
    labels = generator.integers(0, 2, 40)
    top = TopImages(2, 3)
    for start in range(0, 40, 7):
        members = np.arange(start, min(start + 7, 40))
        top.add(members, labels[members], activations[members])
    for label in range(2):
        own = np.flatnonzero(labels == label)
        for feature in range(2):
            best = own[np.argsort(-activations[own, feature])][:5]
            assert top.of(label, feature) == best.tolist()
        assert top.of(label, 2) == []
