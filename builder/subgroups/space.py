"""The space that subgroups are found in: the features of a class's images, in one scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Space:
    """Features of the images of a class, of unit length each, then centred in the class.

    Attributes
    ----------
    mean : ndarray of float64, shape (features,)
        Of x, features at unit length.
    centred : ndarray of float64, shape (images, features)
        x - mean.
    spread : ndarray of float64, shape (features,)
        Standard deviation of x in the class, with one degree of freedom less; 1 where it is 0.
    """

    mean: Floats
    centred: Floats
    spread: Floats

    def of(self, features: npt.NDArray[np.floating]) -> Space:
        """Return other images of the class in the same space."""
        return Space(self.mean, units(np.asarray(features, np.float64)) - self.mean, self.spread)

    @property
    def standardised(self) -> Floats:
        """The features in units of their spread."""
        return self.centred / self.spread

    def cosines(self, directions: Floats) -> Floats:
        """Return how images lie along directions (DIM, discovery of subgroups).

        Parameters
        ----------
        directions : ndarray of float64, shape (components, features)

        Returns
        -------
        ndarray of float64, shape (images, components)
            cos(x - mean, d), 0 where either has no length.
        """
        return units(self.centred) @ units(directions).T


def space_of(features: npt.NDArray[np.floating]) -> Space:
    """Return the space of the features of a class's images.

    Parameters
    ----------
    features : ndarray of float, shape (images, features)
        At least two images.
    """
    shown = units(np.asarray(features, np.float64))
    mean = shown.mean(0)
    return Space(mean, shown - mean, spread_of(shown - mean))


def units(rows: Floats) -> Floats:
    """Return rows at unit length; those of no length stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))


def spread_of(centred: Floats) -> Floats:
    """Return the standard deviation of centred columns; 1 where it is 0 but for rounding."""
    spread = centred.std(0, ddof=1)
    spread[spread <= 1e-12 * np.abs(centred).max(initial=1)] = 1
    return np.asarray(spread)
