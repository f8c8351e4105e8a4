"""Every row of an epoch is seen exactly once, however the work is split."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.distributed import split_dataset_by_node

import salient_imagenet_1m as si
from tests.loader.conftest import World

torch_data = pytest.importorskip("torch.utils.data")


def stream(world: World, **arguments: Any) -> Any:
    return si.load(
        world.build,
        images=world.images,
        split="train",
        streaming=True,
        format="torch",
        **{"transform": si.RandomResizedCrop(16), **arguments},
    )


def seen(dataset: Any, workers: int) -> list[str]:
    loader = torch_data.DataLoader(dataset, batch_size=4, num_workers=workers)
    return [name for batch in loader for name in batch["image_id"]]


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_workers(world: World, workers: int) -> None:
    assert Counter(seen(stream(world), workers)) == Counter(world.ids())


def test_spawned_workers(world: World, official_tar: Path) -> None:
    """What workers are sent when they are not forked is small and whole."""
    for images in (world.images, official_tar):
        dataset = si.load(
            world.build,
            images=images,
            split="train",
            streaming=True,
            transform=si.RandomResizedCrop(16),
            format="torch",
        )
        loader = torch_data.DataLoader(
            dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn"
        )
        assert [example["image_id"] for example in loader] == world.ids()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads(world: World, threads: int) -> None:
    dataset = stream(world, threads=threads)
    assert seen(dataset, 0) == world.ids()
    plain = si.load(
        world.build, images=world.images, split="train", streaming=True, threads=threads
    )
    folder = datasets.load_dataset(
        "imagefolder", data_dir=str(world.images / "train"), split="train", streaming=True
    )
    joined = si.load(
        world.build, images=folder, split="train", transform=si.CenterCrop(), threads=threads
    )
    assert Counter(example["image_id"] for example in joined) == Counter(world.ids())
    examples = list(plain)
    assert [example["image_id"] for example in examples] == world.ids()
    assert examples[0]["image"].size == (examples[0]["width"], examples[0]["height"])


@pytest.mark.parametrize("threads", [None, 0, 2])
@pytest.mark.parametrize("error", [ValueError, StopIteration])
def test_errors_of_a_transform(world: World, error: type[Exception], threads: int | None) -> None:
    """No error ends a batch early, and so drops its other images, unseen."""

    def fail(example: dict[str, Any]) -> dict[str, Any]:
        if example["image_id"] == world.ids()[5]:
            raise error
        return example

    with pytest.raises((error, RuntimeError)):  # a generator turns StopIteration into the latter
        list(stream(world, transform=fail, threads=threads))


@pytest.mark.parametrize("spare", [True, False])
def test_tensors_are_made_beside_the_decoding_where_a_core_is_left(
    world: World, spare: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers = set()
    make = si.ToTensors.batch

    def noted(self: si.ToTensors, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        makers.add(threading.current_thread() is threading.main_thread())
        return make(self, rows)

    monkeypatch.setattr(si, "_has_spare_core", lambda: spare)
    monkeypatch.setattr(si.ToTensors, "batch", noted)
    made = list(stream(world, transform=si.CenterCrop()))
    assert makers == {not spare}
    plain = list(stream(world, transform=si.CenterCrop(), threads=0))
    assert makers == {True, not spare}
    for one, other in zip(made, plain, strict=True):
        assert one["image_id"] == other["image_id"]
        assert one["core_mask"].equal(other["core_mask"])


def test_memory(world: World) -> None:
    """Images at full size do not wait for the others of their batch."""
    images: list[weakref.ref[Any]] = []

    def crop(example: dict[str, Any]) -> dict[str, Any]:
        assert sum(image() is not None for image in images) <= 1
        images.append(weakref.ref(example["image"]))
        return si.CenterCrop(16, 20)(example)

    assert len(list(stream(world, transform=crop))) == len(images) == len(world.ids())


def test_no_rows(world: World) -> None:
    dataset = si.load(world.build, images=world.images, split="train", format="torch")
    assert dataset[:0]["image"] == []


@pytest.mark.parametrize("workers", [0, 2])
def test_joined_with_workers(world: World, workers: int) -> None:
    folder = datasets.load_dataset(
        "imagefolder", data_dir=str(world.images / "train"), split="train"
    ).to_iterable_dataset(num_shards=4)
    joined = si.load(
        world.build, images=folder, split="train", transform=si.CenterCrop(), format="torch"
    )
    assert Counter(seen(joined, workers)) == Counter(world.ids())


def test_nodes_and_workers(world: World) -> None:
    names = []
    for rank in range(2):
        part = split_dataset_by_node(stream(world), rank=rank, world_size=2)
        names.append(seen(part, workers=2))
    assert Counter(names[0] + names[1]) == Counter(world.ids())
    assert abs(len(names[0]) - len(names[1])) < 20


@pytest.mark.parametrize("stop", [1, 11, 13, 25, 39])
def test_resume(world: World, stop: int) -> None:
    first = stream(world)
    names = []
    for example in first:
        names.append(example["image_id"])
        if len(names) == stop:
            break
    state = first.state_dict()
    again = stream(world)
    again.load_state_dict(state)
    names += [example["image_id"] for example in again]
    assert names == world.ids()


def test_resume_of_a_selection(world: World) -> None:
    select = si.Selection(labels=(0, 1))
    expected = [example["image_id"] for example in stream(world, select=select)]
    first = stream(world, select=select)
    iterator = iter(first)
    names = [next(iterator)["image_id"] for _ in range(9)]
    again = stream(world, select=select)
    again.load_state_dict(first.state_dict())
    assert names + [example["image_id"] for example in again] == expected


@pytest.mark.parametrize("stop", [1, 13, 29])
def test_resume_of_shuffled_files(world: World, stop: int) -> None:
    """As the README says: what waits in a larger buffer would be left out."""

    def shuffled() -> Any:
        return stream(world).shuffle(seed=0, buffer_size=1, max_buffer_input_shards=1)

    first = shuffled()
    iterator = iter(first)
    names = [next(iterator)["image_id"] for _ in range(stop)]
    again = shuffled()
    again.load_state_dict(first.state_dict())
    names += [example["image_id"] for example in again]
    assert sorted(names) == sorted(world.ids())
    assert names != world.ids()


def test_streams_are_combined_before_they_become_tensors(world: World) -> None:
    parts = [si.load(world.build, images=world.images, split="train", streaming=True)] * 2
    both = datasets.interleave_datasets(
        parts, stopping_strategy="all_exhausted_without_replacement"
    )
    both = both.map(si.RandomResizedCrop(16)).map(si.ToTensors())
    assert Counter(seen(both, 2)) == Counter(world.ids() * 2)
    batch = next(iter(torch_data.DataLoader(both, batch_size=4)))
    assert batch["image"].shape == (4, 3, 16, 16)
    assert batch["core_mask"].shape == (4, 1, 16, 16)


def test_shuffle(world: World) -> None:
    shuffled = stream(world).shuffle(seed=3, buffer_size=10)
    names = [example["image_id"] for example in shuffled]
    assert names != world.ids()
    assert Counter(names) == Counter(world.ids())
    shuffled.set_epoch(1)
    assert [example["image_id"] for example in shuffled] != names


def test_map_style_with_workers(world: World) -> None:
    dataset = si.load(
        world.build,
        images=world.images,
        split="train",
        format="torch",
        transform=si.RandomResizedCrop(16),
    )
    assert seen(dataset, 2) == world.ids()


def test_prepared_by_two_processes(world: World) -> None:
    dataset = si.load(
        world.build, images=world.images, split="train", num_proc=2, on_missing="skip"
    )
    assert Counter(dataset["image_id"][:]) == Counter(world.ids())
