"""GradCAM of a classifier, by the library pytorch-grad-cam."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from builder.evaluate.classifier import ReadyClassifier
from builder.objects.target_layers import find_target_layer

Floats = NDArray[np.float32]


class Explainer:
    """Tells where a classifier sees what speaks for a class; may be called from several threads.

    The library keeps what it sees of a layer in the object that watches it, and sees all that
    passes. So what it watches here is a layer of each call's own, through which what the network's
    layer gives in this thread passes. Gradients begin there: the network before it needs none.

    Parameters
    ----------
    classifier : ReadyClassifier
    normalises : bool
        Whether images are normalised, as the public code forgot to.

    Raises
    ------
    BuildError
        If no layer is known of the classifier's architecture.
    """

    def __init__(self, classifier: ReadyClassifier, *, normalises: bool = True) -> None:
        self._classifier, self._normalises = classifier, normalises
        self._watched = threading.local()
        layer, self._layout = find_target_layer(classifier.name, classifier.model)
        layer.register_forward_hook(self._pass)

    def __call__(self, images: Tensor, labels: Tensor) -> Floats:
        """Return what speaks for the class of each image, from 0 to 1, where nothing does 0.

        Parameters
        ----------
        images : Tensor of float32 in [0, 1], shape (n, 3, size, size)
        labels : Tensor of int64, shape (n,)

        Returns
        -------
        ndarray of float32, shape (n, size, size)
        """
        inputs = self._classifier.normalised(images) if self._normalises else images
        watched = _Watched(self._classifier, self._watched)
        targets = [ClassifierOutputTarget(label) for label in labels.tolist()]
        found = GradCAM(watched, [watched.layer], self._layout)(inputs, targets)
        return np.asarray(np.nan_to_num(found), np.float32)

    def _pass(self, _layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        watched: nn.Module | None = getattr(self._watched, "layer", None)
        if watched is None:
            return None
        passed: Tensor = watched(output.detach().requires_grad_())
        # A copy: what follows may change it in place.
        return passed.clone()


class _Watched(nn.Module):
    """A classifier as the library takes it, with a layer that it may watch."""

    def __init__(self, classifier: ReadyClassifier, watched: threading.local) -> None:
        super().__init__()
        self.model, self.layer = classifier.model, nn.Identity()
        self._classifier, self._watched = classifier, watched

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        self._watched.layer = self.layer
        try:
            return self._classifier.logits(inputs)
        finally:
            del self._watched.layer
