"""How fast the build is, beside the bare network and beside the way of the public code.

    SALIENT_REAL_DATA=... python -m tests.benchmarks.build

Prints ratios, each from one run on one machine; absolute speeds are only for orientation.
"""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from datasets import load_dataset
from PIL import Image
from torchvision import transforms

from builder.dataset.upsampling import upsample
from builder.run.build import build
from builder.run.runner import ShardRunner
from builder.settings.build import Settings
from builder.shards.engine import InProcess
from builder.shards.job import Job, open_job
from builder.stages import Stages
from salient_imagenet_1m import unpack_grids
from tests.benchmarks import memory
from tests.quiet import Quiet

REAL = Path(os.environ["SALIENT_REAL_DATA"])
VOTES = REAL / "discover_spurious_features.csv"
ROUNDS = 3
BATCH = 16
SHARD = 256
IMAGES = 512
PUBLIC_IMAGES = 32


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        save_robust_checkpoint(base / "robust.pt")
        compare_speed(base)
        compare_memory(base)
        compare_bytes(base)


def save_robust_checkpoint(path: Path) -> None:
    torch.manual_seed(0)
    weights = torchvision.models.resnet50().state_dict()
    torch.save({"model": {f"module.model.{name}": t for name, t in weights.items()}}, path)


def repeat_images(base: Path, count: int) -> Path:
    """Link the full-size images under as many ids as are asked for."""
    root = base / f"images-{count}"
    originals = sorted((REAL / "fullsize" / "train").glob("*/*"))
    for number in range(count):
        original = originals[number % len(originals)]
        folder = root / original.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{original.parent.name}_{number}.JPEG").symlink_to(original)
    return root


def settings_for(base: Path, count: int) -> Settings:
    return Settings(
        images=str(repeat_images(base, count)),
        votes=VOTES,
        checkpoint=base / "robust.pt",
        out=base / f"out-{count}",
        device="cpu",
        batch_size=BATCH,
        shard_size=SHARD,
        allow_mismatch=True,
    )


def compare_speed(base: Path) -> None:
    job = open_job(settings_for(base, IMAGES), Quiet())
    public = public_way(job)
    bare_2_threads: list[float] = []
    bare_per_core: list[float] = []
    built: list[float] = []
    public_rates: list[float] = []
    stages: list[Stages] = []
    for number in range(ROUNDS):
        bare_2_threads.append(rate(IMAGES, lambda: run_bare(job)))
        bare_per_core.append(rate(IMAGES, lambda: run_bare_per_core(job)))
        directory = base / f"shards-{number}"
        built.append(rate(IMAGES, partial(run_shards, job, directory, stages)))
        public_rates.append(rate(PUBLIC_IMAGES, public))
    bare = [max(pair) for pair in zip(bare_2_threads, bare_per_core, strict=True)]
    show("bare forward, all cores on one batch", bare_2_threads, "images/s")
    show("bare forward, a batch per core", bare_per_core, "images/s")
    show("build", built, "images/s")
    show("public code's way", public_rates, "images/s")
    show("build / bare forward at its best (goal 0.95)", ratios(built, bare))
    show("build / public code's way (goal 6)", ratios(built, public_rates))
    show_costs(job, stages, directory)


def run_shards(job: Job, directory: Path, stages: list[Stages]) -> None:
    directory.mkdir()
    stages.append(ShardRunner(job, directory, InProcess(torch.device("cpu")), Quiet()).run().stages)


def show_costs(job: Job, stages: list[Stages], directory: Path) -> None:
    """Print what an image costs: the numbers from which a full build is planned."""
    for name in ("read", "decode", "network", "masks", "write"):
        costs = [1000 * each.seconds[name] / IMAGES for each in stages]
        show(f"an image's {name}, on one core", costs, "ms")
    read = sum(len(job.images.read(index)) for index in range(IMAGES)) / IMAGES
    shards = sum(path.stat().st_size for path in directory.glob("shards/*")) / IMAGES
    print(f"{'an image, bytes read':60} {read:8,.0f}")
    print(f"{'an image, bytes of its shard (few images: more each)':60} {shards:8,.0f}")


