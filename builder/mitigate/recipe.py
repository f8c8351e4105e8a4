"""The recipe: optimizer, schedule and running mean of weights, all of them timm's."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from torch import nn
from torch.optim import Optimizer

from builder.errors import BuildError
from builder.settings.training import Training

SCHEDULES = ("cosine", "tanh", "step", "poly")
"""Those whose rate is a function of the step alone, so that nothing of them is in a checkpoint."""


def make_optimizer(model: nn.Module, settings: Training) -> Optimizer:
    """Return the optimizer of a name.

    Raises
    ------
    BuildError
        If timm has none.
    """
    from timm.optim import create_optimizer_v2, list_optimizers  # noqa: PLC0415 (takes seconds)

    known = list_optimizers()
    if settings.opt not in known:
        near = get_close_matches(settings.opt, known, n=3) or ["sgd", "adamw", "lamb"]
        raise BuildError(
            f"timm has no optimizer {settings.opt}: use one that it has, as {', '.join(near)}."
        )
    made: Optimizer = create_optimizer_v2(
        model, settings.opt, lr=settings.lr, weight_decay=settings.weight_decay
    )
    return made


def make_schedule(optimizer: Optimizer, settings: Training, steps: int) -> Any:
    """Return the schedule of a name, for epochs of so many steps.

    Raises
    ------
    BuildError
        If there is none.
    """
    from timm.scheduler import create_scheduler_v2  # noqa: PLC0415

    if settings.sched not in SCHEDULES:
        raise BuildError(
            f"There is no schedule {settings.sched}: use --sched {' or '.join(SCHEDULES)}."
        )
    warmup = min(settings.warmup_epochs, settings.epochs - 1)
    schedule, _ = create_scheduler_v2(
        optimizer,
        settings.sched,
        num_epochs=settings.epochs,
        decay_epochs=max(1, settings.epochs // 3),
        warmup_epochs=warmup,
        warmup_lr=settings.lr / 100,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    return schedule


def averaged(model: nn.Module, settings: Training) -> Any:
    """Return timm's running mean of a model's weights, None where it is not wanted."""
    from timm.utils import ModelEmaV3  # noqa: PLC0415

    if settings.ema is None:
        return None
    return ModelEmaV3(model, decay=settings.ema)
