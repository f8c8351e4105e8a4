"""Heads tuned from beginning to end, on the tiny world."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Resampling
from torchvision.transforms import functional

import salient_imagenet_1m as si
from builder.errors import BuildError
from builder.evaluate import features
from builder.evaluate.classifier import Classifier
from builder.evaluate.evaluation import evaluate_model
from builder.evaluate.models import load_classifier
from builder.network.head import find_head, read_head
from builder.settings.head_tuning import HeadTuning
from builder.storage.parquet import write_parquet
from builder.tune.tuning import NEVER, tune_head
from tests import reference
from tests.conftest import NETWORK, World
from tests.quiet import Quiet

Options = Callable[..., HeadTuning]
WRITTEN = ["head.safetensors", "report.html", "report.json", "tuning.json"]


@pytest.fixture
def options(planted: Path, planted_world: World, tmp_path: Path) -> Options:
    def make(out: str = "out", **changes: object) -> HeadTuning:
        chosen: dict[str, object] = {
            "model": f"{NETWORK}={planted_world.checkpoint}",
            "per_class": 4,
            "k": 2,
            "epochs": 2,
            "stop_gap": -101.0,
            "fits": 2,
            "batch_size": 4,
            "device": "cpu",
            **changes,
        }
        return HeadTuning(
            data=str(planted),
            images=str(planted_world.root),
            out=tmp_path / out,
            **chosen,  # type: ignore[arg-type]
        )

    return make


def test_a_head_is_what_the_slow_descent_makes_of_the_network_s_features(
    options: Options, planted: Path, planted_world: World, reporter: Quiet
) -> None:
    settings = options(learning_rate=0.05)
    summary = tune_head(settings, reporter)
    assert sorted(path.name for path in settings.out.iterdir()) == WRITTEN
    assert (summary["images"], len(summary["epochs"])) == (8, 3)
    head = read_head(settings.out / "head.safetensors")
    classifier = load_classifier(NETWORK, planted_world.checkpoint)
    assert head.weights_sha256 == classifier.weights_sha256

    own = find_head(NETWORK, classifier.model, classifier.view.size)
    chosen = si.load(planted, "masks", split="train", select=si.Selection(least_spurious=4)).sort(
        "image_id"
    )
    values, labels = _features(classifier, planted, planted_world, chosen["image_id"])
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(8, generator=generator) for _ in range(2)]
    weight, bias = reference.descend(own.weight, own.bias, values, labels, 0.05, orders)
    # All eight are one batch, so that their order is none.
    torch.testing.assert_close(head.weight, weight.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.bias, bias.detach(), rtol=1e-4, atol=1e-5)


def _features(
    classifier: Classifier, planted: Path, world: World, ids: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the network hands to its head, image by image, by timm's own functions."""
    model: Any = classifier.model.eval()
    found, labels = [], []
    rows = si.load(
        planted,
        images=world.root,
        split="train",
        streaming=True,
        select=si.Selection(ids=list(ids)),
        columns=["image", "image_id", "label", "width", "height"],
    )
    for row in sorted(rows, key=lambda row: row["image_id"]):
        view = classifier.view
        window = tuple(si.crop_box(row["width"], row["height"]))
        resampling = Resampling[view.interpolation.upper()]
        image = row["image"].resize((view.size, view.size), resampling, box=window)
        pixels = functional.normalize(
            functional.to_tensor(image), list(classifier.mean), list(classifier.std)
        )
        with torch.no_grad():
            maps = model.forward_features(pixels[None])
            found.append(model.forward_head(maps, pre_logits=True))
        labels.append(row["label"])
    return torch.cat(found), torch.tensor(labels)


def test_before_is_what_an_evaluation_says_of_the_same_images(
    options: Options, planted: Path, planted_world: World, reporter: Quiet
) -> None:
    summary = tune_head(options(), reporter)
    classifier = load_classifier(NETWORK, planted_world.checkpoint)
    results = evaluate_model(
        classifier, planted, planted_world.root, k=1, draws=1, device="cpu", batch_size=4
    )
    clean = [row for row in results.predictions.to_pylist() if row["condition"] == "clean"]
    told = []
    for label in sorted({row["label"] for row in clean}):
        own = [row for row in clean if row["label"] == label]
        if own[0]["spuriosity_rank"] is not None:
            own = sorted(own, key=lambda row: row["spuriosity_rank"])[1::2]
            told.append(np.mean([row["predicted"] == row["label"] for row in (own[0],)]))
    assert summary["before"]["top_accuracy"]["value"] == pytest.approx(np.mean(told))


