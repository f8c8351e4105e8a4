"""Means of what batches tell, until the next line of the journal."""

from __future__ import annotations

import time

from torch import Tensor


class Meter:
    """Sums on the device, which nobody waits for until they are asked."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._batches = self._images = 0
        self._began = time.perf_counter()

    def add(self, terms: dict[str, Tensor], images: int) -> None:
        """Take up the means of a batch, and how many images all processes saw in it."""
        for name, term in terms.items():
            self._sums[name] = self._sums[name] + term if name in self._sums else term
        self._batches += 1
        self._images += images

    def means(self) -> dict[str, Tensor]:
        """Return the means over batches."""
        return {name: total / self._batches for name, total in self._sums.items()}

    @property
    def speed(self) -> float:
        """Images per second."""
        return self._images / (time.perf_counter() - self._began)
