"""The order in which images are trained on, and all chance, as functions of few numbers."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator

from builder.errors import BuildError
from builder.settings.training import Training


def seed_of(*parts: object) -> int:
    """Return a seed that its parts alone decide."""
    digest = hashlib.blake2b(" ".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Place(NamedTuple):
    """An image in an epoch.

    Attributes
    ----------
    epoch, position : int
    repeat : int
        How often it came in the epoch before.
    """

    epoch: int
    position: int
    repeat: int = 0


@dataclass(frozen=True)
class Order:
    """Which process sees which images when: the same images in each step, however they are shared.

    An epoch goes through the images in an order of its own. Each step takes the next `step` of
    them; what is left at the end, less than a step, is left out of this epoch.

    Attributes
    ----------
    images : int
    batch_size : int
        Of a process.
    accumulate : int
        Batches of a process in a step.
    processes, process : int
        How many there are, and which this is.
    seed : int
    """

    images: int
    batch_size: int
    accumulate: int = 1
    processes: int = 1
    process: int = 0
    seed: int = 0

    @property
    def step(self) -> int:
        """Images of a step, of all processes."""
        return self.batch_size * self.accumulate * self.processes

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.images // self.step

    @property
    def used(self) -> int:
        """Images of an epoch, whole steps of them; others are left out of the next one."""
        return self.steps * self.step

    def batches(
        self, epoch: int, start: int = 0, chances: npt.NDArray[np.float64] | None = None
    ) -> Iterator[list[Place]]:
        """Yield this process's batches of an epoch, from a step on.

        Parameters
        ----------
        epoch, start : int
        chances : ndarray of float64, shape (images,), optional
            How likely each image is drawn, with replacement; by default each comes once.
        """
        drawn = np.random.default_rng(seed_of(self.seed, epoch))
        order = (
            drawn.permutation(self.images)
            if chances is None
            else drawn.choice(self.images, self.images, p=chances)
        )
        repeats = np.zeros_like(order) if chances is None else _repeats(order)
        places = np.stack([order, repeats], axis=1)[: self.used]
        for batch in places.reshape(self.steps, self.accumulate, self.processes, -1, 2)[start:]:
            for part in batch[:, self.process]:
                yield [Place(epoch, position, repeat) for position, repeat in part.tolist()]


def _repeats(order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how often each of some numbers came before."""
    seen: Counter[int] = Counter()
    found = np.empty_like(order)
    for place, number in enumerate(order.tolist()):
        found[place] = seen[number]
        seen[number] += 1
    return found


def order_of(settings: Training, images: int, accelerator: Accelerator) -> Order:
    """Return the order of so many images, as this process sees them.

    Raises
    ------
    BuildError
        If a step takes more images than there are.
    """
    order = Order(
        images,
        settings.batch_size,
        settings.accumulate,
        accelerator.num_processes,
        accelerator.process_index,
        settings.seed,
    )
    if not order.steps:
        raise BuildError(
            f"A step takes {order.step:,} images, and there are {images:,}: use a smaller "
            "--batch-size."
        )
    return order
