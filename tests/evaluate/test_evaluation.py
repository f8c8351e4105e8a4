"""Evaluations: models whose answers are known, and numbers against a slow reference."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import timm
import torch
from datasets import load_dataset

import salient_imagenet_1m as si
from builder.errors import BuildError
from builder.evaluate.classifier import Classifier, View
from builder.evaluate.evaluation import Results, evaluate, evaluate_model
from builder.settings.evaluation import Evaluation
from tests.conftest import NETWORK, World
from tests.evaluate.conftest import WORLD, Constant, Guesser, TrueMasks, check_results, raw
from tests.quiet import Quiet


def overall(results: Results) -> dict[str, float]:
    [scores] = results.scores.values()
    return {score.measure: score.value for score in scores if score.label is None}


@pytest.fixture(scope="module")
def known(
    true_masks: TrueMasks, readers: dict[str, Callable[[], Classifier]]
) -> dict[str, dict[str, float]]:
    return {
        name: overall(evaluate_model(make(), true_masks.data, true_masks.images, k=3, draws=2))
        for name, make in readers.items()
    }


def test_who_reads_the_core_needs_it_and_nothing_else(known: dict[str, dict[str, float]]) -> None:
    found = known["reads the core"]
    assert found["clean_accuracy"] == 1
    assert found["core_accuracy"] == 1
    assert found["spurious_accuracy"] == 0
    assert found["relative_core_sensitivity"] == 1
    assert found["spurious_gap"] == 0


def test_who_reads_the_cue_needs_it(
    known: dict[str, dict[str, float]], true_masks: TrueMasks
) -> None:
    found = known["reads the cue"]
    with_cue = [true_masks.places(row["image_id"], "spurious").any() for row in true_masks.rows]
    assert found["clean_accuracy"] == pytest.approx(sum(with_cue) / len(with_cue))
    assert found["core_accuracy"] < 0.1
    assert found["relative_core_sensitivity"] < -0.5
    assert found["spurious_gap"] > 0.9


def test_who_reads_nothing_has_no_preference(known: dict[str, dict[str, float]]) -> None:
    constant, guesses = known["constant"], known["guesses"]
    assert constant["clean_accuracy"] == pytest.approx(1 / WORLD.classes)
    assert constant["relative_core_sensitivity"] == 0
    assert constant["spurious_gap"] == 0
    assert guesses["core_accuracy"] == pytest.approx(1 / WORLD.classes, abs=0.2)


def test_masks_of_other_images_tell_readers_no_longer_apart(
    true_masks: TrueMasks, readers: dict[str, Callable[[], Classifier]], tmp_path: Path
) -> None:
    data = true_masks.shuffled(tmp_path / "data")
    core, cue = (
        overall(evaluate_model(readers[name](), data, true_masks.images, k=3, draws=1))
        for name in ("reads the core", "reads the cue")
    )
    assert core["core_accuracy"] < 0.5
    assert core["relative_core_sensitivity"] == pytest.approx(
        cue["relative_core_sensitivity"], abs=0.25
    )


def asked(planted: Path, world: World, out: Path, **options: Any) -> Evaluation:
    return Evaluation(
        data=str(planted),
        images=str(world.root),
        out=out,
        **{"model": [f"{NETWORK}={world.checkpoint}"], "k": 2, "draws": 2, **options},
    )


def test_every_number_is_the_slow_reference_s(
    planted: Path, world: World, tmp_path: Path, reporter: Quiet
) -> None:
    """One image at a time, from the definitions, with the model as timm gives it."""
    results = evaluate(asked(planted, world, tmp_path / "out"), reporter)
    model = timm.create_model("test_resnet", num_classes=WORLD.classes).eval()
    model.load_state_dict(torch.load(world.checkpoint, weights_only=True))
    config = model.pretrained_cfg
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    check_results(
        results,
        si.load(planted, images=world.root, split="validation", streaming=True),
        lambda images: model(((images - mean) / std).float()),
        View(config["input_size"][-1], config["interpolation"]),
        draws=2,
        k=2,
    )


def test_batches_change_nothing_but_last_bits(
    planted: Path, world: World, tmp_path: Path, reporter: Quiet
) -> None:
    one, two = (
        evaluate(asked(planted, world, tmp_path / str(size), batch_size=size), reporter).predictions
        for size in (3, 8)
    )
    for name in ("model", "condition", "draw", "image_id", "label", "predicted"):
        assert one[name].equals(two[name])
    probabilities = one["probability"].to_numpy(), two["probability"].to_numpy()
    np.testing.assert_allclose(*probabilities, rtol=1e-4, atol=1e-6)


def test_what_is_written_loads_without_our_code(
    planted: Path, world: World, tmp_path: Path, reporter: Quiet
) -> None:
    results = evaluate(asked(planted, world, tmp_path / "out", per_feature=True), reporter)
    predictions = load_dataset(str(tmp_path / "out"), "predictions", split="train", streaming=True)
    assert list(predictions) == results.predictions.to_pylist()
    scores = load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    [written] = results.scores.values()
    assert [row["value"] for row in scores] == [score.value for score in written]
    conditions = pc.unique(results.predictions["condition"]).to_pylist()
    assert {f"on_feature_{place}" for place in range(1, 6)} < set(conditions)


def test_images_may_be_a_dataset(true_masks: TrueMasks) -> None:
    images = load_dataset(
        "imagefolder", data_files=f"{true_masks.images}/val/**", split="train", streaming=False
    )
    options: dict[str, Any] = {"k": 3, "draws": 1}
    of_dataset, of_folder = (
        evaluate_model(raw("guesses", Guesser()), true_masks.data, source, **options)
        for source in (images, true_masks.images)
    )
    assert of_dataset.predictions.equals(of_folder.predictions)


@pytest.mark.parametrize("corruption", ["gray", "mean", "blur"])
def test_other_corruptions_tell_readers_apart_too(
    true_masks: TrueMasks, readers: dict[str, Callable[[], Classifier]], corruption: str
) -> None:
    core, cue = (
        overall(
            evaluate_model(
                readers[name](), true_masks.data, true_masks.images, k=3, corruption=corruption
            )
        )
        for name in ("reads the core", "reads the cue")
    )
    assert core["relative_core_sensitivity"] > 0.8
    assert cue["relative_core_sensitivity"] < 0


class Broken(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) / 0


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        (Broken(), {}, "gives logits that are not finite"),
        (torch.nn.Flatten(), {}, r"has 150528 outputs and the data set 3"),
        (torch.nn.Identity(), {}, "no tensor of a logit per image and class"),
        (torch.nn.Linear(7, 3), {}, r"failed on images of shape \(3, 224, 224\) \(RuntimeError"),
        (Broken(), {"k": 7}, r"--k 7 takes 14 images of each ranked class, and class 0 has 12"),
        (Broken(), {"corruption": "rain"}, "There is no corruption rain"),
        (Broken(), {"device": "tpu"}, "There is no device tpu"),
        (Broken(), {"split": "train"}, "has no split train: use validation"),
    ],
)
def test_bad_input_is_a_sentence(
    true_masks: TrueMasks, model: torch.nn.Module, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((BuildError, si.SalientImageNetError), match=sentence):
        evaluate_model(
            raw("model", model), true_masks.data, true_masks.images, **{"k": 3, **options}
        )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": None}, "No model is named"),
        (
            {"model": ["timm:resnet500"]},
            "timm has no model resnet500: use one that it has, as resnet50",
        ),
        ({"model": ["torchvision:resnet51"]}, "use one that it has, as .*resnet50"),
        ({"model": ["no_such_module:load"]}, "There is no model no_such_module:load"),
        ({"model": ["json:loads"]}, r"json:loads\(\) failed \(TypeError"),
        ({"model": ["builtins:dict"]}, "builtins:dict returned dict: let it return a torch Module"),
        ({"model": ["resnet"]}, "There is no network resnet"),
        ({"models": "nowhere.toml"}, "nowhere.toml is no list of models"),
    ],
)
def test_a_bad_model_is_a_sentence(
    planted: Path, world: World, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BuildError, match=sentence):
        evaluate(asked(planted, world, tmp_path / "out", **options), Quiet())
    assert not (tmp_path / "out").exists()


def test_a_directory_of_something_else_is_refused(
    planted: Path, world: World, tmp_path: Path, reporter: Quiet
) -> None:
    evaluate(asked(planted, world, tmp_path / "out"), reporter)
    with pytest.raises(BuildError, match=r"its sigma is 0\.25, this command's is 0\.5"):
        evaluate(asked(planted, world, tmp_path / "out", sigma=0.5), reporter)
    with pytest.raises(BuildError, match="is not empty and holds no evaluation"):
        evaluate(asked(planted, world, planted), reporter)


def test_outputs_of_another_list_are_found_by_wnid(true_masks: TrueMasks) -> None:
    """A head of more classes, in another order."""
    others = ["n00000001", *reversed(WORLD.wnids), "n00000002"]

    class Head(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(len(images), len(others))
            logits[:, 0] = 9  # no class of the data set
            logits[:, others.index(WORLD.wnids[1])] = 1
            return logits

    classifier = Classifier("head", Head(), View(), wnids=others)
    results = evaluate_model(classifier, true_masks.data, true_masks.images, k=3, draws=1)
    assert set(results.predictions["predicted"].to_pylist()) == {1}
    with pytest.raises(BuildError, match="has no output for n9"):
        unfit = Classifier("head", Head(), View(), wnids=others[:2])
        evaluate_model(unfit, true_masks.data, true_masks.images, k=3)


def test_the_readme_s_block_runs(true_masks: TrueMasks) -> None:
    readme = (Path(si.__file__).parent / "README.md").read_text()
    section = readme.partition("## Evaluate\n")[2].partition("\n## ")[0]
    [block] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, Any] = {
        "BUILD": str(true_masks.data),
        "IMAGES": str(true_masks.images),
        "model": Constant(),
    }
    exec(compile(block, "README", "exec"), names)
    table = names["results"].table
    assert list(table.index) == ["Constant"]
    assert table.loc["Constant", "clean_accuracy"] == pytest.approx(1 / WORLD.classes)
    assert table.loc["Constant", "spurious_gap"] == 0
