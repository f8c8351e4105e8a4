"""An examiner shows models the images of a batch under all conditions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from builder.dataset.scores import NO_RANK
from builder.evaluate.classifier import ReadyClassifier
from builder.evaluate.conditions import CLEAN, Condition
from builder.evaluate.corruptions import FADES, noise
from builder.evaluate.noise import standard_noise
from builder.evaluate.predictions import SCHEMA
from builder.evaluate.views import Batch


@dataclass(frozen=True)
class Examiner:
    """What is asked of each model.

    Attributes
    ----------
    models : sequence of ReadyClassifier
    conditions : sequence of Condition
        Besides the clean images.
    corruption : str
        One of `builder.settings.CORRUPTIONS`.
    sigma : float
        Of the noise.
    draws : int
        How often noise is drawn.
    device : torch.device
    """

    models: Sequence[ReadyClassifier]
    conditions: Sequence[Condition]
    corruption: str
    sigma: float
    draws: int
    device: torch.device

    def __call__(self, batch: Batch) -> pa.Table:
        """Return the predictions of all models on a batch; may be called from several threads."""
        regions = {c.name: self._region(batch, c) for c in self.conditions}
        tables = []
        for view, pixels in batch.pixels.items():
            # Channels come last in memory, as convolutions like them.
            images = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2) / 255
            shown = (model for model in self.models if model.view == view)
            asked = list(shown)
            for condition, draw, rows, corrupted in self._shown(batch, images, regions):
                for model in asked:
                    found = model(corrupted).cpu()
                    tables.append(_rows(batch, model.name, condition, draw, rows, found))
        return pa.concat_tables(tables)

    def _shown(
        self, batch: Batch, images: Tensor, regions: dict[str, tuple[Tensor, Tensor]]
    ) -> Iterator[tuple[str, int, Tensor, Tensor]]:
        """Yield condition, draw, which images of the batch, and how these look under it."""
        yield CLEAN, 0, torch.arange(len(images)), images
        draws = self.draws if self.corruption == "noise" else 1
        for draw in range(draws):
            # One draw for all conditions, so that only regions tell them apart.
            drawn = self._drawn(batch, images, draw) if self.corruption == "noise" else images
            for name, (rows, region) in regions.items():
                if len(rows):
                    scaled = _scaled(region, images.shape[-1])
                    yield name, draw, rows, self._corrupted(images[rows], scaled, drawn[rows])

    def _drawn(self, batch: Batch, images: Tensor, draw: int) -> Tensor:
        shape = images.shape[2], images.shape[3], images.shape[1]
        return standard_noise(batch.image_ids, draw, shape, self.device).permute(0, 3, 1, 2)

    def _corrupted(self, images: Tensor, region: Tensor, drawn: Tensor) -> Tensor:
        if self.corruption == "noise":
            return noise(images, region, drawn, self.sigma)
        return FADES[self.corruption](images, region)

    def _region(self, batch: Batch, condition: Condition) -> tuple[Tensor, Tensor]:
        """Return which images have a mask of a condition, and where these are corrupted."""
        masks = batch.masks[condition.name]
        rows = masks.flatten(1).any(1).nonzero().flatten()
        region = masks[rows].to(self.device, non_blocking=True).float()
        region /= region.amax((2, 3), keepdim=True) if condition.dilated else 255
        return rows, 1 - region if condition.outside else region


def _scaled(region: Tensor, size: int) -> Tensor:
    if region.shape[-1] == size:
        return region
    return functional.interpolate(region, (size, size), mode="bilinear", antialias=True)


def _rows(
    batch: Batch, model: str, condition: str, draw: int, rows: Tensor, found: Tensor
) -> pa.Table:
    labels, ranks = batch.labels[rows], batch.ranks[rows].numpy()
    count = len(rows)
    columns = {
        "model": pa.repeat(model, count),
        "condition": pa.repeat(condition, count),
        "draw": pa.repeat(np.int8(draw), count),
        "image_id": [batch.image_ids[row] for row in rows.tolist()],
        "label": labels.numpy(),
        "spuriosity_rank": pa.array(ranks, mask=ranks == NO_RANK),
        "predicted": found.argmax(1).numpy(),
        "probability": found.gather(1, labels[:, None])[:, 0].numpy(),
    }
    return pa.table(columns).cast(SCHEMA)
