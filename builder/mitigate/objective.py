"""The objective: the way of one batch, from pixels to a loss."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from builder.evaluate.noise import standard_noise
from builder.mitigate.examples import Batch
from builder.mitigate.learner import Learner
from builder.mitigate.noise import core_noise
from builder.mitigate.penalties import cam_penalty, saliency_penalty
from builder.mitigate.swap import core_swap
from builder.settings.training import Training

MASKLESS = "without_mask"
"""The share of images that trained as ERM, since they have no mask, or none in their crop."""

ROBUST = "robust_loss"
"""The loss of group DRO."""


@dataclass(frozen=True)
class Objective:
    """What a model is trained for.

    Attributes
    ----------
    settings : Training
    learner : Learner
    robust : callable, optional
        Makes a loss of those of a batch's images, in place of their mean.
    """

    settings: Training
    learner: Learner
    robust: Callable[[Tensor, Batch], Tensor] | None = None

    def __call__(
        self, model: nn.Module, batch: Batch, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch, and what it is made of.

        Parameters
        ----------
        model : nn.Module
            The learner's, perhaps wrapped for several processes.
        batch : Batch
        epoch : int
            Of which the noise is.

        Returns
        -------
        loss : Tensor, shape ()
        terms : dict of str to Tensor, shape ()
            The loss of labels, the penalties before their weights, the accuracy, and the share of
            images without a mask; without a graph.
        """
        settings, learner = self.settings, self.learner
        images = batch.images.permute(0, 3, 1, 2) / 255
        core = batch.core_masks / 255
        targets = learner.outputs_of(batch.labels)
        of_noise, of_swap = batch.chances.unbind(1)
        if "swap" in settings.methods:
            images = core_swap(images, core, settings.swap_probability, chances=of_swap)
        if "noise" in settings.methods:
            draw = _noise_like(images, batch.image_ids, epoch)
            images = core_noise(
                images, core, settings.probability, settings.sigma, chances=of_noise, draw=draw
            )
        inputs = learner.normalised(images)
        inputs.requires_grad_("saliency" in settings.methods)
        with self._differentiable_twice():
            logits = model(inputs)
            losses = cross_entropy(
                logits, targets, reduction="none", label_smoothing=settings.smoothing
            )
            loss = losses.mean()
            terms = {"loss": loss}
            if self.robust:
                loss = terms[ROBUST] = self.robust(losses, batch)
            if "saliency" in settings.methods:
                terms["saliency"] = saliency_penalty(losses, inputs, core)
                loss = loss + settings.saliency_weight * terms["saliency"]
        if learner.maps:
            weight = learner.maps.head.weight
            terms["cam"] = cam_penalty(learner.maps.take(), weight, targets, core)
            loss = loss + settings.cam_weight * terms["cam"]
        terms["accuracy"] = (logits.argmax(1) == targets).float().mean()
        if settings.methods:
            terms[MASKLESS] = 1 - core.flatten(1).any(1).float().mean()
        return loss, {name: term.detach() for name, term in terms.items()}

    def _differentiable_twice(self) -> AbstractContextManager[None]:
        """Fused attention has a first derivative only."""
        if "saliency" in self.settings.methods:
            return sdpa_kernel(SDPBackend.MATH)
        return nullcontext()


def _noise_like(images: Tensor, image_ids: list[str], epoch: int) -> Tensor:
    """Return an image's noise in an epoch, whatever batch and process it comes in."""
    _, channels, height, width = images.shape
    drawn = standard_noise(image_ids, epoch, (height, width, channels), images.device)
    return drawn.permute(0, 3, 1, 2)
