"""Inputs that do not fit together are refused before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from builder.dataset.votes import Vote, write_votes
from builder.errors import BuildError
from builder.images.labels import imagenet_labels
from builder.settings.build import Settings
from builder.shards.job import open_job
from tests.conftest import World
from tests.quiet import Quiet

WNIDS = ("n01440764", "n01443537", "n02102040")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a network of 1,000 classes."""
    path = tmp_path_factory.mktemp("network") / "network.pt"
    torch.save(timm.create_model("test_resnet", num_classes=1000).state_dict(), path)
    return path


@pytest.fixture
def settings(world: World, checkpoint: Path, tmp_path: Path) -> Settings:
    images = tmp_path / "images"
    source = next((world.root / "train").glob("*/*"))
    for wnid in (*WNIDS, "n00000001"):
        (images / wnid).mkdir(parents=True)
        (images / wnid / f"{wnid}_1.JPEG").symlink_to(source)
    return replace(world.settings(tmp_path / "out"), images=str(images), checkpoint=checkpoint)


def votes(path: Path, wnids: Sequence[str], labels: Sequence[int]) -> Path:
    write_votes(
        path,
        [
            Vote(str(worker), wnid, label, 5, 1, "main_object", 4.0, "why")
            for wnid, label in zip(wnids, labels, strict=True)
            for worker in range(5)
        ],
    )
    return path


def test_known_wnids_have_imagenet_s_labels(settings: Settings, tmp_path: Path) -> None:
    labels = [imagenet_labels()[wnid] for wnid in WNIDS]
    assert labels == [0, 1, 217]
    right = replace(settings, votes=votes(tmp_path / "right.csv", WNIDS, labels))
    assert open_job(right, Quiet()).votes.labels == dict(zip(WNIDS, labels, strict=True))
    wrong = votes(tmp_path / "wrong.csv", WNIDS, [label + 1 for label in labels])
    said = (
        r"wrong\.csv gives class n01440764 the index 1, ImageNet and a network of 1,000 classes 0: "
        r"correct Input\.class_index, which counts the sorted wnids from 0\."
    )
    with pytest.raises(BuildError, match=said):
        open_job(replace(settings, votes=wrong), Quiet())


def test_other_wnids_have_the_labels_that_their_votes_give(
    settings: Settings, tmp_path: Path
) -> None:
    mixed = votes(tmp_path / "votes.csv", ["n00000001", *WNIDS], [3, 2, 1, 0])
    assert open_job(replace(settings, votes=mixed), Quiet()).plan.labels.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("place", ["images", "images/out", "images/train/n01440764/out", "link"])
def test_an_out_among_the_images_is_refused(settings: Settings, tmp_path: Path, place: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "images")
    with pytest.raises(
        BuildError, match=r"lies in the folder of the images, .*: use an --out else"
    ):
        open_job(replace(settings, out=tmp_path / place), Quiet())
