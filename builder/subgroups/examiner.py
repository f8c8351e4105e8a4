"""What a model says of images: its loss, whether it is right, and what it hands to its head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from builder.evaluate.classifier import ReadyClassifier, View
from builder.evaluate.features import HeadInputs

ANSWERS = 2
"""How many numbers come before features: the loss, and 1 where the model is right."""


class Examiner:
    """Asks a model; may be called from several threads.

    Parameters
    ----------
    classifier : ReadyClassifier
        On its device.
    head : nn.Linear, optional
        Its head, if what that is handed is wanted too.

    Attributes
    ----------
    view : View
    """

    def __init__(self, classifier: ReadyClassifier, head: nn.Linear | None) -> None:
        self._classifier = classifier
        self.view: View = classifier.view
        self._inputs = HeadInputs(head) if head else None

    @torch.inference_mode()
    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return loss, right and features of each image, as `Encoding` says.

        The loss is the cross-entropy of the outputs that are labels of the data set.
        """
        logits = self._classifier.logits(self._classifier.normalised(images))
        losses = cross_entropy(logits.double(), labels, reduction="none").float()
        right = (logits.argmax(1) == labels).float()
        answers = torch.stack([losses, right], dim=1)
        return torch.cat([answers, self._inputs.take()], dim=1) if self._inputs else answers