def pixel_batches() -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (BATCH, 224, 224, 3), dtype=torch.uint8, generator=generator)
    for start in range(0, IMAGES, BATCH):
        yield pixels[: IMAGES - start]


def run_bare(job: Job) -> None:
    for pixels in pixel_batches():
        job.network(pixels)


def run_bare_per_core(job: Job) -> None:
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(job.network, pixel_batches()))


def public_way(job: Job) -> Callable[[], None]:
    """Return the papers' way: a plain network, an extra pass per feature, a JPEG per mask."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50().eval()
    captured: list[torch.Tensor] = []
    model.layer4.register_forward_hook(lambda module, inputs, output: captured.append(output))
    preprocess = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(job.network.mean, job.network.std),
        ]
    )
    paths = sorted((REAL / "fullsize" / "train").glob("*/*"))[:PUBLIC_IMAGES]

    def run() -> None:
        with torch.no_grad():
            for start in range(0, len(paths), BATCH):
                images = torch.stack(
                    [
                        preprocess(Image.open(path).convert("RGB"))
                        for path in paths[start : start + BATCH]
                    ]
                )
                model(images)
                for feature in range(5):
                    model(images)
                    for nam in captured[-1][:, feature].numpy():
                        cv2.imencode(
                            ".jpg", np.uint8(255 * cv2.resize(nam / nam.max(), (224, 224)))
                        )
                captured.clear()

    return run


def compare_memory(base: Path) -> None:
    peaks = {count: peak_memory(settings_for(base, count)) for count in (100, 1000)}
    for count, peak in peaks.items():
        print(f"{f'peak memory at {count} images':60} {peak:8.0f} MB")
    print(f"{'peak memory, 1,000 / 100 images (goal 1)':60} {peaks[1000] / peaks[100]:8.2f}")


def peak_memory(settings: Settings) -> float:
    """Return the peak resident memory of a whole build in a process of its own, in MB."""
    _, peak = memory.peak_memory(
        *("builder", "build", "--allow-mismatch", "--device", "cpu"),
        *("--images", settings.images, "--votes", str(settings.votes)),
        *("--checkpoint", str(settings.checkpoint), "--out", f"{settings.out}-memory"),
    )
    return peak


def compare_bytes(base: Path) -> None:
    settings = Settings(
        images=str(REAL / "imagenette"),
        votes=REAL / "efficientnet_lite0_votes.csv",
        network="efficientnet-lite0",
        out=base / "imagenette",
        device="cpu",
    )
    counts = build(settings, Quiet()).split["counts"]
    ours = counts["grid_bytes"] / counts["masks"]
    sizes = []
    for row in load_dataset(str(settings.out), "masks", split="train", streaming=True):
        for grid in unpack_grids(row["grids"], row["grid_height"], row["grid_width"]):
            file = io.BytesIO()
            Image.fromarray(np.rint(upsample(grid, 224, 224)).astype(np.uint8)).save(file, "JPEG")
            sizes.append(len(file.getvalue()))
    jpeg = statistics.mean(sizes)
    print(f"{'bytes per mask in Parquet':60} {ours:8.1f}")
    print(f"{'bytes per mask as 224 x 224 JPEG of quality 75':60} {jpeg:8.1f}")
    print(f"{'bytes per mask, Parquet / JPEG (goal 1/70)':60} {f'1/{jpeg / ours:.0f}':>8}")


def rate(images: int, run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return images / (time.perf_counter() - start)


def ratios(over: list[float], under: list[float]) -> list[float]:
    return [a / b for a, b in zip(over, under, strict=True)]


def show(name: str, values: list[float], unit: str = "") -> None:
    middle = statistics.median(values)
    print(f"{name:60} {middle:8.2f} {unit} ({min(values):.2f} to {max(values):.2f})", flush=True)


if __name__ == "__main__":
    main()
