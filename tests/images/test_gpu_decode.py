from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from builder.errors import BuildError
from builder.images.decode import decode, size_for_device
from builder.images.gpu_decode import DeviceDecoder
from builder.images.loader import Loader
from builder.images.sources import FileStat
from builder.shards.job import Job, open_job
from tests.conftest import World
from tests.quiet import Quiet

CPU = torch.device("cpu")


def jpeg(mode: str = "RGB", size: tuple[int, int] = (300, 280)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode).save(
        file, "JPEG", quality=95
    )
    return file.getvalue()


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    return open_job(world.settings(tmp_path / "out"), Quiet())


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_whole_jpegs_go_to_the_device(mode: str) -> None:
    assert size_for_device(jpeg(mode)) == (300, 280)


def test_what_only_pillow_can_tell_about_goes_to_pillow() -> None:
    png = io.BytesIO()
    Image.new("RGB", (9, 9)).save(png, "PNG")
    for data in (b"", b"text", jpeg()[:-9], jpeg("CMYK"), png.getvalue()):
        assert size_for_device(data) is None


@pytest.mark.parametrize(
    ("device", "mean", "worst"),
    [("cpu", 0.25, 1), pytest.param("cuda", 2, 24, marks=pytest.mark.gpu)],
)
def test_pixels_are_pillow_s_but_for_last_bits(
    job: Job, device: str, mean: float, worst: int
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    (batch, *_) = job.batches(0)
    expected = Loader(job.images, job.plan)(batch)
    encoded = Loader(job.images, job.plan, for_device=True)(batch)
    assert len(encoded.encoded) == len(batch.members)
    assert not len(encoded.pixels)
    found = DeviceDecoder(torch.device(device))(encoded)
    assert found.members.tolist() == expected.members.tolist()
    assert np.array_equal(found.sizes, expected.sizes)
    difference = (found.pixels.cpu().int() - expected.pixels.int()).abs()
    assert difference.float().mean() < mean
    assert difference.max() <= worst


def test_batches_may_be_mixed_and_what_nobody_can_decode_is_set_aside(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PNG between JPEGs, a JPEG that the device refuses, and one that Pillow refuses too."""
    png = io.BytesIO()
    Image.new("RGB", (60, 50), "red").save(png, "PNG")
    hollow = jpeg()[:400] + b"\xff\xd9"
    files = [jpeg(), png.getvalue(), hollow, jpeg("L")]

    class Files:
        paths = job.images.paths

        def stat(self, index: int) -> FileStat:
            return FileStat(len(files[index]), None)

        def read(self, index: int) -> bytes:
            return files[index]

    def refuse(data: torch.Tensor, *arguments: object, **options: object) -> torch.Tensor:
        raise RuntimeError("nvJPEG says no")

    monkeypatch.setattr("builder.images.gpu_decode.decode_jpeg", refuse)
    (batch, *_) = job.batches(0)
    batch = replace(batch, members=np.arange(4))
    loader = Loader(Files(), job.plan, for_device=True)  # type: ignore[arg-type]
    found = DeviceDecoder(CPU)(loader(batch))
    assert found.members.tolist() == [0, 1, 3]
    assert [content.size for content in found.contents] == [len(files[n]) for n in (0, 1, 3)]
    assert [image.image_id for image in found.set_aside] == [job.plan.ids[2].as_py()]
    for pixels, data in zip(found.pixels, (files[0], files[1], files[3]), strict=True):
        assert np.array_equal(pixels.numpy(), decode(data).pixels)


def test_it_needs_a_gpu(world: World, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="--gpu-decode needs CUDA, and this runs on cpu"):
        open_job(world.settings(tmp_path / "out", gpu_decode=True), Quiet())
