"""Conditions: under which a model sees the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

CLEAN = "clean"


class Mask(NamedTuple):
    """What a region is made of; conditions may share one.

    Attributes
    ----------
    column : str
        Of the loader; ``feature_1`` is the mask of the class's first feature alone.
    dilated : bool
        Whether the mask grows first, as core masks do in Core Risk Minimization.
    """

    column: str
    dilated: bool = False


@dataclass(frozen=True)
class Condition:
    """A region that is corrupted.

    Attributes
    ----------
    name : str
    mask : Mask
    outside : bool
        Whether it is all but the mask that is corrupted.
    """

    name: str
    mask: Mask
    outside: bool = False


CORE = Condition("core", Mask("core_mask", dilated=True), outside=True)
"""acc(C): all but the dilated core mask is corrupted, the core is left."""

SPURIOUS = Condition("spurious", Mask("core_mask", dilated=True))
"""acc(S): the dilated core mask is corrupted, the rest is left."""

ON_CORE = Condition("on_core_mask", Mask("core_mask"))
ON_SPURIOUS = Condition("on_spurious_mask", Mask("spurious_mask"))
"""The first paper's: only what the masks of one kind show is corrupted, all else is left. It calls
the accuracy under the latter core accuracy, which acc(C) is not."""

CONDITIONS = (CORE, SPURIOUS, ON_CORE, ON_SPURIOUS)


def feature_condition(position: int) -> Condition:
    """Return the condition that corrupts the mask of one feature of the image's class."""
    return Condition(f"on_feature_{position + 1}", Mask(f"feature_{position + 1}"))
