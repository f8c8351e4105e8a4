"""The main job: open the inputs, run the shards that are missing, finalise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.dataset.configs import WHOLE_IMAGES
from builder.dataset.counts import labels_look_wrong
from builder.dataset.dataset import DataSet
from builder.dataset.manifest import Manifest
from builder.dataset.whole import count_whole, likeness
from builder.errors import BuildError
from builder.images.extent import WholeImage
from builder.network.devices import find_device
from builder.pages.pages import write_pages
from builder.pages.preview import OF_WHOLE_IMAGES, write_preview
from builder.reporter import Reporter, SilentReporter
from builder.run.finalise import Finaliser
from builder.run.finalise_whole import WholeFinaliser
from builder.run.finished import FinishedShards
from builder.run.ledger import read_ledgers
from builder.run.runner import Run, ShardRunner
from builder.run.workspace import Workspace
from builder.settings.build import Settings
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
    images, stages, done = 0, Stages(), []
    with _opened(settings, reporter) as (jobs, engine), exclusive(settings.out):
        for job in jobs:
            workspace = workspace_of(job)
            manifest = workspace.check(job.origin(), job.inputs())
            if workspace.finished(manifest) is None:
                _claim(workspace, job)
                _warn_of_embeddings(job, reporter)
                runner = ShardRunner(job, workspace.directory, engine, reporter, stop=stop)
                run = runner.confirm() if settings.finalise_only else runner.run()
                with run.stages.time("write"), reporter.track("finalising"):
                    _publish(job, run, workspace, manifest)
                images += run.images
                stages.add(run.stages)
                done.append(job)
            workspace.clean()
    if not done:
        reporter.say(f"Nothing to do: {settings.out} already holds this very build.")
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
    runs = []
    with _opened(settings, reporter) as (jobs, engine), shared(settings.out):
        for job in jobs:
            workspace = workspace_of(job)
            make_directory(workspace.directory)
            with exclusive(workspace.directory, wait=True):
                manifest = workspace.check(job.origin(), job.inputs())
                if workspace.finished(manifest) is not None:
                    continue
                _claim(workspace, job)
            directory = settings.task.directory(workspace.directory)
            make_directory(directory)
            with exclusive(directory):
                runner = ShardRunner(
                    job, workspace.directory, engine, reporter, settings.task, stop
                )
                runs.append(runner.run())
    if not runs:
        reporter.say(f"Nothing to do: {settings.out} already holds this very build.")
    return TaskOutcome(sum(run.images for run in runs), sum(run.left for run in runs))


def workspace_of(job: Job) -> Workspace:
    """Return where the work on a job is."""
    return Workspace(job.settings.out, job.plan.split, is_whole=job.is_whole)


@contextmanager
def _opened(settings: Settings, reporter: Reporter) -> Iterator[tuple[list[Job], Engine]]:
    """Open all inputs, and make the output's directory once they are found to be good.

    Yields
    ------
    tuple of list of Job and Engine
        The job of the crops, and that of whole images where these are wanted.
    """
    with _engine(settings, reporter) as engine:
        jobs = jobs_of(open_job(settings, reporter, engine.device, engine.runs_on))
        with disk_errors_as_sentences(settings.out):
            for job in jobs:
                workspace_of(job).check(job.origin(), job.inputs())
            make_directory(settings.out)
            yield jobs, engine


def _engine(settings: Settings, reporter: Reporter) -> AbstractContextManager[Engine]:
    if settings.finalise_only:
        # Nothing is computed, so that what computed the shards need not be here.
        with disk_errors_as_sentences(settings.out):
            begun_on = _begun_on(settings)
        if not begun_on:
            raise BuildError(
                f"Nothing of the split {settings.split} was built in {settings.out} yet: check "
                "--out and --split, or leave out --finalise-only."
            )
        return nullcontext(InProcess(find_device("cpu"), begun_on))
    return open_engine(settings, reporter.say)


def jobs_of(job: Job) -> list[Job]:
    """Return the jobs that a build comes to, one after the other, from that of the crops."""
    if not job.settings.whole_image:
        return [job]
    whole = job.of("image")
    workspace = workspace_of(job)
    manifest = Manifest.load(job.settings.out)
    # Crops that are finished stay, whatever program or device they were made by.
    return [whole] if manifest and workspace.finished(manifest) else [job, whole]


def _begun_on(settings: Settings) -> str | None:
    """Return the kind of device that the work was begun on which is to be finalised."""
    crops = Workspace(settings.out, settings.split)
    whole = Workspace(settings.out, settings.split, is_whole=True)
    manifest = Manifest.load(settings.out)
    is_added = settings.whole_image and manifest and crops.finished(manifest)
    return whole.begun_on() if is_added else crops.begun_on()


def _claim(workspace: Workspace, job: Job) -> None:
    """Take note of whose the work is, unless it turns out to be another build's."""
    if not workspace.noted():
        # Each ledger has the fingerprint of its build, and is refused here.
        read_ledgers(workspace.directory, job, SilentReporter())
    workspace.claim(job.origin(), job.inputs())


def _warn_of_embeddings(job: Job, reporter: Reporter) -> None:
    if job.settings.keep_embeddings and not job.is_whole:
        size = len(job.plan.order) * job.network.channels * 2
        reporter.say(f"Keeping all pooled features takes another {size / 1e6:,.0f} MB.")


def _publish(job: Job, run: Run, workspace: Workspace, manifest: Manifest) -> None:
    """Write the split's files to a hidden place, then move them to where they are seen."""
    staged = workspace.new_stage()
    data = DataSet(manifest, staged, workspace.out)
    if job.is_whole:
        _write_whole(job, data, workspace, staged)
    else:
        _write_crops(job, run, data, workspace, staged)
    write_pages(data, staged)
    workspace.install(manifest)


def _write_whole(job: Job, data: DataSet, workspace: Workspace, staged: Path) -> None:
    split, extent = job.plan.split, job.extent
    assert isinstance(extent, WholeImage)
    WholeFinaliser(_shards_of(job, workspace), extent).write(staged, data)
    data.manifest.record(staged)
    data.manifest.splits[split][WHOLE_IMAGES] = {
        "inputs": job.inputs(),
        "counts": count_whole(data, split),
        "agreement": asdict(likeness(data, split)),
    }
    data.manifest.record(staged, [write_preview(data, split, staged, OF_WHOLE_IMAGES)])


def _shards_of(job: Job, workspace: Workspace) -> FinishedShards:
    return FinishedShards(workspace.directory, job.plan, job.votes, job.names)


def _write_crops(job: Job, run: Run, data: DataSet, workspace: Workspace, staged: Path) -> None:
    finaliser = Finaliser(
        shards=_shards_of(job, workspace),
        head_weight=job.network.head_weight.numpy(),
        grid_height=job.network.grid_height,
        grid_width=job.network.grid_width,
        keep_embeddings=job.settings.keep_embeddings,
    )
    data.manifest.splits[job.plan.split] = {
        "inputs": job.inputs(),
        "counts": asdict(finaliser.write(staged, workspace.out)),
        "agreement": run.agreement.as_json(),
    }
    data.manifest.record(staged)
    data.manifest.record(staged, [write_preview(data, job.plan.split, staged)])
