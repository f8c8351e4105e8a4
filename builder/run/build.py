"""The main job: open the inputs, run the shards that are missing, finalise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.dataset.counts import labels_look_wrong
from builder.dataset.dataset import DataSet
from builder.dataset.manifest import Manifest
from builder.errors import BuildError
from builder.network.devices import find_device
from builder.pages.pages import write_pages
from builder.pages.preview import write_preview
from builder.reporter import Reporter, SilentReporter
from builder.run.finalise import Finaliser
from builder.run.ledger import read_ledgers
from builder.run.runner import Run, ShardRunner
from builder.run.workspace import Workspace
from builder.settings import Settings
from builder.shards.engine import Engine, InProcess, open_engine
from builder.shards.job import Job, open_job
from builder.shards.stop import Stop
from builder.stages import Stages
from builder.storage.files import disk_errors_as_sentences, exclusive, make_directory, shared


@dataclass(frozen=True)
class Outcome:
    """What came of a build.

    Attributes
    ----------
    out : Path
    split : dict
        The split's part of the manifest.
    labels_look_wrong : bool
        Whether the network predicts hardly any image as it is labelled.
    images : int
        How many images this run took up; those of earlier runs are not among them.
    seconds : float
        Of the whole run.
    stages : Stages
        Seconds per stage of this run, added up over threads and processes.
    """

    out: Path
    split: dict[str, Any]
    labels_look_wrong: bool
    images: int
    seconds: float
    stages: Stages


@dataclass(frozen=True)
class TaskOutcome:
    """What came of a task of a build.

    Attributes
    ----------
    images : int
        How many images this run took up.
    left : int
        How many shards others have not finished yet.
    """

    images: int
    left: int


def build(settings: Settings, reporter: Reporter, stop: Stop | None = None) -> Outcome:
    """Build one split of a data set, or go on where an earlier run of the same build stopped.

    Parameters
    ----------
    settings : Settings
    reporter : Reporter
    stop : Stop, optional
        Whom to ask whether to go on.

    Returns
    -------
    Outcome

    Raises
    ------
    BuildError
        With a sentence for the user; nothing half-written is left visible.
    Stopped
        If somebody asked to stop before all shards were finished.
    """
    start = time.perf_counter()
    workspace = Workspace(settings.out, settings.split)
    with _opened(settings, reporter, workspace) as (job, engine), exclusive(settings.out):
        manifest = workspace.check(job.origin(), job.inputs())
        images, stages = 0, Stages()
        if settings.split in manifest.splits:
            reporter.say(f"Nothing to do: {settings.out} already holds this very build.")
        else:
            _claim(workspace, job)
            _warn_of_embeddings(job, reporter)
            runner = ShardRunner(job, workspace.directory, engine, reporter, stop=stop)
            run = runner.confirm() if settings.finalise_only else runner.run()
            images, stages = run.images, run.stages
            with stages.time("write"), reporter.track("finalising"):
                _publish(job, run, workspace, manifest)
        workspace.clean()
    split = manifest.splits[settings.split]
    return Outcome(
        out=settings.out,
        split=split,
        labels_look_wrong=labels_look_wrong(split["counts"], manifest.origin["classes"]),
        images=images,
        seconds=time.perf_counter() - start,
        stages=stages,
    )


def run_task(settings: Settings, reporter: Reporter, stop: Stop | None = None) -> TaskOutcome:
    """Run one task's share of the shards; others may run theirs, on any machine.

    Parameters
    ----------
    settings : Settings
    reporter : Reporter
    stop : Stop, optional
        Whom to ask whether to go on.

    Raises
    ------
    BuildError, Stopped
        As `build`.
    """
    workspace = Workspace(settings.out, settings.split)
    with _opened(settings, reporter, workspace) as (job, engine), shared(settings.out):
        make_directory(workspace.directory)
        with exclusive(workspace.directory, wait=True):
            manifest = workspace.check(job.origin(), job.inputs())
            if settings.split in manifest.splits:
                reporter.say(f"Nothing to do: {settings.out} already holds this very build.")
                return TaskOutcome(0, 0)
            _claim(workspace, job)
        task_directory = settings.task.directory(workspace.directory)
        make_directory(task_directory)
        with exclusive(task_directory):
            run = ShardRunner(job, workspace.directory, engine, reporter, settings.task, stop).run()
    return TaskOutcome(run.images, run.left)


@contextmanager
def _opened(
    settings: Settings, reporter: Reporter, workspace: Workspace
) -> Iterator[tuple[Job, Engine]]:
    """Open all inputs, and make the output's directory once they are found to be good."""
    with _engine(settings, reporter, workspace) as engine:
        job = open_job(settings, reporter, engine.device, engine.runs_on)
        with disk_errors_as_sentences(settings.out):
            workspace.check(job.origin(), job.inputs())
            make_directory(settings.out)
            yield job, engine


def _engine(
    settings: Settings, reporter: Reporter, workspace: Workspace
) -> AbstractContextManager[Engine]:
    if settings.finalise_only:
        # Nothing is computed, so that what computed the shards need not be here.
        with disk_errors_as_sentences(settings.out):
            begun_on = workspace.begun_on()
        if not begun_on:
            raise BuildError(
                f"Nothing of the split {settings.split} was built in {settings.out} yet: check "
                "--out and --split, or leave out --finalise-only."
            )
        return nullcontext(InProcess(find_device("cpu"), begun_on))
    return open_engine(settings, reporter.say)


def _claim(workspace: Workspace, job: Job) -> None:
    """Take note of whose the work is, unless it turns out to be another build's."""
    if not workspace.noted():
        # Each ledger has the fingerprint of its build, and is refused here.
        read_ledgers(workspace.directory, job, SilentReporter())
    workspace.claim(job.origin(), job.inputs())


def _warn_of_embeddings(job: Job, reporter: Reporter) -> None:
    if job.settings.keep_embeddings:
        size = len(job.plan.order) * job.network.channels * 2
        reporter.say(f"Keeping all pooled features takes another {size / 1e6:,.0f} MB.")


def _publish(job: Job, run: Run, workspace: Workspace, manifest: Manifest) -> None:
    """Write the split's files to a hidden place, then move them to where they are seen."""
    finaliser = Finaliser(
        directory=workspace.directory,
        plan=job.plan,
        votes=job.votes,
        names=job.names,
        head_weight=job.network.head_weight.numpy(),
        grid_height=job.network.grid_height,
        grid_width=job.network.grid_width,
        keep_embeddings=job.settings.keep_embeddings,
    )
    staged = workspace.new_stage()
    manifest.splits[job.plan.split] = {
        "inputs": job.inputs(),
        "counts": asdict(finaliser.write(staged, workspace.out)),
        "agreement": run.agreement.as_json(),
    }
    manifest.record(staged)
    data = DataSet(manifest, staged, workspace.out)
    manifest.record(staged, [write_preview(data, job.plan.split, staged)])
    write_pages(data, staged)
    workspace.install(manifest)
