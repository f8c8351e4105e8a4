"""Kills that a test survives, of builds at the moment that it wants."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from builder.run.build import build
from builder.settings.build import Settings
from tests.quiet import Quiet


class KilledError(BaseException):
    """A kill -9 that a test survives."""


def build_all_but_the_end(settings: Settings) -> None:
    """Run a build that dies when all its shards are finished, before anything is published."""
    dies = patch("builder.run.finalise.Finaliser.write", side_effect=KilledError)
    with dies, pytest.raises(KilledError):
        build(settings, Quiet())
