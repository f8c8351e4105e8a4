"""Heads that are fine-tuned on training images with object masks, and evaluated."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import timm
import torch

import salient_imagenet_1m as si
from builder.errors import BuildError
from builder.evaluate.classifier import View
from builder.evaluate.evaluation import evaluate
from builder.evaluate.features import FeatureStore
from builder.evaluate.models import model_list
from builder.network.head import read_head
from builder.objects.fine_tuning import Recipe, fine_tune
from builder.objects.hard_imagenet import HardImageNet
from builder.objects.heads import planned, with_fine_tuned
from builder.objects.views import ObjectViews
from builder.settings.evaluation import Evaluation
from tests.built import hashes
from tests.conftest import NETWORK, World
from tests.quiet import Quiet

CLASSES = [0, 2]


@pytest.fixture(scope="module")
def some_classes(segmented: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set in which images of two classes of three have object masks."""
    data = shutil.copytree(segmented, tmp_path_factory.mktemp("some") / "data")
    for path in (data / "segmentations").iterdir():
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.is_in(table["label"], pa.array(CLASSES, pa.int64()))), path)
    return data


@pytest.fixture
def settings(some_classes: Path, world: World, tmp_path: Path) -> Evaluation:
    return Evaluation(
        data=str(some_classes),
        images=str(world.root),
        out=tmp_path / "out",
        model=[f"{NETWORK}={world.checkpoint}"],
        suite="hard-imagenet",
        head_finetune=True,
        no_alignment=True,
        draws=1,
        device="cpu",
    )


def features_of(settings: Evaluation, world: World, split: str) -> dict[str, torch.Tensor]:
    """Return what the network hands to its head, of each image with an object mask."""
    model = timm.create_model("test_resnet", num_classes=3).eval()
    model.load_state_dict(torch.load(world.checkpoint, weights_only=True))
    config = model.pretrained_cfg
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    view = View(config["input_size"][-1], config["interpolation"])
    found = {}
    for example in si.load(
        settings.data,
        images=settings.images,
        split=split,
        streaming=True,
        objects=True,
        select=si.Selection(segmented=True),
    ):
        shown = torch.from_numpy(ObjectViews([view]).shown(example["image"], view))
        image = (shown.permute(2, 0, 1) / 255 - mean) / std
        with torch.no_grad():
            pooled = model.forward_head(model.forward_features(image[None]), pre_logits=True)
        found[example["image_id"]] = pooled[0]
    return found


def in_rows(data: str, ids: dict[str, torch.Tensor]) -> list[str]:
    """Return training images in the order of the data set, of which that of steps is drawn."""
    files = sorted(Path(data, "masks").glob("train-*"))
    rows = [name for path in files for name in pq.read_table(path)["image_id"].to_pylist()]
    return [name for name in rows if name in ids]


def test_each_model_is_evaluated_with_the_head_that_training_images_give(
    settings: Evaluation, world: World, reporter: Quiet
) -> None:
    entries = with_fine_tuned(settings, model_list(settings), reporter)
    assert [entry.title for entry in entries] == [
        NETWORK if entry.head is None else f"{NETWORK}, head fine-tuned" for entry in entries
    ]
    results = evaluate(settings, reporter, entries=entries, make_suite=HardImageNet)
    train, tested = (features_of(settings, world, split) for split in ("train", "validation"))
    order = in_rows(settings.data, train)
    labels = {
        row["image_id"]: CLASSES.index(row["label"])
        for row in si.load(settings.data, "masks", split="train", streaming=True)
        if row["image_id"] in train
    }
    head = fine_tune(
        torch.stack([train[name] for name in order]),
        torch.tensor([labels[name] for name in order]),
        2,
        Recipe(),
    )
    rows = [
        row
        for row in results.predictions.to_pylist()
        if row["model"].endswith("fine-tuned") and row["condition"] == "clean"
    ]
    assert {row["image_id"] for row in rows} == set(tested)
    for row in rows:
        shares = head(tested[row["image_id"]]).softmax(0)
        assert row["predicted"] == CLASSES[int(shares.argmax())]
        expected = shares[CLASSES.index(row["label"])].item()
        assert row["probability"] == pytest.approx(expected, abs=1e-3)
    # What is there is not trained again, and the same comes out.
    before = hashes(settings.out)
    with patch.object(FeatureStore, "features", side_effect=AssertionError):
        assert with_fine_tuned(settings, model_list(settings), reporter) == entries
    evaluate(settings, reporter, entries=entries, make_suite=HardImageNet)
    assert hashes(settings.out) == before


def test_a_class_that_nobody_drew_is_never_said(settings: Evaluation, reporter: Quiet) -> None:
    [_, tuned] = with_fine_tuned(settings, model_list(settings), reporter)
    assert tuned.head
    head = read_head(tuned.head)
    assert head.weight.shape[0] == 3
    assert head.bias[1] == -1e4
    assert not head.weight[1].any()


def test_another_s_directory_gets_no_head(settings: Evaluation, reporter: Quiet) -> None:
    settings.out.mkdir()
    (settings.out / "notes").write_text("mine")
    with pytest.raises(BuildError, match="is not empty and holds no evaluation"):
        with_fine_tuned(settings, model_list(settings), reporter)
    assert [path.name for path in settings.out.iterdir()] == ["notes"]


def test_heads_that_are_missing_at_the_end_are_named(settings: Evaluation, reporter: Quiet) -> None:
    final = replace(settings, finalise_only=True)
    with pytest.raises(BuildError, match=f"The head of {NETWORK} is not fine-tuned yet: run the"):
        with_fine_tuned(final, model_list(final), reporter)
    assert not final.out.exists()
    trained = with_fine_tuned(settings, model_list(settings), reporter)
    assert with_fine_tuned(final, model_list(final), reporter) == trained


def test_a_dry_run_counts_them_and_trains_none(settings: Evaluation) -> None:
    titles = [entry.title for entry in planned(settings, model_list(settings))]
    assert titles == [NETWORK, f"{NETWORK}, head fine-tuned"]
    assert not settings.out.exists()
