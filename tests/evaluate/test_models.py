"""Models by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from timm.models import get_pretrained_cfg

from builder.errors import BuildError
from builder.evaluate.classifier import Classifier, View
from builder.evaluate.models import Entry, load_classifier, model_list, new_classifier
from builder.mitigate.weights import write_tensors
from builder.network.head import Head, write_head
from builder.network.network import hash_tensors
from builder.settings.evaluation import Evaluation


def listed(**options: object) -> Evaluation:
    return Evaluation(data="data", images="images", out=Path("out"), **options)  # type: ignore[arg-type]


def test_the_papers_models_are_known_to_timm() -> None:
    entries = model_list(listed(models="papers"))
    assert len(entries) >= 60
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        library, _, name = entry.name.partition(":")
        assert library == "timm"
        config = get_pretrained_cfg(name)
        assert config is not None
        assert config.num_classes == 1000
        assert entry.family


def test_models_are_named_one_by_one_and_by_list(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text(
        '[[model]]\nname = "timm:resnet18"\nfamily = "ResNets"\nweights = "some.pt"\n'
    )
    entries = model_list(
        listed(model=["small-convnet=w.pt", "timm:vgg11"], models=str(tmp_path / "list.toml"))
    )
    assert entries == [
        Entry("small-convnet", Path("w.pt"), "", "small-convnet"),
        Entry("timm:vgg11", None, "", "timm:vgg11"),
        Entry("timm:resnet18", Path("some.pt"), "ResNets", "timm:resnet18"),
    ]


def test_a_checkpoint_is_that_of_the_one_model() -> None:
    [entry] = model_list(listed(model=["timm:vgg11"], checkpoint=Path("m.safetensors")))
    assert entry == Entry("timm:vgg11", Path("m.safetensors"), "", "timm:vgg11")
    for others in ({"model": ["a", "b"]}, {"models": "papers"}, {}):
        with pytest.raises(BuildError, match="--checkpoint is of one model"):
            listed(checkpoint=Path("m.safetensors"), **others)


@pytest.mark.parametrize(
    "name", ["small-convnet", "timm:test_resnet", "torchvision:squeezenet1_0", "efficientnet-lite0"]
)
def test_a_new_classifier_has_an_output_per_class(name: str) -> None:
    made = new_classifier(name, 7)
    size = made.view.size
    assert made.model.eval()(torch.rand(1, 3, size, size)).shape == (1, 7)
    assert made.wnids is None


def test_weights_of_other_classes_make_a_head_of_them(tmp_path: Path) -> None:
    trained = new_classifier("efficientnet-lite0", 7)
    write_tensors(tmp_path / "w.safetensors", trained.model.state_dict())
    loaded = load_classifier("efficientnet-lite0", tmp_path / "w.safetensors")
    assert loaded.weights_sha256 == trained.weights_sha256


@pytest.mark.parametrize("name", ["timm:resnet5O", "torchvision:resnet5O", "resnet50", "hf:a/b"])
def test_what_is_no_new_classifier_is_a_sentence(name: str) -> None:
    said = r"has no model|There is no network|comes with its weights"
    with pytest.raises(BuildError, match=said):
        new_classifier(name, 7)


def test_one_network_with_several_weights_has_several_titles(tmp_path: Path) -> None:
    entries = model_list(listed(model=["timm:test_vit=a.pt", "timm:test_vit=b.pt", "timm:vgg11"]))
    titles = ["timm:test_vit=a.pt", "timm:test_vit=b.pt", "timm:vgg11"]
    assert [entry.title for entry in entries] == titles
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "vit.pt")
    assert load_classifier("timm:test_vit", tmp_path / "vit.pt", "", titles[0]).name == titles[0]


def test_heads_are_of_the_only_model(tmp_path: Path) -> None:
    heads = [Path("a.safetensors"), Path("b.safetensors")]
    first, *others = model_list(listed(model=["timm:vgg11=w.pt"], head=heads))
    assert first == Entry("timm:vgg11", Path("w.pt"), "", "timm:vgg11")
    assert [entry.head for entry in others] == heads
    assert [entry.title for entry in others] == [f"timm:vgg11 with {head}" for head in heads]
    with pytest.raises(BuildError, match="--head is of one model, and 2 are named: name that"):
        model_list(listed(model=["timm:vgg11", "timm:vgg13"], head=heads))
    (tmp_path / "list.toml").write_text('[[model]]\nname = "timm:vgg11"\nhead = "a.safetensors"\n')
    [entry] = model_list(listed(models=str(tmp_path / "list.toml")))
    assert entry == Entry("timm:vgg11", None, "", "timm:vgg11 with a.safetensors", heads[0])


def test_a_classifier_may_have_another_head(seeded: None, tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=3)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    own = hash_tensors(model.state_dict())
    head = Head(torch.zeros(3, 96), torch.tensor([1.0, 3.0, 2.0]), "timm:test_resnet", own)
    write_head(tmp_path / "head.safetensors", head)
    plain = load_classifier("timm:test_resnet", tmp_path / "w.pt")
    other = load_classifier(
        "timm:test_resnet", tmp_path / "w.pt", head=tmp_path / "head.safetensors"
    )
    assert plain.weights_sha256 == own != other.weights_sha256
    assert other.model(torch.zeros(1, 3, 64, 64)).tolist() == [[1, 3, 2]]


@pytest.mark.parametrize("text", ["", "model = 3", "[[model]]\nfamily = 'x'", "\x00"])
def test_what_is_no_list_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.toml").write_text(text)
    with pytest.raises(BuildError, match="is no list of models"):
        model_list(listed(models=str(tmp_path / "list.toml")))


def test_a_timm_model_brings_its_view(tmp_path: Path) -> None:
    model = timm.create_model("test_vit")
    torch.save(model.state_dict(), tmp_path / "vit.pt")
    classifier = load_classifier("timm:test_vit", tmp_path / "vit.pt", "ViTs")
    config = model.pretrained_cfg
    assert classifier.view == View(config["input_size"][-1], config["interpolation"])
    assert list(classifier.mean) == list(config["mean"])
    assert classifier.family == "ViTs"


@pytest.mark.parametrize(("number", "size"), [(0, 224), (1, 240), (2, 260)])
def test_a_packaged_efficientnet_has_its_own_size(tmp_path: Path, number: int, size: int) -> None:
    model = timm.create_model(f"tf_efficientnet_lite{number}")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    classifier = load_classifier(f"efficientnet-lite{number}", tmp_path / "weights.pt")
    assert classifier.view == View(size, "bicubic")
    assert list(classifier.mean) == list(classifier.std) == [0.5] * 3
    assert classifier.wnids is not None
    assert classifier.wnids[571] == "n03425413"


def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, result: str) -> Classifier:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torchvision.transforms import _presets\n"
        f"from torchvision.transforms import *\ndef load():\n    return {result}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    return load_classifier("mine:load")


def test_a_function_of_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = made(monkeypatch, tmp_path, "torch.nn.Flatten()")
    assert plain.view == View(224, "bilinear")
    assert list(plain.mean) == [0.485, 0.456, 0.406]
    steps = "Compose([Resize(72, InterpolationMode.BICUBIC), CenterCrop(64), ToTensor(), {}])"
    own = made(
        monkeypatch,
        tmp_path,
        f"(torch.nn.Flatten(), {steps.format('Normalize([0.5] * 3, [0.25] * 3)')})",
    )
    assert own.view == View(64, "bicubic")
    assert list(own.mean) == [0.5] * 3
    assert list(own.std) == [0.25] * 3


def test_a_preset_of_torchvision_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    preset = "_presets.ImageClassification(crop_size=96)"
    assert made(monkeypatch, tmp_path, f"(torch.nn.Flatten(), {preset})").view.size == 96


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ("3", "returned int: let it return a torch Module"),
        ("(torch.nn.Flatten(), str)", "cannot be taken apart"),
        ("(torch.nn.Flatten(), 3)", "cannot be taken apart"),
        ("(torch.nn.Flatten(), Compose([ToTensor()]))", "cannot be taken apart"),
        ("1 / 0", r"failed \(ZeroDivisionError"),
    ],
)
def test_a_function_that_gives_something_else_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, result: str, sentence: str
) -> None:
    with pytest.raises(BuildError, match=sentence):
        made(monkeypatch, tmp_path, result)
