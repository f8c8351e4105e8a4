"""The suite: models whose answers are known, numbers against a slow reference, who computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.compute as pc
import pytest
import timm
import torch
from PIL import Image

import salient_imagenet_1m as si
from builder.cli import main
from builder.cli.evaluate import check_extras
from builder.demo.world import read_truth
from builder.errors import BuildError
from builder.evaluate.classifier import Classifier, View
from builder.evaluate.estimate import estimate
from builder.evaluate.evaluation import Results, evaluate, evaluate_model, evaluate_task
from builder.evaluate.measures import overall
from builder.evaluate.noise import standard_noise
from builder.objects.ablations import ABLATIONS
from builder.objects.hard_imagenet import HardImageNet
from builder.objects.measures import ALIGNMENT
from builder.objects.target_layers import find_target_layer
from builder.settings.evaluation import Evaluation
from builder.settings.task import Task
from tests import reference
from tests.built import hashes
from tests.conftest import NETWORK, World
from tests.evaluate.conftest import WORLD, TrueMasks
from tests.objects.conftest import with_objects
from tests.quiet import Quiet
from tests.releases import object_of

CHANCE = 1 / WORLD.classes


def means(results: Results) -> dict[str, float]:
    [scores] = results.scores.values()
    return {measure: score.value for measure, score in overall(scores).items()}


@pytest.fixture(scope="module")
def known(
    with_masks: Path, true_masks: TrueMasks, readers: dict[str, Callable[[], Classifier]]
) -> dict[str, Results]:
    return {
        name: evaluate_model(
            make(),
            with_masks,
            true_masks.images,
            make_suite=HardImageNet,
            suite="hard-imagenet",
            no_alignment=True,
            draws=1,
        )
        for name, make in readers.items()
    }


def test_who_reads_the_object_falls_to_chance_without_it(known: dict[str, Results]) -> None:
    found = means(known["reads the object"])
    assert found["clean_top1"] == 1
    for name in ABLATIONS:
        assert found[f"{name}_top1"] == pytest.approx(CHANCE)
    # Noise on the rest leaves it right, noise on the object leaves it chance.
    expected = reference.rcs(1, CHANCE)
    assert found["rfs_sigma_0.75"] == found["rfs_norm_180"] == pytest.approx(expected)


def test_who_reads_the_cue_does_not_fall(
    known: dict[str, Results], true_masks: TrueMasks, left_out: set[str]
) -> None:
    results = known["reads the cue"]
    found = means(results)
    # Where there is no cue it says the first class.
    is_right = [
        row["label"] == 0 or true_masks.places(row["image_id"], "spurious").any()
        for row in true_masks.rows
        if row["image_id"] not in left_out
    ]
    assert found["clean_top1"] == pytest.approx(np.mean(is_right))
    assert found["gray_mask_top1"] == found["mean_fill_top1"] == found["clean_top1"]
    assert found["rfs_sigma_0.25"] < -0.3
    right = {
        condition: {
            row["image_id"]: row["predicted"]
            for row in results.predictions.to_pylist()
            if row["condition"] == condition
        }
        for condition in ("clean", "gray_mask")
    }
    assert right["clean"] == right["gray_mask"]


def test_only_images_with_an_object_mask_are_asked(
    known: dict[str, Results], true_masks: TrueMasks, left_out: set[str]
) -> None:
    asked = set(known["reads the cue"].predictions["image_id"].to_pylist())
    assert asked == {row["image_id"] for row in true_masks.rows} - left_out


def asked(data: Path, world: World, out: Path, **options: Any) -> Evaluation:
    return Evaluation(
        data=str(data),
        images=str(world.root),
        out=out,
        suite="hard-imagenet",
        **{"model": [f"{NETWORK}={world.checkpoint}"], "draws": 1, "device": "cpu", **options},
    )


def network(world: World) -> Any:
    model = timm.create_model("test_resnet", num_classes=WORLD.classes).eval()
    model.load_state_dict(torch.load(world.checkpoint, weights_only=True))
    return model


def seen(
    example: dict[str, Any], mask: Image.Image, view: View, as_published: bool
) -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
    """Return what a model of a view sees of an image, and where the object is in it."""
    both = []
    size, own = view.size, Image.Resampling[view.interpolation.upper()]
    for image, resampling in ((example["image"], own), (mask, Image.Resampling.BILINEAR)):
        if as_published:
            side = round(size * 256 / 224)
            start = round((side - size) / 2)
            whole = image.resize((side, side), resampling)
            both.append(whole.crop((start, start, start + size, start + size)))
        else:
            box = si.crop_box(*image.size)
            both.append(image.resize((size, size), resampling, box=box))
    shown, drawn = map(np.array, both)
    pixels = torch.from_numpy(shown).permute(2, 0, 1).float() / 255
    return pixels, drawn > 0 if as_published else drawn >= 128


@pytest.mark.parametrize("as_published", [False, True])
def test_every_number_is_the_slow_reference_s(
    segmented: Path, world: World, tmp_path: Path, reporter: Quiet, as_published: bool
) -> None:
    """A third of the images, from the definitions, with the model as timm gives it."""
    settings = asked(segmented, world, tmp_path / "out", as_published=as_published)
    results = evaluate(settings, reporter, make_suite=HardImageNet)
    found = {
        (row["condition"], row["draw"], row["image_id"]): row
        for row in results.predictions.to_pylist()
    }
    model, truth = network(world), read_truth(world.root.parent)
    config = model.pretrained_cfg
    view = View(config["input_size"][-1], config["interpolation"])
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    layer, layout = find_target_layer("test", model)
    examples = si.load(segmented, images=world.root, split="validation", streaming=True)
    for example in list(examples)[as_published::3]:
        name, label = example["image_id"], example["label"]
        mask = Image.fromarray(object_of(truth, name)).convert("L")
        image, is_object = seen(example, mask, view, as_published)
        normal = standard_noise([name], 0, (view.size, view.size, 3), torch.device("cpu"))[0]
        shown = {
            "clean": image,
            **reference.without_object(image, is_object, as_published),
            **reference.noise_on_object(image, is_object, normal.permute(2, 0, 1)),
        }
        with torch.no_grad():
            logits = model(torch.stack([(each - mean) / std for each in shown.values()]))
        for condition, own in zip(shown, logits, strict=True):
            row = found.pop((condition, 0, name))
            assert row["predicted"] == int(own.argmax()), condition
            assert row["probability"] == pytest.approx(own.softmax(0)[label].item(), abs=1e-3)
            if condition == "clean":
                inputs = image if as_published else (image - mean) / std
                cam = reference.gradcam(model, layer, layout, inputs[None].clone(), label)
                expected = reference.alignment(cam, is_object)
                assert [row[each] for each in ALIGNMENT] == pytest.approx(expected, abs=0.01)
            else:
                assert [row[each] for each in ALIGNMENT] == [None] * 3
    assert len(found) == 10 * results.suite.passes - 10
    clean = results.predictions.filter(pc.equal(results.predictions["condition"], "clean"))
    alignments = np.array([clean[each].to_numpy() for each in ALIGNMENT])
    # GradCAM is a pass of its own.
    shown_under = results.predictions.group_by(["condition", "draw"]).aggregate([])
    assert results.suite.passes == len(shown_under) + 1
    told = means(results)
    assert [told[name] for name in ALIGNMENT] == pytest.approx(alignments.mean(1))
    assert told["median_iou"] == pytest.approx(np.median(alignments[0]))


@pytest.fixture(scope="module")
def many(
    true_masks: TrueMasks,
    left_out: set[str],
    world: World,
    tmp_path_factory: pytest.TempPathFactory,
) -> Evaluation:
    """Return an evaluation of several shards, made by the command."""
    root = tmp_path_factory.mktemp("shards")
    data = with_objects(true_masks, root / "data", files=4, without=left_out)
    settings = asked(data, world, root / "undisturbed", batch_size=4)
    settings = replace(settings, images=str(true_masks.images))
    words: list[object] = [
        "--images",
        settings.images,
        "--out",
        settings.out,
        "--suite",
        settings.suite,
    ]
    words += ["--model", *(settings.model or ()), "--draws", 1, "--device", "cpu"]
    words += ["--batch-size", settings.batch_size]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.argv", ["salient-imagenet", "evaluate", *map(str, [data, *words])])
        main()
    assert not ended.value.code
    return settings


def test_tasks_and_processes_make_the_same_bytes(many: Evaluation, tmp_path: Path) -> None:
    tasks = replace(many, out=tmp_path / "tasks")
    left = [
        evaluate_task(
            replace(tasks, task=Task(n, 2), device=device), Quiet(), make_suite=HardImageNet
        )
        for n, device in enumerate(["cpu,cpu", "cpu"])
    ]
    assert left == [2, 0]
    evaluate(replace(tasks, finalise_only=True), Quiet(), make_suite=HardImageNet)
    assert hashes(tasks.out) == hashes(many.out)


def test_without_the_extra_a_sentence_says_what_to_install(many: Evaluation) -> None:
    def found(name: str) -> Any:
        return None if name == "pytorch_grad_cam" else find_spec(name)

    sentence = r"needs grad-cam and scipy: run pip install -e '\.\[hard-imagenet\]'\."
    with patch("builder.cli.evaluate.find_spec", found):
        check_extras(replace(many, suite="salient-imagenet"))
        with pytest.raises(BuildError, match=sentence):
            check_extras(many)


def test_a_sample_has_images_where_the_first_shards_have_none(
    true_masks: TrueMasks, world: World, tmp_path: Path
) -> None:
    without = {row["image_id"] for row in true_masks.rows[:-1]}
    data = with_objects(true_masks, tmp_path / "data", files=6, without=without)
    settings = replace(asked(data, world, tmp_path / "out"), images=str(true_masks.images))
    found = estimate(settings, make_suite=HardImageNet)
    assert (found.images, found.sampled, found.shards) == (1, 1, 6)


def test_another_suite_in_the_same_directory_is_refused(many: Evaluation) -> None:
    with pytest.raises(BuildError, match="holds another evaluation: its as_published is False"):
        evaluate(replace(many, as_published=True), Quiet(), make_suite=HardImageNet)
    plain = replace(many, suite="salient-imagenet", k=2)
    with pytest.raises(BuildError, match="holds another evaluation: its conditions is"):
        evaluate(plain, Quiet())
