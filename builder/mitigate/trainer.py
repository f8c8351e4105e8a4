"""The loop of a training: epochs, steps, and now and then a line and a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from builder.errors import BuildError, Stopped
from builder.mitigate.checkpoint import Checkpoint
from builder.mitigate.examples import Batch, Examples, collate, loading_workers
from builder.mitigate.journal import STEP, Journal, Line
from builder.mitigate.learner import Learner
from builder.mitigate.meter import Meter
from builder.mitigate.objective import MASKLESS, ROBUST, Objective
from builder.mitigate.order import Order, seed_of
from builder.mitigate.recipe import averaged, make_optimizer, make_schedule
from builder.mitigate.reweighting import Reweighting
from builder.mitigate.validation import Validation
from builder.reporter import Reporter
from builder.settings.training import Training
from builder.shards.stop import Stop

CHECKPOINT_FILE = "checkpoint.safetensors"

VALIDATION = "validation_accuracy"
RATE = "lr"


class Trainer:
    """Trains a model, from where its checkpoint is.

    Parameters
    ----------
    settings : Training
    learner : Learner
    examples : Examples
    validation : Validation, optional
    order : Order
    accelerator : Accelerator
    work : Path
        The directory of the checkpoint.
    stop : Stop
        Whom to ask whether to go on.
    reweighting : Reweighting, optional
        How subgroups weigh.

    Attributes
    ----------
    steps : int
        Taken so far.

    Raises
    ------
    BuildError
        If optimizer or schedule are unknown, or the checkpoint is damaged.
    """

    def __init__(
        self,
        settings: Training,
        learner: Learner,
        examples: Examples,
        validation: Validation | None,
        order: Order,
        accelerator: Accelerator,
        work: Path,
        stop: Stop,
        reweighting: Reweighting | None = None,
    ) -> None:
        self.settings, self._learner, self._examples = settings, learner, examples
        self._validation, self._accelerator, self._stop = validation, accelerator, stop
        self._path = work / CHECKPOINT_FILE
        self._order = order
        self._chances = reweighting.chances if reweighting else None
        robust = reweighting.robust(accelerator) if reweighting else None
        self._objective = Objective(settings, learner, robust)
        # Copied before anything is wrapped, and before maps are watched for gradients.
        self._ema = averaged(learner.model, settings)
        optimizer = make_optimizer(learner.model, settings)
        self._schedule = make_schedule(optimizer, settings, self._order.steps)
        self._model, self._optimizer = accelerator.prepare(learner.model, optimizer)
        modules: dict[str, nn.Module] = {"model": learner.model}
        if self._ema:
            self._ema.to(accelerator.device)
            modules["ema"] = self._ema.module
        if reweighting and reweighting.loss:
            modules["subgroups"] = reweighting.loss
        self._checkpoint = Checkpoint(modules, self._optimizer)
        self.steps = self._checkpoint.load(self._path) if self._path.exists() else 0
        accelerator.wait_for_everyone()
        self._saved = time.monotonic()

    @property
    def columns(self) -> list[str]:
        """What a line of the journal tells."""
        terms = [*sorted(self.settings.methods & {"saliency", "cam"})]
        if self.settings.reweight == "dro":
            terms = [ROBUST, *terms]
        shares = [MASKLESS] if self.settings.methods else []
        return ["epoch", RATE, "loss", *terms, "accuracy", *shares, VALIDATION]

    @property
    def result(self) -> nn.Module:
        """The model that is written: the running mean where there is one."""
        return self._ema.module if self._ema else self._learner.model

    def run(self, journal: Journal | None, reporter: Reporter) -> None:
        """Train until all epochs are done.

        Parameters
        ----------
        journal : Journal, optional
            Of the main process alone.
        reporter : Reporter

        Raises
        ------
        Stopped
            If somebody asked to stop; the same command goes on.
        BuildError
            If the loss is no longer finite.
        """
        first = self.steps // self._order.steps
        for epoch in range(first, self.settings.epochs):
            title = f"epoch {epoch + 1} of {self.settings.epochs}"
            done = self.steps % self._order.steps * self._order.step
            total = self._order.steps * self._order.step
            with reporter.track(title, total, done) as advance:
                self._train(epoch, journal, advance)

    def _train(self, epoch: int, journal: Journal | None, advance: Callable[[int], None]) -> None:
        """Train for what is left of an epoch."""
        meter = Meter()
        for place, batch in enumerate(self._batches(epoch)):
            # All chance follows from settings and steps, so that none is in the checkpoint.
            torch.manual_seed(self._seed(place % self._order.accumulate))
            with self._accelerator.accumulate(self._model):
                loss, terms = self._objective(self._model, batch, epoch)
                self._accelerator.backward(loss)
                self._optimizer.step()
                self._optimizer.zero_grad()
            meter.add(terms, len(batch.labels) * self._order.processes)
            if self._accelerator.sync_gradients:
                self._stepped()
                advance(self._order.step)
                ends = self.steps % self._order.steps == 0
                if ends or self.steps % self.settings.log_every == 0:
                    self._log(epoch, meter, journal, ends=ends)
                    meter = Meter()

    def _batches(self, epoch: int) -> Iterator[Batch]:
        device = self._accelerator.device
        loader: DataLoader[Any] = DataLoader(
            self._examples,
            batch_sampler=list(
                self._order.batches(epoch, self.steps % self._order.steps, self._chances)
            ),
            num_workers=loading_workers(self.settings, device),
            collate_fn=collate,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # or each epoch would take a number of the model's chance
        )
        return (batch.to(device) for batch in loader)

    def _seed(self, batch: int) -> int:
        """Return the seed of a batch of the next step."""
        process = self._accelerator.process_index
        return seed_of(self.settings.seed, "step", self.steps, batch, process) % 2**63

    def _stepped(self) -> None:
        self.steps += 1
        self._schedule.step_update(self.steps)
        if self._ema:
            self._ema.update(self._learner.model, self.steps)

    def _log(self, epoch: int, meter: Meter, journal: Journal | None, *, ends: bool) -> None:
        """Write a line, save where that is due, and stop where somebody asked to."""
        means = self._mean_of_processes(meter.means())
        if not all(map(math.isfinite, means.values())):
            raise BuildError(
                f"The loss is no longer finite after {self.steps:,} steps: use a smaller --lr or "
                "a smaller weight of the penalty, and a new --out."
            )
        line: Line = {STEP: self.steps, "epoch": epoch, RATE: self._rate, **means}
        if ends and self._validation:
            line[VALIDATION] = self._validate()
        asked = self._is_stop_asked()
        if journal:
            journal.write(line, meter.speed)
            due = time.monotonic() - self._saved >= 60 * self.settings.save_every
            if ends or due or asked:
                self._checkpoint.save(self._path, self.steps)
                self._saved = time.monotonic()
        if asked and self.steps < self._order.steps * self.settings.epochs:
            self._accelerator.wait_for_everyone()
            raise Stopped(
                f"Stopped after {self.steps:,} steps: run the same command again to go on."
            )

    def _is_stop_asked(self) -> bool:
        """Whether somebody asked any of the processes: they stop together."""
        asked = torch.tensor(float(self._stop.is_asked), device=self._accelerator.device)
        return bool(self._accelerator.reduce(asked) > 0)

    @property
    def _rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    def _validate(self) -> float:
        assert self._validation
        return self._validation(self.result, self._learner, self._accelerator)

    def _mean_of_processes(self, means: dict[str, Tensor]) -> dict[str, float]:
        together = torch.stack(list(means.values()))
        found = self._accelerator.reduce(together, "mean").tolist()
        return dict(zip(means, found, strict=True))
