"""Checkpoints: the formats that are read, and files that must not run their code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from builder.errors import BuildError
from builder.network.architectures import load_architecture
from builder.network.checkpoint import (
    head_classes,
    load_weights,
    read_state_dict,
    split_robust_checkpoint,
)

UNSAFE = "can only be read by running code that it brings along, which this program refuses"
NO_CHECKPOINT = "is no PyTorch checkpoint"


def tensors() -> dict[str, Tensor]:
    return {"conv1.weight": torch.arange(6.0).reshape(1, 6, 1, 1), "fc.weight": torch.ones(3, 6)}


def robust(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under the keys of the robustness library."""
    normalizer = {
        "new_mean": torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1),
        "new_std": torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1),
    }
    return {
        **{f"module.normalizer.{name}": tensor for name, tensor in normalizer.items()},
        **{f"module.model.{name}": tensor for name, tensor in weights.items()},
        **{f"module.attacker.normalize.{name}": tensor for name, tensor in normalizer.items()},
        **{f"module.attacker.model.{name}": tensor for name, tensor in weights.items()},
    }


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def refuse(path: Path) -> str:
    """Return the sentence with which a checkpoint is refused."""
    with pytest.raises(BuildError) as caught:
        read_state_dict(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    assert sentence.endswith(".")
    return sentence


class Intruder:
    """An object whose unpickling makes a directory."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.proof,)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda weights: weights, id="state dict"),
        pytest.param(lambda weights: {"model": weights, "epoch": 90}, id="model"),
        pytest.param(lambda weights: {"state_dict": weights, "best": 0.5}, id="state_dict"),
        pytest.param(lambda weights: {"model": {"state_dict": weights}}, id="both"),
        pytest.param(
            lambda weights: {"epoch": 1, "optimizer": {"lr": 0.1}, "model": weights},
            id="with an optimizer",
        ),
    ],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_state_dict_is_found_where_it_usually_lies(
    tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any], zipped: bool
) -> None:
    path = tmp_path / "network.pt"
    torch.save(wrap(tensors()), path, _use_new_zipfile_serialization=zipped)
    assert_same(read_state_dict(path), tensors())


@pytest.mark.parametrize("metadata", [None, {"order": '["fc.weight", "a", 3]'}])
def test_safetensors_come_in_the_order_that_they_tell(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(tensors(), path, metadata)
    expected = tensors() if metadata is None else dict(reversed(tensors().items()))
    assert_same(read_state_dict(path), expected)


@pytest.mark.parametrize("keep", [0, 7, 60, -1])
def test_half_of_a_file_of_safetensors_is_called_so(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(tensors(), path)
    path.write_bytes(path.read_bytes()[:keep])
    assert "holds no safetensors, or only a part of them" in refuse(path)


def test_safetensors_that_are_not_there_are_a_sentence(tmp_path: Path) -> None:
    assert "cannot be read" in refuse(tmp_path / "weights.safetensors")


def test_the_robust_format_is_taken_apart() -> None:
    weights, mean, std = split_robust_checkpoint(robust(tensors()), Path("x.pt"))
    assert_same(weights, tensors())
    assert mean == pytest.approx([0.1, 0.2, 0.3])
    assert std == pytest.approx([0.5, 0.6, 0.7])


def test_a_robust_checkpoint_without_normaliser_is_taken_without() -> None:
    keys = {f"module.model.{name}": tensor for name, tensor in tensors().items()}
    assert split_robust_checkpoint(keys, Path("x.pt"))[1:] == (None, None)


def test_a_plain_state_dict_is_no_robust_checkpoint() -> None:
    with pytest.raises(BuildError, match=r"^x\.pt is no checkpoint of the robustness library") as e:
        split_robust_checkpoint(tensors(), Path("x.pt"))
    assert "use --network torchvision:resnet50." in str(e.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "save",
    [
        pytest.param(torch.save, id="torch.save"),
        pytest.param(
            lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
            id="torch.save before 1.6",
        ),
        pytest.param(
            lambda content, path: path.write_bytes(pickle.dumps(content, 2)), id="pickle 2"
        ),
        pytest.param(
            lambda content, path: path.write_bytes(pickle.dumps(content, 4)), id="pickle 4"
        ),
    ],
)
def test_a_checkpoint_that_brings_code_is_refused_and_the_code_is_not_run(
    tmp_path: Path, save: Callable[[Any, Path], Any]
) -> None:
    path, proof = tmp_path / "network.pt", tmp_path / "was-run"
    save({"model": tensors(), "callback": Intruder(proof)}, path)
    assert UNSAFE in refuse(path)
    assert not proof.exists()
    with path.open("rb") as file:
        assert b"was-run" in file.read()


def test_a_whole_module_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save(nn.Linear(2, 2), path)
    sentence = refuse(path)
    assert UNSAFE in sentence
    assert "save its tensors alone, torch.save({'model': checkpoint['model']}, PATH)." in sentence


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"What a nice otter.\n", id="text"),
        pytest.param(b"<!DOCTYPE html><html>404</html>", id="web page"),
        pytest.param(b"WorkerId,Input.wordnet_id\n1,n01440764\n", id="votes"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(500), id="JPEG"),
        pytest.param(bytes(5000), id="zeros"),
        pytest.param(b"PK\x03\x04" + bytes(500), id="broken zip"),
        pytest.param(bytes(range(1, 128)) * 40, id="garbage"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_called_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "network.pt"
    path.write_bytes(data)
    sentence = refuse(path)
    assert NO_CHECKPOINT in sentence
    assert "check --checkpoint." in sentence


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_half_a_download_is_no_checkpoint(tmp_path: Path, share: float) -> None:
    path = tmp_path / "network.pt"
    torch.save({"weight": torch.rand(100, 100)}, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert NO_CHECKPOINT in refuse(path)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refuse(tmp_path / "none.pt")
    assert "cannot be read (Is a directory)" in refuse(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "holds no state dict"),
        (torch.zeros(3), "holds no state dict"),
        ([torch.zeros(3)], "holds no state dict"),
        ({"model": {}}, "holds no state dict"),
        ({"weight": torch.zeros(3), "epoch": 3}, "holds more than tensors"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "network.pt"
    torch.save(content, path)
    assert said in refuse(path)


ODD_TENSORS: dict[str, Callable[[], Tensor]] = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse rows": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.empty(3, device="meta"),
    "complex": lambda: torch.zeros(3, dtype=torch.complex64),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    "of any size": lambda: torch.zeros(1).expand(10**9, 512),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support", "ignore:torch.quantize")
@pytest.mark.parametrize("kind", ODD_TENSORS)
def test_a_tensor_that_is_no_weight_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "network.pt"
    torch.save({"model": {**tensors(), "odd": ODD_TENSORS[kind]()}}, path)
    assert "holds 'odd', which is no dense tensor of real numbers under a name" in refuse(path)


def test_a_tensor_without_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    content: dict[Any, Tensor] = {**tensors(), 7: torch.zeros(3)}
    torch.save(content, path)
    assert "holds 7, which is no dense tensor" in refuse(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("new_mean", torch.zeros(1)),
        ("new_mean", torch.full((3, 1, 1), float("nan"))),
        ("new_std", torch.zeros(3, 1, 1)),
        ("new_std", torch.ones(4)),
    ],
)
def test_a_normaliser_of_other_than_three_channels_is_refused(name: str, value: Tensor) -> None:
    content = {**robust(tensors()), f"module.normalizer.{name}": value}
    with pytest.raises(BuildError, match=r"^x\.pt normalises pixels by other than a mean and a"):
        split_robust_checkpoint(content, Path("x.pt"))


def test_the_head_tells_the_number_of_classes() -> None:
    assert head_classes(resnet18(num_classes=7).state_dict()) == 7
    assert head_classes({"conv.weight": torch.zeros(1, 1, 1, 1)}) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda own: own.pop("bias"), "1 of its tensors are missing, 0 are unknown and 0 have"),
        (
            lambda own: own.update(more=torch.zeros(1)),
            "0 of its tensors are missing, 1 are unknown",
        ),
        (lambda own: own.update(bias=torch.zeros(5)), "0 are unknown and 1 have another shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_the_difference(
    change: Callable[[dict[str, Tensor]], Any], said: str
) -> None:
    model = nn.Linear(3, 2)
    own = dict(model.state_dict())
    change(own)
    with pytest.raises(BuildError, match=r"x\.pt is of another architecture than resnet") as caught:
        load_weights(model, own, "resnet", Path("x.pt"))
    assert said in str(caught.value)
    assert "check --checkpoint and --network." in str(caught.value)


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "module.", "_orig_mod.", "a.b."])
def test_a_prefix_of_all_names_is_taken_off(prefix: str) -> None:
    own = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict()
    shuffled = {f"{prefix}{name}": own[name] for name in reversed(own)}
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    load_weights(model, shuffled, "net", Path("x.pt"))
    assert_same(dict(model.state_dict()), dict(own))


def test_a_prefix_of_some_names_is_not() -> None:
    own = nn.Linear(3, 2).state_dict()
    for odd in ({"model.weight": own["weight"], "bias": own["bias"]}, {"m.bias": own["bias"]}):
        with pytest.raises(BuildError, match="is of another architecture than net"):
            load_weights(nn.Linear(3, 2), odd, "net", Path("x.pt"))
    more = {f"model.{name}": tensor for name, tensor in own.items()} | {"loss.weight": own["bias"]}
    with pytest.raises(BuildError, match="is of another architecture than net"):
        load_weights(nn.Linear(3, 2), more, "net", Path("x.pt"))


def test_a_lightning_checkpoint_is_read(tmp_path: Path) -> None:
    path = tmp_path / "epoch=3.ckpt"
    weights = resnet18(num_classes=3).state_dict()
    torch.save(
        {
            "epoch": 3,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": {f"model.{name}": tensor for name, tensor in weights.items()},
            "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1}]}],
            "hyper_parameters": {"lr": 0.1},
        },
        path,
    )
    loaded = load_architecture("torchvision:resnet18", path).model
    assert_same(dict(loaded.state_dict()), dict(weights))


def test_a_checkpoint_of_another_architecture_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save(resnet18(num_classes=3).state_dict(), path)
    said = f"{path} is of another architecture than torchvision:shufflenet_v2_x0_5"
    with pytest.raises(BuildError) as caught:
        load_architecture("torchvision:shufflenet_v2_x0_5", path)
    assert str(caught.value).startswith(said)


def test_a_robust_checkpoint_of_another_depth_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save({"model": robust(resnet18(num_classes=3).state_dict())}, path)
    with pytest.raises(BuildError, match="is of another architecture than madry-resnet50"):
        load_architecture("madry-resnet50", path)
