"""A suite: what models are shown of a data set, and what is made of what they say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
from torch import Tensor

import salient_imagenet_1m as si
from builder.evaluate.classifier import ReadyClassifier, View
from builder.evaluate.measures import Score
from builder.evaluate.table import Column
from builder.reporter import Reporter
from builder.settings.evaluation import Evaluation


class Shown(NamedTuple):
    """Images of a batch as models are to see them.

    Attributes
    ----------
    condition : str
    draw : int
        0 where nothing is drawn.
    rows : Tensor of int64, shape (n,)
        Which images of the batch.
    images : Tensor of float32 in [0, 1], shape (n, 3, size, size)
    """

    condition: str
    draw: int
    rows: Tensor
    images: Tensor


class Batch(Protocol):
    """Some images as all models need them; a suite's own has what its conditions need as well.

    Attributes
    ----------
    image_ids : list of str
    labels : Tensor of int64, shape (n,)
    pixels : dict of View to Tensor of uint8, shape (n, size, size, 3)
    """

    @property
    def image_ids(self) -> list[str]: ...  # noqa: D102
    @property
    def labels(self) -> Tensor: ...  # noqa: D102
    @property
    def pixels(self) -> dict[View, Tensor]: ...  # noqa: D102


class Evaluated(NamedTuple):
    """What a suite tells of.

    Attributes
    ----------
    identity : dict
        All that predictions depend on.
    predictions : Path
        The file of them.
    scores : dict of str to list of Score
        By model.
    families : dict of str to str
        Of models.
    names : list of str
        Of classes, by label.
    """

    identity: dict[str, Any]
    predictions: Path
    scores: dict[str, list[Score]]
    families: dict[str, str]
    names: list[str]


class Told(NamedTuple):
    """What readers get: a summary that JSON can hold, and a page of HTML."""

    summary: dict[str, Any]
    page: str


class Suite(Protocol):
    """What models are shown of a data set, and what is made of what they say.

    Attributes
    ----------
    schema : pa.Schema
        Of predictions; see `builder.evaluate.predictions.schema_with`.
    columns : sequence of Column
        Of the table of models.
    closing : mapping of str to str
        The measures that a terminal shows, and their headings.
    loading : mapping of str
        Options of `salient_imagenet_1m.load`: columns, selection.
    images : int
        How many there are.
    passes : int
        How often a model sees an image, at most.
    identity : dict
        All that predictions depend on beside data and models.
    """

    @property
    def schema(self) -> pa.Schema: ...  # noqa: D102
    @property
    def columns(self) -> Sequence[Column]: ...  # noqa: D102
    @property
    def closing(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def loading(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def images(self) -> int: ...  # noqa: D102
    @property
    def passes(self) -> int: ...  # noqa: D102
    @property
    def identity(self) -> dict[str, Any]: ...  # noqa: D102

    def prepare(self, models: Sequence[ReadyClassifier]) -> None:
        """See that all models can be asked what is asked.

        Raises
        ------
        BuildError
            If one cannot.
        """

    def transform(self, views: Sequence[View]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Return what the loader makes of an example."""

    def collate(self, examples: Sequence[dict[str, Any]]) -> Batch:
        """Stack examples of the transform."""

    def shown(self, batch: Any, view: View, images: Tensor) -> Iterator[Shown]:
        """Yield how images look under each condition and draw; first as they are, all of them.

        Parameters
        ----------
        batch : Batch
            Of `collate`.
        view : View
        images : Tensor of float32 in [0, 1], shape (n, 3, size, size)
            Those of the view, on the device.
        """

    def columns_of(self, batch: Any, shown: Shown, model: ReadyClassifier) -> dict[str, Any]:
        """Return the columns of predictions that are the suite's own."""

    def scores(self, predictions: pa.Table) -> list[Score]:
        """Return all scores of a model, of what it said."""

    def told(self, evaluated: Evaluated, reporter: Reporter) -> Told:
        """Return what readers get."""


SuiteMaker = Callable[[Evaluation, si.Build, str], Suite]
"""A suite of settings, a data set and a split of it; another process makes it anew by its name."""
