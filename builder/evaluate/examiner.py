"""An examiner shows models the images of a batch under all conditions of a suite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from builder.evaluate.classifier import ReadyClassifier, View
from builder.evaluate.suite import Batch, Shown, Suite
from builder.evaluate.turns import Turns


@dataclass(frozen=True)
class Examiner:
    """Asks models what a suite asks.

    Attributes
    ----------
    turns : Turns
        Of the models.
    suite : Suite
    device : torch.device
    """

    turns: Turns
    suite: Suite
    device: torch.device

    def __call__(self, batch: Batch) -> pa.Table:
        """Return the predictions of all models on a batch; may be called from several threads."""
        tables: list[pa.Table] = []
        for group in self.turns:
            for view in dict.fromkeys(model.view for model in group):
                asked = [model for model in group if model.view == view]
                tables += self._asked(batch, asked, view)
        # A copy: what is kept of a batch would else lie scattered among what is not.
        return pa.concat_tables(tables).combine_chunks()

    def _asked(
        self, batch: Batch, models: Sequence[ReadyClassifier], view: View
    ) -> Iterator[pa.Table]:
        """Yield what models of one view say, a table per condition, draw and model."""
        # Channels come last in memory, as convolutions like them.
        pixels = batch.pixels[view].to(self.device, non_blocking=True)
        images = pixels.permute(0, 3, 1, 2) / 255
        for shown in self.suite.shown(batch, view, images):
            for model in models:
                yield self._rows(batch, model, shown, model(shown.images).cpu())

    def _rows(self, batch: Batch, model: ReadyClassifier, shown: Shown, found: Tensor) -> pa.Table:
        labels, count = batch.labels[shown.rows], len(shown.rows)
        columns = {
            "model": pa.repeat(model.name, count),
            "condition": pa.repeat(shown.condition, count),
            "draw": pa.repeat(np.int8(shown.draw), count),
            "image_id": [batch.image_ids[row] for row in shown.rows.tolist()],
            "label": labels.numpy(),
            **self.suite.columns_of(batch, shown, model),
            "predicted": found.argmax(1).numpy(),
            "probability": found.gather(1, labels[:, None])[:, 0].numpy(),
        }
        return pa.table(columns).cast(self.suite.schema)
