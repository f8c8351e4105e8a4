"""Settings of trainings that take no time, on the tiny world."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from builder.settings.training import Training
from tests.conftest import World
from tests.mitigate.student import NAME

Options = Callable[..., Training]


@pytest.fixture
def options(
    planted: Path, planted_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Options:
    """Return what makes settings of a training; `out` is a name."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def make(out: str = "out", **changes: object) -> Training:
        chosen: dict[str, object] = {
            "model": NAME,
            "method": "noise+saliency+cam",
            "epochs": 2,
            "batch_size": 8,
            "opt": "adamw",
            "lr": 0.01,
            "warmup_epochs": 0,
            "device": "cpu",
            "log_every": 1,
            "save_every": 0,
            **changes,
        }
        return Training(
            data=str(planted),
            images=str(planted_world.root),
            out=tmp_path / out,
            **chosen,  # type: ignore[arg-type]
        )

    return make
