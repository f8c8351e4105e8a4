"""What an evaluation would come to: the dry run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import torch

from builder.evaluate.claim import check_claim
from builder.evaluate.evaluator import Evaluator
from builder.evaluate.models import Entry, load_classifier, model_list
from builder.evaluate.salient_imagenet import SalientImageNet
from builder.evaluate.suite import SuiteMaker
from builder.network.devices import find_devices
from builder.settings.evaluation import Evaluation
from builder.storage.files import disk_errors_as_sentences, require_directory
from builder.storage.parquet import parquet_bytes


@dataclass(frozen=True)
class Estimate:
    """What an evaluation would come to, from running a sample of its images.

    Attributes
    ----------
    models, images, shards : int
    passes : int
        How often each model sees each image, at most: clean, and under each condition and draw.
    sampled : int
        Images that were run to measure speed and size.
    seconds, bytes : float
        Of the whole run here; bytes are those of the predictions.
    """

    models: int
    images: int
    shards: int
    passes: int
    sampled: int
    seconds: float
    bytes: float


def estimate(
    settings: Evaluation,
    entries: Sequence[Entry] | None = None,
    make_suite: SuiteMaker = SalientImageNet,
) -> Estimate:
    """Run a batch per core, or one on a GPU, with noise drawn once, and write nothing.

    Parameters
    ----------
    settings : Evaluation
    entries : sequence of Entry, optional
        The models; by default those of the settings.
    make_suite : callable
        What they are asked.

    Raises
    ------
    BuildError
        Wherever the evaluation itself would raise it before its first image.
    """
    require_directory(settings.out)
    devices = find_devices(settings.device)
    given = model_list(settings) if entries is None else entries
    classifiers = [load_classifier(*entry) for entry in given]
    evaluator = Evaluator(classifiers, replace(settings, draws=1), make_suite=make_suite)
    suite = make_suite(settings, evaluator.build, evaluator.split)
    with disk_errors_as_sentences(settings.out):
        check_claim(settings.out, {**evaluator.identity(), **suite.identity})
    start = time.perf_counter()
    examined = list(evaluator.examine(range(evaluator.shards), limit=torch.get_num_threads()))
    seconds = time.perf_counter() - start
    table = pa.concat_tables(each.table for each in examined)
    sampled = sum(each.images for each in examined)
    scale = evaluator.images / sampled * suite.passes / evaluator.suite.passes
    return Estimate(
        models=len(classifiers),
        images=evaluator.images,
        shards=evaluator.shards,
        passes=suite.passes,
        sampled=sampled,
        # A GPU more is as much again; processes on one CPU share its cores.
        seconds=seconds * scale / (len(devices) if devices[0].type == "cuda" else 1),
        bytes=parquet_bytes(table) * scale,
    )
