"""An examiner shows models the images of a batch under all conditions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from builder.dataset.scores import NO_RANK
from builder.evaluate.classifier import ReadyClassifier, View
from builder.evaluate.conditions import CLEAN, Condition
from builder.evaluate.corruptions import FADES, noise
from builder.evaluate.noise import standard_noise
from builder.evaluate.predictions import SCHEMA
from builder.evaluate.turns import Turns
from builder.evaluate.views import Batch


@dataclass(frozen=True)
class Examiner:
    """What is asked of each model.

    Attributes
    ----------
    turns : Turns
        Of the models.
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

    turns: Turns
    conditions: Sequence[Condition]
    corruption: str
    sigma: float
    draws: int
    device: torch.device

    def __call__(self, batch: Batch) -> pa.Table:
        """Return the predictions of all models on a batch; may be called from several threads."""
        regions = [_region(batch, condition, self.device) for condition in self.conditions]
        tables: list[pa.Table] = []
        for group in self.turns:
            for view in dict.fromkeys(model.view for model in group):
                asked = [model for model in group if model.view == view]
                tables += self._asked(batch, asked, view, regions)
        # A copy: what is kept of a batch would else lie scattered among what is not.
        return pa.concat_tables(tables).combine_chunks()

    def _asked(
        self,
        batch: Batch,
        models: Sequence[ReadyClassifier],
        view: View,
        regions: Sequence[_Region],
    ) -> Iterator[pa.Table]:
        """Yield what models of one view say, a table per condition, draw and model."""
        # Channels come last in memory, as convolutions like them.
        pixels = batch.pixels[view].to(self.device, non_blocking=True)
        images = pixels.permute(0, 3, 1, 2) / 255
        scaled = [region.scaled(view.size) for region in regions if len(region.rows)]
        for condition, draw, rows, corrupted in self._shown(batch, images, scaled):
            for model in models:
                found = model(corrupted).cpu()
                yield _rows(batch, model.name, condition, draw, rows, found)

    def _shown(
        self, batch: Batch, images: Tensor, regions: Sequence[_Region]
    ) -> Iterator[tuple[str, int, Tensor, Tensor]]:
        """Yield condition, draw, which images of the batch, and how these look under it."""
        yield CLEAN, 0, torch.arange(len(images)), images
        affected = [_taken(images, region.rows) for region in regions]
        if self.corruption in FADES:
            fade = FADES[self.corruption]
            for (name, rows, area), own in zip(regions, affected, strict=True):
                yield name, 0, rows, fade(own, area)
            return
        shape = images.shape[2], images.shape[3], images.shape[1]
        for draw in range(self.draws):
            # One draw for all conditions, so that only regions tell them apart.
            drawn = standard_noise(batch.image_ids, draw, shape, self.device).permute(0, 3, 1, 2)
            for (name, rows, area), own in zip(regions, affected, strict=True):
                yield name, draw, rows, noise(own, area, _taken(drawn, rows), self.sigma)


def _taken(images: Tensor, rows: Tensor) -> Tensor:
    """Return some of the images, without a copy where they are all."""
    return images if len(rows) == len(images) else images[rows]


class _Region(NamedTuple):
    """Which images of a batch a condition corrupts, and where: in [0, 1], (rows, 1, size, size)."""

    condition: str
    rows: Tensor
    area: Tensor

    def scaled(self, size: int) -> _Region:
        """Return the region at the size of a view."""
        if self.area.shape[-1] == size:
            return self
        area = functional.interpolate(self.area, (size, size), mode="bilinear", antialias=True)
        return self._replace(area=area)


def _region(batch: Batch, condition: Condition, device: torch.device) -> _Region:
    masks = batch.masks[condition.mask]
    rows = masks.flatten(1).any(1).nonzero().flatten()
    area = masks[rows].to(device, non_blocking=True).float()
    area /= area.amax((2, 3), keepdim=True) if condition.mask.dilated else 255
    return _Region(condition.name, rows, 1 - area if condition.outside else area)


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
