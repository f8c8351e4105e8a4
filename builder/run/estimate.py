"""What a build would come to: the dry run."""

from __future__ import annotations

import time
from dataclasses import dataclass

from builder.reporter import Reporter
from builder.run.build import jobs_of, workspace_of
from builder.settings.build import Settings
from builder.shards.job import Job, open_job
from builder.shards.shard import shard_table
from builder.storage.files import disk_errors_as_sentences
from builder.storage.parquet import parquet_bytes

_SAMPLE_BATCHES = 8


@dataclass(frozen=True)
class Estimate:
    """What a build would come to, from running a sample of its images.

    Attributes
    ----------
    images, rows, set_aside_by_plan : int
        Known from names alone; what broken files add shows only in the build.
    shards, files : int
    sampled : int
        Images that were run to measure speed and size.
    seconds, bytes : float
    """

    images: int
    rows: int
    set_aside_by_plan: int
    shards: int
    files: int
    sampled: int
    seconds: float
    bytes: float


def estimate(settings: Settings, reporter: Reporter) -> Estimate:
    """Run a sample of a build's images and write nothing.

    Raises
    ------
    BuildError
        Wherever the build itself would raise it before its first image.
    """
    job = open_job(settings, reporter)
    jobs = jobs_of(job)
    with disk_errors_as_sentences(settings.out):
        for each in jobs:
            workspace_of(each).check(each.origin(), each.inputs())
    measured = [_measure(each) for each in jobs]
    sampled = measured[0][0]
    seconds, size = (sum(each[part] for each in measured) for part in (1, 2))
    plan = job.plan
    scale = len(plan.order) / sampled
    return Estimate(
        images=plan.images,
        rows=len(plan.order),
        set_aside_by_plan=len(plan.set_aside),
        shards=plan.shards,
        files=len(plan.files),
        sampled=sampled,
        seconds=seconds * scale,
        bytes=size * scale,
    )


def _measure(job: Job) -> tuple[int, float, int]:
    batches = [batch for shard in range(job.plan.shards) for batch in job.batches(shard)]
    batches = batches[:_SAMPLE_BATCHES]
    start = time.perf_counter()
    analyses = list(job.analyse(batches))
    seconds = time.perf_counter() - start
    embeddings = job.settings.keep_embeddings and not job.is_whole
    table = shard_table(job.plan, analyses, embeddings=embeddings, whole=job.is_whole)
    return sum(len(batch.members) for batch in batches), seconds, parquet_bytes(table)
