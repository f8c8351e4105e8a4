"""The main job: open the inputs, run the shards that are missing, finalise."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.classes import class_names
from builder.dataset import DataSet
from builder.engine import InProcess
from builder.files import disk_errors_as_sentences, exclusive
from builder.finalise import Finaliser
from builder.job import Job, Reporter, open_job
from builder.manifest import Manifest
from builder.pages import write_pages
from builder.runner import Run, ShardRunner
from builder.settings import Settings
from builder.stages import Stages
from builder.stop import Stop
from builder.workspace import Workspace


@dataclass(frozen=True)
class Outcome:
    """What came of a build.

    Attributes
    ----------
    out : Path
    split : dict
        The split's part of the manifest.
    images : int
        How many images this run took up; those of earlier runs are not among them.
    seconds : float
        Of the whole run.
    stages : Stages
        Seconds per stage of this run, added up over threads and processes.
    """

    out: Path
    split: dict[str, Any]
    images: int
    seconds: float
    stages: Stages


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
    """
    start = time.perf_counter()
    job = open_job(settings, reporter)
    workspace = Workspace(settings.out, settings.split)
    workspace.check(job.origin(), job.inputs())
    with disk_errors_as_sentences(settings.out):
        settings.out.mkdir(parents=True, exist_ok=True)
        with exclusive(settings.out):
            manifest = workspace.check(job.origin(), job.inputs())
            images, stages = 0, Stages()
            if settings.split in manifest.splits:
                reporter.say(f"Nothing to do: {settings.out} already holds this very build.")
            else:
                workspace.claim(job.origin(), job.inputs())
                if settings.keep_embeddings:
                    size = len(job.plan.order) * job.network.channels * 2
                    reporter.say(f"Keeping all pooled features takes another {size / 1e6:,.0f} MB.")
                run = ShardRunner(job, workspace.directory, InProcess(), reporter, stop=stop).run()
                images, stages = run.images, run.stages
                with stages.time("write"), reporter.track("finalising"):
                    _publish(job, run, workspace, manifest)
            workspace.clean()
    split = manifest.splits[settings.split]
    return Outcome(settings.out, split, images, time.perf_counter() - start, stages)


def _publish(job: Job, run: Run, workspace: Workspace, manifest: Manifest) -> None:
    """Write the split's files to a hidden place, then move them to where they are seen."""
    names = class_names(job.votes.labels, job.network.classes)
    finaliser = Finaliser(
        directory=workspace.directory,
        plan=job.plan,
        votes=job.votes,
        names=names,
        head_weight=job.network.head_weight.numpy(),
        grid_height=job.network.grid_height,
        grid_width=job.network.grid_width,
        keep_embeddings=job.settings.keep_embeddings,
    )
    staged = workspace.new_stage()
    manifest.splits[job.plan.split] = {
        "inputs": job.inputs(),
        "counts": finaliser.write(staged, workspace.out),
        "agreement": run.agreement.as_json(),
    }
    manifest.record(staged)
    write_pages(DataSet(manifest, staged, workspace.out), job.plan.split, staged)
    workspace.install(manifest)
