"""Validation: the accuracy of a model in training on the validation images, as they are."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

import salient_imagenet_1m as si
from builder.evaluate.views import Batch, Views, collate
from builder.mitigate.examples import loading_workers
from builder.mitigate.learner import Learner, evaluating
from builder.settings.training import Training

_COLUMNS = ["image", "image_id", "label", "width", "height", "spuriosity_rank"]


class Validation:
    """The validation images, seen as evaluate sees them.

    Parameters
    ----------
    rows : datasets.Dataset
        The loader's, which gives examples of `Views`.
    settings : Training
    """

    def __init__(self, rows: Any, settings: Training) -> None:
        self._rows, self._settings = rows, settings

    def __call__(self, model: nn.Module, learner: Learner, accelerator: Accelerator) -> float:
        """Return the share of images that the model gets right; processes share the work."""
        right = torch.zeros(2, device=accelerator.device)
        with evaluating(model):
            for batch in self._batches(accelerator):
                pixels = batch.pixels[learner.view].to(accelerator.device)
                logits = model(learner.normalised(pixels.permute(0, 3, 1, 2) / 255))
                found = logits[:, learner.outputs].argmax(1).cpu()
                right += torch.tensor([(found == batch.labels).sum(), len(found)]).to(right)
        hits, images = accelerator.reduce(right).tolist()
        return float(hits / images)

    def _batches(self, accelerator: Accelerator) -> DataLoader[Batch]:
        own = range(accelerator.process_index, len(self._rows), accelerator.num_processes)
        return DataLoader(
            torch.utils.data.Subset(self._rows, own),
            self._settings.batch_size,
            num_workers=loading_workers(self._settings, accelerator.device),
            collate_fn=collate,
            generator=torch.Generator(),
        )


def open_validation(settings: Training, learner: Learner) -> Validation | None:
    """Open the validation images, None where the data set has no such split."""
    if "validation" not in si.Build.open(settings.data).splits:
        return None
    rows = si.load(
        settings.data,
        "images",
        images=settings.images,
        split="validation",
        columns=_COLUMNS,
        transform=Views([learner.view], []),
    )
    return Validation(rows, settings)
