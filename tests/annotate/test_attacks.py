from __future__ import annotations

from copy import deepcopy

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from builder.annotate.attacks import feature_attack
from builder.errors import BuildError
from builder.network.architectures import Architecture, load_architecture
from builder.network.convnet import SmallConvNet
from builder.network.network import Network

CPU = torch.device("cpu")
MEAN, STD = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]

pytestmark = pytest.mark.usefixtures("seeded")


class FunctionalReLU(nn.Module):
    """A network whose last ReLU is a function, and leaves the map before it as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, stride=32, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.features(images).relu().mean(dim=(2, 3))))


def lite() -> nn.Module:
    # Of its own weights: random ones leave next to nothing of an image, and rounding errors.
    return load_architecture("efficientnet-lite0", None).model


def resnet() -> nn.Module:
    model: nn.Module = timm.create_model("test_resnet", num_classes=5)
    return model


def small() -> nn.Module:
    return SmallConvNet(5)


NETWORKS = {"resnet": resnet, "lite": lite, "small": small, "functional": FunctionalReLU}
HEADS = {"resnet": "fc", "lite": "classifier"}


def slow_attack(
    model: nn.Module, head: nn.Module, image: Tensor, feature: int, steps: int, length: float
) -> tuple[Tensor, float]:
    """Attack one image by the formula; the feature is what the head is given."""
    pooled: list[Tensor] = []
    handle = head.register_forward_hook(lambda _module, given, _out: pooled.append(given[0]))

    def activation(x: Tensor) -> Tensor:
        pooled.clear()
        model(normalize(x, MEAN, STD)[None])
        return pooled[0][0, feature]

    x = image.clone()
    for _ in range(steps):
        x.requires_grad_()
        (slope,) = torch.autograd.grad(activation(x), x)
        x = (x.detach() + length * slope / (slope.square().sum().sqrt() + 1e-10)).clamp(0, 1)
    value = activation(x).item()
    handle.remove()
    return x, value


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_is_attacked_as_each_image_is_by_the_formula(name: str) -> None:
    model = NETWORKS[name]().eval()
    images = torch.rand(3, 3, 112, 112)
    head = model.get_submodule(HEADS.get(name, "head"))
    network = Network(Architecture(name, deepcopy(model), MEAN, STD), CPU, "float32")
    features = network.forward(images).activations.argsort(dim=1)[range(3), [-1, -2, -1]]
    pairs = zip(images, features.tolist(), strict=True)
    expected = [slow_attack(model, head, image, feature, 4, 2.0) for image, feature in pairs]
    attack = feature_attack(network, images, features, steps=4, step_length=2.0)
    for index, (image, value) in enumerate(expected):
        # As a whole: where a ReLU is about to switch, single pixels differ by their last bits.
        error = torch.linalg.vector_norm(attack.images[index] - image)
        assert error < 1e-3 * torch.linalg.vector_norm(image - images[index])
        assert attack.after[index].item() == pytest.approx(value, rel=1e-3)


def test_images_in_0_to_1_are_seen_as_their_pixels_are() -> None:
    network = Network(Architecture("small", small().eval(), MEAN, STD), CPU, "float32")
    pixels = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    seen = network(pixels)
    output = network.forward(pixels.permute(0, 3, 1, 2) / 255)
    for expected, found in zip(seen, output, strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_it_raises_the_feature_and_stays_in_range() -> None:
    network = Network(Architecture("small", small().eval(), MEAN, STD), CPU, "float32")
    images = torch.rand(2, 3, 224, 224)
    features = network.forward(images).activations.argmax(dim=1)
    attack = feature_attack(network, images, features, steps=30)
    assert (attack.after > 2 * attack.before).all()
    assert attack.images.min() >= 0
    assert attack.images.max() <= 1
    assert not attack.unmoved.any()
    assert not attack.images.requires_grad


def test_a_zero_gradient_leaves_the_image_and_is_said() -> None:
    model = FunctionalReLU().eval()
    nn.init.constant_(model.features.bias[2:3], -1000.0)  # type: ignore[index]
    network = Network(Architecture("dead", model), CPU, "float32")
    images = torch.rand(2, 3, 224, 224)
    attack = feature_attack(network, images, torch.tensor([2, 0]), steps=3)
    assert attack.unmoved.tolist() == [True, False]
    assert torch.equal(attack.images[0], images[0])
    assert attack.before[0] == attack.after[0] == 0


def test_no_steps_change_nothing() -> None:
    network = Network(Architecture("small", small().eval()), CPU, "float32")
    images = torch.rand(2, 3, 224, 224)
    attack = feature_attack(network, images, torch.tensor([0, 1]), steps=0)
    assert torch.equal(attack.images, images)
    assert torch.equal(attack.before, attack.after)


def test_numbers_that_are_not_finite_are_one_sentence() -> None:
    network = Network(Architecture("small", small().eval()), CPU, "float32")
    images = torch.full((1, 3, 224, 224), float("nan"))
    with pytest.raises(BuildError, match="small gives gradients that are not finite"):
        feature_attack(network, images, torch.tensor([0]), steps=1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_attack() -> None:
    images, features = torch.rand(3, 3, 224, 224), torch.tensor([0, 1, 2])
    architecture = Architecture("small", small().eval(), MEAN, STD)
    on_cpu = feature_attack(Network(architecture, CPU, "float32"), images, features, steps=5)
    network = Network(architecture, torch.device("cuda"), "float32")
    on_gpu = feature_attack(network, images, features, steps=5)
    assert torch.allclose(on_gpu.images.cpu(), on_cpu.images, atol=1e-3)
