"""A learner: the model in training, with what surrounds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import salient_imagenet_1m as si
from builder.evaluate.classifier import Classifier, View, output_of_labels
from builder.evaluate.models import load_classifier, new_classifier, parse_model
from builder.mitigate.order import seed_of
from builder.network.network import Anatomy, find_anatomy
from builder.settings.training import Training


class Maps:
    """The last conv maps of the pass that was last run, and the head that takes their mean.

    Parameters
    ----------
    anatomy : Anatomy
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self.head, self._rectified = anatomy.head, anatomy.rectified
        anatomy.map_module.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: tuple[object, ...], output: Tensor) -> None:
        self._maps = output

    def take(self) -> Tensor:
        """Return the maps, float32 of shape (n, channels, rows, columns), and forget them."""
        maps = self._maps.float()
        del self._maps
        return maps.relu() if self._rectified else maps


@dataclass(frozen=True)
class Learner:
    """A model in training.

    Attributes
    ----------
    name : str
    model : nn.Module
        From normalised images to logits.
    view : View
    mean, std : Tensor of float32, shape (3, 1, 1)
        Of its normalisation.
    outputs : Tensor of int64, shape (labels,)
        The output of each label of the data set.
    maps : Maps, optional
        Where the method looks at them.
    """

    name: str
    model: nn.Module
    view: View
    mean: Tensor
    std: Tensor
    outputs: Tensor
    maps: Maps | None

    def normalised(self, images: Tensor) -> Tensor:
        """Return what the model takes of images in [0, 1]."""
        return (images - self.mean) / self.std

    def outputs_of(self, labels: Tensor) -> Tensor:
        """Return the output of each label."""
        return self.outputs[labels]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have a model as it is evaluated, without gradients, while the block lasts."""
    model.eval()
    with torch.inference_mode():
        yield
    model.train()


def open_learner(settings: Training, device: torch.device) -> Learner:
    """Make the model that is to be trained.

    Parameters
    ----------
    settings : Training
    device : torch.device

    Raises
    ------
    BuildError
        If there is no such model, or the method cannot be used with it.
    """
    build = si.Build.open(settings.data)
    split = build.split("train")
    names = build.features("masks", split)["label"].names
    torch.manual_seed(seed_of(settings.seed, "weights") % 2**63)
    classifier = _classifier(settings, len(names))
    outputs = output_of_labels(classifier, build.wnids(split), len(names))
    model = classifier.model.to(memory_format=torch.channels_last)
    maps = Maps(_anatomy(classifier)) if "cam" in settings.methods else None
    mean, std = (
        torch.tensor(values, device=device).view(3, 1, 1)
        for values in (classifier.mean, classifier.std)
    )
    return Learner(
        classifier.name,
        model.train(),
        classifier.view,
        mean,
        std,
        torch.tensor(outputs or range(len(names)), device=device),
        maps,
    )


def _classifier(settings: Training, classes: int) -> Classifier:
    name, weights = parse_model(settings.model)
    if weights or settings.pretrained:
        return load_classifier(name, weights)
    return new_classifier(name, classes)


@torch.no_grad()
def _anatomy(classifier: Classifier) -> Anatomy:
    size = classifier.view.size
    example = torch.randn(2, 3, size, size)
    return find_anatomy(classifier.name, classifier.model.eval(), example)
