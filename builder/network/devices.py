"""Devices that a network runs on, and how a command loads images for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from builder.errors import BuildError
from builder.threads import usable_cores

BATCH_SIZES = {"cpu": 16, "cuda": 256}
"""Images per forward pass, by device."""

WORKERS = {"cpu": 0, "cuda": usable_cores()}
"""Processes that load ahead of the network, by device."""


def find_devices(names: str) -> list[torch.device]:
    """Return the devices of a list of names; ``auto`` and ``cuda`` are all GPUs there are."""
    if names in ("auto", "cuda") and torch.cuda.device_count() > 1:
        return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return [find_device(name) for name in names.split(",")]


def find_device(name: str) -> torch.device:
    """Return the device of a name: ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in BATCH_SIZES:
        raise BuildError(f"There is no device {name}: use --device auto, cpu, cuda or cuda:INDEX.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BuildError(
            f"The device {name} is not there, PyTorch sees {torch.cuda.device_count()} CUDA "
            "devices: use --device auto or cpu."
        )
    return device


@contextmanager
def memory_errors_as_sentences(device: torch.device, images: int) -> Iterator[None]:
    """Turn what a device says of too little memory for a batch of images into a `BuildError`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BuildError(
            f"{device} has too little memory for {images} images at a time: use a smaller "
            "--batch-size."
        ) from error
