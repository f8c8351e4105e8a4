"""A classifier under evaluation: normalisation, logits, and which of its outputs is which class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from builder.errors import BuildError, first_line
from builder.network.architectures import IMAGENET_MEAN, IMAGENET_STD
from builder.network.network import hash_tensors
from salient_imagenet_1m import CROP_SIZE


@dataclass(frozen=True)
class View:
    """How a model wants the window of an image that all models see.

    Attributes
    ----------
    size : int
        Pixels of either side.
    interpolation : str
        ``bilinear``, ``bicubic``, ``nearest``, ``lanczos``, ``box`` or ``hamming``.
    """

    size: int = CROP_SIZE
    interpolation: str = "bilinear"


@dataclass(frozen=True)
class Classifier:
    """A model with all that is needed to ask it for the classes of a data set.

    Attributes
    ----------
    name : str
    model : nn.Module
        From normalised images, float32 of shape (n, 3, size, size), to logits (n, outputs).
    view : View
    mean, std : sequence of float
        The model's own normalisation, per channel, of pixels in [0, 1].
    wnids : sequence of str, optional
        The class of each output; without them outputs are the data set's labels.
    family : str
        A group that reports colour the model by.
    """

    name: str
    model: nn.Module
    view: View = field(default_factory=View)
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    wnids: Sequence[str] | None = None
    family: str = ""

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights, whatever file they came in."""
        return hash_tensors(self.model.state_dict())


class ReadyClassifier:
    """A classifier for a device, with its outputs in the order of a data set's labels.

    Parameters
    ----------
    classifier : Classifier
    wnids : dict of int to str
        Of the labels that the data set has features of.
    classes : int
        Labels of the data set.
    device : torch.device
        Where it will run, once `to` has brought its weights there.

    Attributes
    ----------
    labels : list of int, optional
        The output of each label; None where they are the same.

    Raises
    ------
    BuildError
        If outputs and labels cannot be matched.
    """

    def __init__(
        self, classifier: Classifier, wnids: dict[int, str], classes: int, device: torch.device
    ) -> None:
        self.name, self.view = classifier.name, classifier.view
        self.labels = output_of_labels(classifier, wnids, classes)
        self._classes = classes
        model = classifier.model.eval().requires_grad_(requires_grad=False)
        self._model = model.to(memory_format=torch.channels_last)
        # (x - mean) / std as one multiplication and addition: one pass over memory.
        mean, std = (torch.tensor(v, device=device) for v in (classifier.mean, classifier.std))
        self._scale, self._shift = (1 / std).view(3, 1, 1), (-mean / std).view(3, 1, 1)

    @property
    def nbytes(self) -> int:
        """Bytes of its weights."""
        return sum(tensor.nbytes for tensor in self._model.state_dict().values())

    def to(self, device: torch.device) -> None:
        """Move its weights."""
        self._model.to(device)

    @property
    def model(self) -> nn.Module:
        """What answers."""
        return self._model

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the probability of each label.

        Parameters
        ----------
        images : Tensor of float32 in [0, 1], shape (n, 3, size, size)

        Returns
        -------
        Tensor of float32, shape (n, labels)
            By a softmax over the outputs that are labels of the data set.

        Raises
        ------
        BuildError
            As `logits`.
        """
        return self.logits(self.normalised(images)).softmax(1)

    def normalised(self, images: Tensor) -> Tensor:
        """Return images as the model takes them, of pixels in [0, 1]."""
        return torch.addcmul(self._shift, images, self._scale)

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the logit of each label; gradients flow to whatever asks for them.

        Parameters
        ----------
        inputs : Tensor of float32, shape (n, 3, size, size)
            Of `normalised`.

        Raises
        ------
        BuildError
            If the model gives something else than a finite logit for each output.
        """
        logits = self._answer(inputs)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(inputs):
            raise BuildError(
                f"The model {self.name} gives no tensor of a logit per image and class: return "
                "one from its forward."
            )
        if self.labels is None and logits.shape[1] != self._classes:
            raise BuildError(
                f"The model {self.name} has {logits.shape[1]} outputs and the data set "
                f"{self._classes} classes, and nothing tells which is which: use a model of these "
                "classes."
            )
        if not logits.isfinite().all():
            raise BuildError(
                f"The model {self.name} gives logits that are not finite: check its weights."
            )
        logits = logits.float()
        return logits if self.labels is None else logits[:, self.labels]

    def _answer(self, images: Tensor) -> Any:
        try:
            return self._model(images)
        except Exception as error:  # It may be the user's.
            size = tuple(images.shape[1:])
            raise BuildError(
                f"The model {self.name} failed on images of shape {size} "
                f"({type(error).__name__}: {first_line(error)}): mend it, or use a smaller "
                "--batch-size if it is out of memory."
            ) from error


def output_of_labels(
    classifier: Classifier, wnids: dict[int, str], classes: int
) -> list[int] | None:
    """Return the output of each label, None where they are the same.

    Parameters
    ----------
    classifier : Classifier
    wnids : dict of int to str
        Of the labels that the data set has features of.
    classes : int
        Labels of the data set.

    Raises
    ------
    BuildError
        If outputs and labels cannot be matched.
    """
    if classifier.wnids is None or len(classifier.wnids) == classes:
        return None
    places = {wnid: output for output, wnid in enumerate(classifier.wnids)}
    missing = [wnid for wnid in wnids.values() if wnid not in places]
    if missing or len(wnids) != classes:
        raise BuildError(
            f"The model {classifier.name} has no output for "
            f"{missing[0] if missing else 'some classes of the data set'}: use a model of these "
            "classes."
        )
    return [places[wnids[label]] for label in range(classes)]
