"""Settings of searches that take no time, on the tiny world."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.settings.subgrouping import Subgrouping
from tests.conftest import NETWORK, World

Options = Callable[..., Subgrouping]


@pytest.fixture
def options(planted: Path, planted_world: World, tmp_path: Path) -> Options:
    """Return what makes settings of a search; `out` is a name."""

    def make(out: str = "out", **changes: object) -> Subgrouping:
        chosen: dict[str, object] = {
            "data": str(planted),
            "model": f"{NETWORK}={planted_world.checkpoint}",
            "components": 3,
            "batch_size": 4,
            "device": "cpu",
            **changes,
        }
        return Subgrouping(
            images=str(planted_world.root),
            out=tmp_path / out,
            **chosen,  # type: ignore[arg-type]
        )

    return make
