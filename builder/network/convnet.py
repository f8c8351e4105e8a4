"""A small convolutional network whose last maps show where its reasons are.

It ends like the big ones, conv map (ReLU) -> spatial mean -> linear head, so that whatever reads
neural features of a ResNet reads them here. It begins with an average pool, which makes it cheap
twice over: the convolutions see 56 x 56 pixels, and so does training.
"""

from __future__ import annotations

from torch import Tensor, nn

POOL = 4
"""Side in pixels of the blocks that the network averages before it looks."""

MEAN, STD = 0.5, 0.25
"""The network's own normalisation, the same for the three channels."""


class SmallConvNet(nn.Module):
    """Two strided convolutions and two of 1 x 1, between an average pool and a linear head.

    Takes normalised images, float32 of shape (n, 3, 224, 224). `features` gives the last conv map,
    float32 of shape (n, width, 14, 14) and not negative; its spatial mean goes to `head`. Each cell
    of the map sees 28 x 28 pixels of the image, so a map is hot where its reason is.
    """

    def __init__(self, classes: int, width: int = 128) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(POOL)
        self.trunk = nn.Sequential(
            *_conv(3, 32, size=3, stride=2),
            *_conv(32, 64, size=3, stride=2),
            *_conv(64, 64, size=1),
            *_conv(64, width, size=1),
        )
        self.head = nn.Linear(width, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the last conv map of normalised images."""
        maps: Tensor = self.trunk(self.pool(images))
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of normalised images, float32 of shape (n, classes)."""
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