def test_whoever_is_killed_goes_on_to_the_same_bytes(
    options: Options, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = options("whole"), options("cut")
    tune_head(whole, reporter)
    calls = []

    def dies(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write_parquet(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "write_parquet", dies)
    with pytest.raises(KeyboardInterrupt):
        tune_head(cut, reporter)
    assert sorted(path.name for path in cut.out.iterdir()) == [".features", "tuning.json"]
    tune_head(cut, reporter)
    for name in WRITTEN:
        assert (cut.out / name).read_bytes() == (whole.out / name).read_bytes()
    assert tune_head(cut, reporter) == tune_head(whole, reporter)
    assert "holds this very head" in reporter.lines[-1]
    with pytest.raises(BuildError, match="holds another model: its epochs is 2, this command's is"):
        tune_head(options("cut", epochs=3), reporter)


def test_features_of_a_store_are_computed_once(
    options: Options, tmp_path: Path, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    tune_head(options("first", features=store), reporter)
    files = sorted(store.rglob("*.parquet"))
    monkeypatch.setattr(features.Encoder, "__call__", None)
    tune_head(options("second", features=store, learning_rate=0.5), reporter)
    assert sorted(store.rglob("*.parquet")) == files
    files[0].write_bytes(b"PAR1")
    with pytest.raises(BuildError, match=r"is damaged .*: remove it and run the same"):
        tune_head(options("third", features=store, learning_rate=0.7), reporter)


def test_controls_see_other_images(options: Options, reporter: Quiet) -> None:
    random = tune_head(options("random", choose="random"), reporter)
    assert random["images"] == 8
    wrong = tune_head(options("wrong", choose="misclassified", per_class=100), reporter)
    assert 0 < wrong["images"] < 24
    assert reporter.lines[-1] == "2 ranked classes have fewer than 100 such images."


def test_classes_without_a_ranking_may_have_their_say(
    options: Options, planted: Path, planted_world: World, reporter: Quiet
) -> None:
    """Else the head unlearns the one that there is."""
    rows = si.load(planted, "masks", split="train")
    [unranked] = {row["label"] for row in rows if row["spuriosity_rank"] is None}
    classifier = load_classifier(NETWORK, planted_world.checkpoint)
    biases = [find_head(NETWORK, classifier.model, classifier.view.size).bias.detach()]
    for name, also in (("ranked", False), ("all", True)):
        settings = options(name, also_unranked=also, learning_rate=0.05, epochs=10)
        assert tune_head(settings, reporter)["images"] == (12 if also else 8)
        biases.append(read_head(settings.out / "head.safetensors").bias.detach())
        said = "of each ranked class, and random ones of each other. Epochs: 10"
        assert (said in (settings.out / "report.html").read_text()) == also
    own, without, including = (float(bias[unranked]) for bias in biases)
    assert without < own
    assert without < including


def test_a_fitted_head_has_the_classes_of_its_images(options: Options, reporter: Quiet) -> None:
    settings = options(method="dfr")
    summary = tune_head(settings, reporter)
    assert summary["images"] == 24
    assert len(summary["worst_accuracy"]) == 7
    head = read_head(settings.out / "head.safetensors")
    assert head.weight.shape == (3, 96)
    assert (head.bias > NEVER).all()
    with pytest.raises(BuildError, match="needs four images of each class"):
        tune_head(options("few", method="dfr", per_class=1), reporter)


def test_what_cannot_be_tuned_is_a_sentence(options: Options, reporter: Quiet) -> None:
    with pytest.raises(BuildError, match=r"--k 3 takes 6 validation images .*: use --k 2"):
        tune_head(options(k=3), reporter)
    with pytest.raises(BuildError, match="--method dfr takes images from both ends"):
        options(method="dfr", choose="random")
    with pytest.raises(BuildError, match="at random of classes without one: leave out --also-unr"):
        options(method="dfr", also_unranked=True)
    with pytest.raises(BuildError, match="There is no choose few: use --choose least-spurious"):
        options(choose="few")
    with pytest.raises(BuildError, match="There is no method otter: use --method sgd or dfr"):
        options(method="otter")
