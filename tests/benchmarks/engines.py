"""What engines cost and bring, how long the network waits, and whether memory stays flat.

    SALIENT_REAL_DATA=... python -m tests.benchmarks.engines

Prints ratios, each from one run on one machine with two cores; absolute speeds are only for
orientation. Speeds are those between the first shards and the last: what it takes to start workers
is paid once, however many images there are.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import ray
import torch

from builder.shards.engine import Engine, InProcess
from builder.shards.job import Job, open_job
from builder.shards.processes import Processes
from builder.shards.ray_actors import Actors
from builder.shards.worker import ShardWorker
from builder.stages import Stages
from tests.benchmarks.build import ratios, save_robust_checkpoint, settings_for, show
from tests.benchmarks.memory import peak_memory
from tests.quiet import Quiet

BATCH = 8
SHARD = 16
FIRST_SHARDS = 8
"""Not timed: workers do not begin at the same moment."""

VARIANTS = ("local", "local, 2 processes", "Ray, 1 worker", "Ray, 2 workers")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--many", type=int, default=100_000, help="tiny images, for memory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        save_robust_checkpoint(base / "robust.pt")
        compare_speed(base, arguments.images, arguments.rounds)
        compare_memory(base, arguments.many)


def compare_speed(base: Path, images: int, rounds: int) -> None:
    settings = replace(settings_for(base, images), batch_size=BATCH, shard_size=SHARD)
    job = open_job(settings, Quiet())
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    stages = {name: Stages() for name in VARIANTS}
    for number in range(rounds):
        for name in VARIANTS:
            with engine_of(name) as engine:
                directory = base / f"{name}-{number}"
                rates[name].append(rate(job, engine, directory, stages[name]))
    for name in VARIANTS:
        show(name, rates[name], "images/s")
    over = {name: ratios(rates[name], rates["local"]) for name in VARIANTS}
    show("Ray, 1 worker / local with one thread (goal 0.95)", over["Ray, 1 worker"])
    show("Ray, 2 workers / 1", ratios(rates["Ray, 2 workers"], rates["Ray, 1 worker"]))
    show("Ray, 2 workers / local with one thread (goal 1.8)", over["Ray, 2 workers"])
    show("local, 2 processes / one thread (goal 1.8)", over["local, 2 processes"])
    for name in VARIANTS:
        show(f"share of time in which the network waits, {name}", [stages[name].waited])


@contextmanager
def engine_of(name: str) -> Iterator[Engine]:
    if name == "local":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield InProcess(torch.device("cpu"))
        torch.set_num_threads(threads)
    elif name == "local, 2 processes":
        yield Processes(2 * [torch.device("cpu")], print)
    else:
        ray.init(
            num_cpus=1 if name == "Ray, 1 worker" else 2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        yield Actors("cpu", print)
        ray.shutdown()


def rate(job: Job, engine: Engine, directory: Path, stages: Stages) -> float:
    """Return images per second after the first shards."""
    start, images = 0.0, 0
    work = ShardWorker(job, directory)
    results = engine.run(work, range(job.plan.shards), lambda _images: None)
    for number, result in enumerate(results, start=1):
        stages.add(result.stages)
        if number == FIRST_SHARDS:
            start = time.perf_counter()
        elif number > FIRST_SHARDS:
            images += result.images
    return images / (time.perf_counter() - start)


def compare_memory(base: Path, many: int) -> None:
    # It sets the threads of this process, whose speed is measured by now.
    from builder.demo.world import write_world  # noqa: PLC0415
    from tests.conftest import NETWORK, PLANTED, write_checkpoint, write_votes  # noqa: PLC0415

    write_world(base, PLANTED, lambda _count: None)
    write_votes(base / "votes.csv", {})
    write_checkpoint(base / "tiny.pt")
    originals = sorted((base / "images" / "train").glob("*/*"))
    peaks = []
    for count in (many // 100, many):
        root = base / f"tiny-{count}"
        for number in range(count):
            original = originals[number % len(originals)]
            folder = root / original.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{original.parent.name}_{number}.JPEG").symlink_to(original)
        options = {
            "--images": root,
            "--votes": base / "votes.csv",
            "--checkpoint": base / "tiny.pt",
            "--network": NETWORK,
            "--out": base / f"out-{count}",
            "--device": "cpu",
            "--shard-size": 256,
        }
        listed = [str(part) for option in options.items() for part in option]
        peaks.append(peak_memory("builder", "build", "--allow-mismatch", *listed)[1])
        print(f"{f'peak memory at {count:,} tiny images':60} {peaks[-1]:8.0f} MB", flush=True)
    print(f"{'peak memory, many / a hundredth of it (goal 1)':60} {peaks[1] / peaks[0]:8.2f}")


if __name__ == "__main__":
    main()
