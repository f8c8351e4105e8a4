"""A network that trains in no time: smooth, small, the same alone and among processes."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision import transforms

from tests.conftest import CLASSES

SIDE = 32
NAME = "tests.mitigate.student:student"


def student() -> tuple[nn.Module, Any]:
    """Return a network, and what it wants of images; without batch norms, as processes differ."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, 4),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, len(CLASSES)),
    )
    cut = transforms.Resize(SIDE), transforms.CenterCrop(SIDE)
    normalise = transforms.Normalize([0.5] * 3, [0.25] * 3)
    return model, transforms.Compose([*cut, transforms.ToTensor(), normalise])
