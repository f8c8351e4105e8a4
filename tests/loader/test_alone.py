"""The loader stands alone: it needs neither the builder nor what only the builder needs."""

from __future__ import annotations

from builder.cli import REQUIRED
from tests.loader.conftest import World
from tests.without import run_without

BELOW_DATASETS = {"httpx2", "huggingface_hub", "yaml"}
"""What the builder needs, and datasets as well."""

LOAD = """
import salient_imagenet_1m as si

build, images = sys.argv[1:]
row = next(iter(si.load(build, split="train", streaming=True)))
assert row["core_mask"] or row["spurious_mask"]
row = next(iter(si.load(build, images=images, split="train", streaming=True)))
mask = row["core_mask"] or row["spurious_mask"]
assert mask.size == row["image"].size
assert mask.getextrema()[1] > 0
"""


def test_a_data_set_loads_where_only_the_loader_is_installed(world: World) -> None:
    hidden = {"builder", *REQUIRED} - BELOW_DATASETS
    ran = run_without(hidden, LOAD, world.build, world.images)
    assert ran.returncode == 0, ran.stderr


def test_the_loader_imports_nothing_of_the_builder() -> None:
    code = "import salient_imagenet_1m; print(*{name.partition('.')[0] for name in sys.modules})"
    ran = run_without((), code)
    assert {"salient_imagenet_1m", "datasets"} <= set(ran.stdout.split())
    assert not {"builder", "timm", "torch", "typer"} & set(ran.stdout.split())
