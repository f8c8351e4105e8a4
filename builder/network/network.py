"""Networks that end in conv map, spatial mean, linear head; one pass gives all that is needed."""

from __future__ import annotations

import hashlib
import threading
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from builder.errors import BuildError
from builder.network.architectures import Architecture
from builder.network.devices import be_exact
from builder.network.fold import fold_batch_norms, forward_hooks
from salient_imagenet_1m import CROP_SIZE

_TOLERANCE = 1e-4


class Output(NamedTuple):
    """What one forward pass gives.

    Attributes
    ----------
    maps : Tensor of float32, shape (images, channels, height, width)
        Neural activation maps: the last conv layer's output.
    activations : Tensor of float32, shape (images, channels)
        Their spatial means, r_j(x).
    logits : Tensor of float32, shape (images, classes)
    """

    maps: Tensor
    activations: Tensor
    logits: Tensor


class Network:
    """A network ready to run: batch norms folded, channels-last, inference mode.

    Parameters
    ----------
    architecture : Architecture
        With its weights loaded.
    device : torch.device
    precision : str
        ``float32``, or ``bfloat16``, which runs the convolutions under autocast.

    Attributes
    ----------
    name : str
    weights_sha256 : str
        Of the tensors, whatever file they came in.
    mean, std : list of float
        Per channel, applied to pixels in [0, 1].
    classes, channels, grid_height, grid_width : int
    head_weight : Tensor of float32, shape (classes, channels)
        On the CPU.
    folded : int
        How many batch norms were folded into convolutions.

    Raises
    ------
    BuildError
        If the architecture does not end in conv map, spatial mean, linear head.
    """

    def __init__(self, architecture: Architecture, device: torch.device, precision: str) -> None:
        model = architecture.model.eval().requires_grad_(requires_grad=False)
        self.name = architecture.name
        self.mean, self.std = architecture.mean, architecture.std
        self.device, self.precision = device, precision
        self.weights_sha256 = hash_tensors(model.state_dict())
        generator = torch.Generator().manual_seed(0)
        example = torch.randn(2, 3, CROP_SIZE, CROP_SIZE, generator=generator)
        # Not inference_mode: weights made in it cannot be used by several threads at a time.
        with torch.no_grad():
            _check_output(self.name, model, example[:1])
            self.folded = fold_batch_norms(model, example)
            anatomy = find_anatomy(self.name, model, example)
        self.classes, self.channels = anatomy.head.weight.shape
        self.grid_height, self.grid_width = anatomy.grid
        self.head_weight = anatomy.head.weight.float()
        self._rectified = anatomy.rectified
        self._captured = threading.local()
        anatomy.map_module.register_forward_hook(self._capture)
        self._model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # (pixel / 255 - mean) / std as one multiplication and addition: one pass over memory.
        mean, std = (torch.tensor(values, device=device) for values in (self.mean, self.std))
        self._scale = (1 / (255 * std)).view(3, 1, 1)
        self._shift = (-mean / std).view(3, 1, 1)
        be_exact(device)

    def _capture(self, _module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        # Thread-local, since several threads may run the one network at a time.
        self._captured.maps = output

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Output:
        """Run the network once.

        Parameters
        ----------
        pixels : Tensor of uint8, shape (images, height, width, 3)
            On any device; pinned memory is copied without blocking. Crops are 224 x 224.

        Returns
        -------
        Output
            On the network's device.
        """
        images = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
        return self._run(torch.addcmul(self._shift, images, self._scale))

    def stride(self) -> int:
        """Return how many pixels lie between two cells of the maps, of images of any size.

        Raises
        ------
        BuildError
            If the network takes images of one size only, or its maps do not grow with them.
        """
        stride = CROP_SIZE // self.grid_height
        for height, width in ((1, 2), (self.grid_height + 2, self.grid_width + 1)):
            pixels = torch.zeros((1, height * stride, width * stride, 3), dtype=torch.uint8)
            try:
                shape = self(pixels).maps.shape[2:]
            except Exception as error:  # What libraries raise on sizes that they do not take.
                raise BuildError(_of_one_size(self.name)) from error
            if shape != (height, width):
                raise BuildError(_of_one_size(self.name))
        return stride

    def forward(self, images: Tensor) -> Output:
        """Run the network once, so that gradients can flow back to the images.

        Parameters
        ----------
        images : Tensor of float32, shape (images, 3, 224, 224)
            In [0, 1], on the network's device.

        Returns
        -------
        Output
            On the network's device; part of the graph of `images`.
        """
        return self._run(torch.addcmul(self._shift, images, 255 * self._scale))

    def _run(self, normalised: Tensor) -> Output:
        with torch.autocast(self.device.type, torch.bfloat16, self.precision == "bfloat16"):
            logits = self._model(normalised)
        maps = self._captured.maps.float()
        del self._captured.maps
        if self._rectified:
            maps = maps.relu()
        return Output(maps, maps.mean(dim=(2, 3)), logits.float())


def _of_one_size(name: str) -> str:
    return (
        f"The network {name} does not take images of any size, so there are no masks of whole "
        "images: leave out --whole-image."
    )


class Anatomy(NamedTuple):
    """How a network ends.

    Attributes
    ----------
    head : nn.Linear
    map_module : nn.Module
        Gives the maps whose spatial mean the head takes.
    rectified : bool
        Whether a functional ReLU stands between the module and the mean.
    grid : (int, int)
        Height and width of the maps.
    """

    head: nn.Linear
    map_module: nn.Module
    rectified: bool
    grid: tuple[int, int]


def _check_output(name: str, model: nn.Module, example: Tensor) -> None:
    """Refuse networks that do not turn images of our size into a finite logit per class."""
    try:
        logits = model(example)
    except Exception as error:  # Takes another size, several inputs, videos, ...
        raise BuildError(_unfit(name)) from error
    if not isinstance(logits, Tensor):
        raise BuildError(_unfit(name))
    if not logits.isfinite().all():
        raise BuildError(
            f"The network {name} gives numbers that are not finite: check --checkpoint."
        )


def _unfit(name: str) -> str:
    return (
        f"The network {name} does not end in conv map, spatial mean, linear head, so its features "
        "have no activation maps: use one that does, such as torchvision:resnet50 or "
        "timm:tf_efficientnet_lite0."
    )


def find_anatomy(name: str, model: nn.Module, example: Tensor) -> Anatomy:
    """Find the linear head whose input is the spatial mean of some module's output.

    Parameters
    ----------
    name : str
        For the sentence, should there be none.
    model : nn.Module
        In evaluation mode.
    example : Tensor of float32, shape (images, 3, size, size)

    Raises
    ------
    BuildError
        If there is none.
    """
    heads: list[tuple[nn.Linear, Tensor, Tensor]] = []
    maps: list[tuple[nn.Module, Tensor]] = []

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Linear):
            heads.append((module, inputs[0], output))
        elif isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            maps.append((module, output.clone()))

    with forward_hooks(model, watch):
        logits = model(example)
    for head, pooled, output in reversed(heads):
        if not torch.equal(output, logits):
            continue
        for module, candidate in reversed(maps):
            for rectified in (False, True):
                final = candidate.relu() if rectified else candidate
                if _is_spatial_mean(pooled, final):
                    return Anatomy(head, module, rectified, (final.shape[2], final.shape[3]))
    raise BuildError(_unfit(name))


def _is_spatial_mean(pooled: Tensor, maps: Tensor) -> bool:
    mean = maps.mean(dim=(2, 3))
    if pooled.shape != mean.shape:
        return False
    return bool((pooled - mean).abs().max() <= _TOLERANCE * mean.abs().max())


def hash_tensors(state_dict: dict[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and values, whatever file they came in."""
    digest = hashlib.sha256()
    for name, tensor in state_dict.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
