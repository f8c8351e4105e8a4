"""Subgroups from end to end, on the tiny world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_dataset
from PIL.Image import Resampling
from torchvision.transforms import functional

import salient_imagenet_1m as si
from builder.errors import BuildError
from builder.evaluate.models import load_classifier
from builder.run.build import build
from builder.storage.parquet import write_parquet
from builder.subgroups import output
from builder.subgroups.subgroups import find_subgroups
from tests import reference
from tests.conftest import CLASSES, NETWORK, World, write_checkpoint
from tests.quiet import Quiet
from tests.subgroups.conftest import Options

WRITTEN = [
    "README.md",
    "components/train-00000-of-00001.parquet",
    "memberships/train-00000-of-00001.parquet",
    "report.html",
    "report.json",
    "subgroups.json",
]


def files(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def seen(world: World, planted: Path, checkpoint: Path) -> dict[str, tuple[Any, Any, int]]:
    """Return what the network hands to its head, its logits and the label, image by image."""
    classifier = load_classifier(NETWORK, checkpoint)
    model: Any = classifier.model.eval()
    found = {}
    columns = ["image", "image_id", "label", "width", "height"]
    for row in si.load(planted, images=world.root, split="train", streaming=True, columns=columns):
        side = classifier.view.size
        window = tuple(si.crop_box(row["width"], row["height"]))
        resampling = Resampling[classifier.view.interpolation.upper()]
        image = row["image"].resize((side, side), resampling, box=window)
        mean, std = list(classifier.mean), list(classifier.std)
        pixels = functional.normalize(functional.to_tensor(image), mean, std)
        with torch.no_grad():
            handed = model.forward_head(model.forward_features(pixels[None]), pre_logits=True)
            found[row["image_id"]] = handed[0], model.get_classifier()(handed)[0], row["label"]
    return found


def test_what_is_written_is_what_the_slow_way_finds(
    options: Options, planted: Path, planted_world: World, reporter: Quiet
) -> None:
    settings = options()
    summary = find_subgroups(settings, reporter)
    assert list(files(settings.out)) == WRITTEN
    rows = list(load_dataset(str(settings.out), "memberships", split="train"))
    answers = seen(planted_world, planted, planted_world.checkpoint)
    assert [row["image_id"] for row in rows] == sorted(
        answers, key=lambda name: (answers[name][2], name)
    )
    for label in range(len(CLASSES)):
        own = [row for row in rows if row["label"] == label]
        losses = []
        for row in own:
            _, logits, truth = answers[row["image_id"]]
            losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(truth))))
            assert row["loss"] == pytest.approx(losses[-1], rel=1e-3, abs=1e-5)
            assert row["right"] == (int(logits.argmax()) == truth)
            assert row["subgroup"] == np.argmax(row["memberships"])
            assert sum(row["memberships"]) == pytest.approx(1)
        values = torch.stack([answers[row["image_id"]][0] for row in own]).numpy()
        expected = np.abs(reference.dim_scores(values, np.array(losses)[:, None], 3, 1.0))
        found = np.abs([row["scores"] for row in own])
        # Components come by accuracy: each is one of the slow way's.
        for scores in found.T:
            assert min(np.abs(scores - other).max() for other in expected.T) < 2e-3
        told = summary["classes"][label]["subgroups"]
        accuracies = [
            np.mean([row["right"] for row in own if row["subgroup"] == group])
            for group in range(6)
            if any(row["subgroup"] == group for row in own)
        ]
        assert accuracies == sorted(accuracies)
        known = [group["accuracy"]["value"] for group in told if group["accuracy"]["images"]]
        assert known == pytest.approx(accuracies)


def test_components_are_named_by_the_activations_of_annotated_features(
    options: Options, planted: Path, planted_world: World, reporter: Quiet
) -> None:
    summary = find_subgroups(options(votes=planted_world.votes), reporter)
    masks = {row["image_id"]: row for row in si.load(planted, "masks", split="train")}
    rows = list(load_dataset(str(options().out), "memberships", split="train"))
    for label, told in enumerate(summary["classes"]):
        own = [row for row in rows if row["label"] == label]
        assert [pair["feature"] for pair in told["features"]] == masks[own[0]["image_id"]][
            "features"
        ]
        assert {tuple(pair["reasons"]) for pair in told["features"]} == {("why",)}
        for group, component in enumerate(told["subgroups"]):
            scores = [row["scores"][group] for row in own]
            assert len(component["features"]) == 5
            for named in component["features"]:
                place = masks[own[0]["image_id"]]["features"].index(named["feature"])
                values = [masks[row["image_id"]]["activations"][place] for row in own]
                expected = np.corrcoef(values, scores)[0, 1] if np.std(values) else 0
                assert named["correlation"] == pytest.approx(expected, abs=1e-4)
            sizes = [abs(named["correlation"]) for named in component["features"]]
            assert sizes == sorted(sizes, reverse=True)
            order = sorted(own, key=lambda row: -row["scores"][group])
            assert component["high_images"][0] == order[0]["image_id"]
            assert component["low_images"][0] == order[-1]["image_id"]
    assert len(summary["classes"][1]["subgroups"]) == 6
    assert summary["classes"][1]["features"][0]["kind"] == "spurious"
    assert summary["classes"][1]["features"][0]["votes"]["separate_object"] == 5


def test_whoever_is_killed_goes_on_to_the_same_bytes(
    options: Options, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = options("whole"), options("cut")
    find_subgroups(whole, reporter)
    calls = []

    def dies(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write_parquet(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(output, "write_parquet", dies)
    with pytest.raises(KeyboardInterrupt):
        find_subgroups(cut, reporter)
    assert not (cut.out / "components").exists()
    assert (cut.out / ".features").exists()
    find_subgroups(cut, reporter)
    assert files(cut.out) == files(whole.out)
    assert find_subgroups(cut, reporter) == find_subgroups(whole, reporter)
    assert "holds these very subgroups" in reporter.lines[-1]
    with pytest.raises(BuildError, match="holds another set of subgroups: its components is"):
        find_subgroups(options("cut", components=2), reporter)


def test_losses_of_several_checkpoints_supervise_and_the_last_is_the_model(
    options: Options, planted_world: World, tmp_path: Path, reporter: Quiet
) -> None:
    other = tmp_path / "other.pt"
    write_checkpoint(other)
    weights = torch.load(other, weights_only=True)
    torch.save({n: w + 0.01 if w.is_floating_point() else w for n, w in weights.items()}, other)
    alone = options("alone")
    several = options("several", model=NETWORK, checkpoint=[other, planted_world.checkpoint])
    find_subgroups(alone, reporter)
    find_subgroups(several, reporter)
    one, both = (
        pq.read_table(settings.out / WRITTEN[2]).to_pylist() for settings in (alone, several)
    )
    assert [row["loss"] for row in one] == [row["loss"] for row in both]
    assert [row["right"] for row in one] == [row["right"] for row in both]
    assert [row["scores"] for row in one] != [row["scores"] for row in both]


def test_embeddings_of_the_build_are_taken_where_there_are_some(
    options: Options, planted_world: World, tmp_path: Path, reporter: Quiet
) -> None:
    built = tmp_path / "built"
    build(planted_world.settings(built, keep_embeddings=True, shard_size=18), reporter)
    kept, own = options("kept", data=str(built)), options("own", data=str(built), features="model")
    find_subgroups(kept, reporter)
    find_subgroups(own, reporter)
    told = [json.loads((settings.out / "subgroups.json").read_text()) for settings in (kept, own)]
    assert [one["features"] for one in told] == ["embeddings", "model"]
    # The build's network is the model: what it kept, as float16, is what it hands to its head.
    one, other = (
        np.abs([row["scores"] for row in pq.read_table(s.out / WRITTEN[2]).to_pylist()])
        for s in (kept, own)
    )
    assert np.median(np.abs(np.sort(one) - np.sort(other))) < 0.02


def test_what_cannot_be_divided_is_a_sentence(
    options: Options, tmp_path: Path, reporter: Quiet
) -> None:
    with pytest.raises(BuildError, match="keeps no embeddings of train: use --features model"):
        find_subgroups(options(features="embeddings"), reporter)
    with pytest.raises(BuildError, match="There are no features otter: use --features embed"):
        options(features="otter")
    with pytest.raises(BuildError, match="There is no method otter: use --method dim or pca"):
        options(method="otter")
    with pytest.raises(BuildError, match="--words names directions of CLIP's features"):
        options(words=tmp_path / "words.txt")


def test_classes_of_few_images_are_not_divided(options: Options, reporter: Quiet) -> None:
    summary = find_subgroups(options(components=12, method="kmeans"), reporter)
    assert summary["not_divided"] == [0, 1, 2]
    assert summary["worst_accuracy"] is None
    page = (options().out / "report.html").read_text()
    assert "3 classes that have too few images" in page
