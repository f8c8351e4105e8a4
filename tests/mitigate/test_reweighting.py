"""Reweighting held against slow re-implementations, and from end to end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import salient_imagenet_1m as si
from builder.dataset.format import parquet_schema
from builder.dataset.memberships import membership_features
from builder.errors import BuildError
from builder.mitigate.journal import read_journal
from builder.mitigate.order import Order
from builder.mitigate.reweighting import GroupLoss, soft_weights
from builder.mitigate.training import train
from builder.reporter import SilentReporter
from builder.settings.training import Training
from builder.storage.parquet import fixed_lists, write_parquet
from tests import reference
from tests.conftest import CLASSES
from tests.killed import KilledError
from tests.mitigate.conftest import Options
from tests.mitigate.test_training import KillsAfter, in_all

COMPONENTS = 3


def drawn_memberships(images: int) -> Any:
    values = np.random.default_rng(0).random((images, COMPONENTS))
    values[0] = [1, 0, 0]
    return values / values.sum(1, keepdims=True)


@pytest.fixture
def subgroups(planted: Path, tmp_path: Path) -> Path:
    """Return what subgroups might have written of the tiny world."""
    build = si.Build.open(planted)
    table = build.scan("masks", "train", ["image_id", "label"])
    values = drawn_memberships(len(table))
    columns = {
        "image_id": table["image_id"],
        "label": table["label"],
        "subgroup": values.argmax(1),
        "memberships": fixed_lists(values.astype(np.float32)),
        "scores": fixed_lists(values.astype(np.float32)),
        "loss": np.zeros(len(table)),
        "right": np.zeros(len(table), np.bool_),
    }
    schema = parquet_schema(membership_features(build.names("train"), COMPONENTS))
    path = tmp_path / "subgroups/memberships/train-00000-of-00001.parquet"
    write_parquet(path, schema, [pa.table(columns).cast(schema)])
    return tmp_path / "subgroups"


def test_weights_are_those_of_the_slow_way() -> None:
    values, labels = drawn_memberships(12), np.array([0] * 5 + [2] * 7)
    values[5:, 1] = 0  # a subgroup of no image
    found = soft_weights(values, labels)
    np.testing.assert_allclose(found, reference.soft_weights(values.tolist(), labels.tolist()))
    # Drawn by them, each subgroup that has a member comes equally often.
    mass = {(c, g): values[labels == c, g].sum() for c in (0, 2) for g in range(COMPONENTS)}
    even = np.where(values[:3] > 0, values[:3] / [mass[0, g] for g in range(COMPONENTS)], 0)
    assert found[:3] / found[0] == pytest.approx(even.sum(1) / even[0].sum())


def test_group_dro_is_that_of_the_slow_way() -> None:
    drawn = np.random.default_rng(1)
    weights = torch.ones(3, COMPONENTS, dtype=torch.float64)
    weights[1] = 0  # a class of no image
    loss = GroupLoss(weights, step=0.7)
    q = {(c, g): 1 / 6 for c in (0, 2) for g in range(COMPONENTS)}
    for _ in range(3):
        labels = [0, 0, 2, 0, 2]
        values = drawn.random((5, COMPONENTS))
        values[2:, 1] = 0
        losses = torch.tensor(drawn.random(5), requires_grad=True)
        found = loss(losses, torch.tensor(labels), torch.tensor(values), lambda tensor: tensor)
        expected, q = reference.group_dro(q, losses.tolist(), labels, values.tolist(), 0.7)
        assert found.item() == pytest.approx(expected)
        for (label, group), value in q.items():
            assert loss.q[label, group].item() == pytest.approx(value)
        found.backward()
        assert losses.grad is not None
        assert (losses.grad @ losses.detach()).item() == pytest.approx(expected)


def test_processes_share_a_batch_of_group_dro() -> None:
    drawn = np.random.default_rng(2)
    labels = torch.tensor([0, 1, 0, 1])
    values, losses = torch.tensor(drawn.random((4, 2))), torch.tensor(drawn.random(4))
    start = torch.ones(2, 2, dtype=torch.float64)
    whole = GroupLoss(start, 0.5)
    expected = whole(losses, labels, values, lambda tensor: tensor)
    told: list[torch.Tensor] = []

    def listens(tensor: torch.Tensor) -> torch.Tensor:
        told.append(tensor)
        return tensor

    for part in (slice(0, 2), slice(2, 4)):
        GroupLoss(start, 0.5)(losses[part], labels[part], values[part], listens)
    parts = [GroupLoss(start, 0.5) for _ in range(2)]
    shares = [
        one(losses[part], labels[part], values[part], lambda _: told[0] + told[1])
        for one, part in zip(parts, (slice(0, 2), slice(2, 4)), strict=True)
    ]
    assert sum(shares).item() == pytest.approx(expected.item())
    assert all(torch.allclose(one.q, whole.q) for one in parts)


def test_images_are_drawn_as_they_weigh_and_seen_in_crops_of_their_own() -> None:
    chances = np.array([0.7, *[0.3 / 19] * 19])
    order = Order(20, 4, seed=1)
    places = [p for epoch in range(20) for b in order.batches(epoch, 0, chances) for p in b]
    assert len(set(places)) == len(places) == 400
    share = Counter(place.position for place in places)[0] / 400
    assert share == pytest.approx(0.7, abs=0.08)
    assert list(order.batches(3, 0, chances))[2:] == list(order.batches(3, 2, chances))


@pytest.mark.parametrize("reweight", ["soft", "dro"])
def test_a_killed_training_with_subgroups_goes_on_to_the_same_bytes(
    options: Options, subgroups: Path, reweight: str
) -> None:
    def settings(out: str) -> Training:
        own = {"subgroups": subgroups, "reweight": reweight, "dro_step": 0.5}
        return options(out, method="erm", **own)

    whole = train(settings("whole"), SilentReporter())
    with pytest.raises(KilledError):
        train(settings("killed"), KillsAfter(5))
    assert in_all(train(settings("killed"), SilentReporter())) == in_all(whole)
    lines = read_journal(whole.weights.parent)
    assert all(("robust_loss" in line) == (reweight == "dro") for line in lines)
    page = (whole.weights.parent / "report.html").read_text()
    assert "all subgroups of a class weigh the same" in page or "(group DRO)" in page
    plain = train(options("plain", method="erm"), SilentReporter())
    assert plain.weights.read_bytes() != whole.weights.read_bytes()
    with pytest.raises(BuildError, match="holds another model: its subgroups is"):
        train(options("whole", method="erm"), SilentReporter())


def test_what_cannot_be_reweighted_is_a_sentence(options: Options, subgroups: Path) -> None:
    with pytest.raises(BuildError, match="--subgroups and --reweight soft or dro go together"):
        options(subgroups=subgroups)
    with pytest.raises(BuildError, match="There is no reweight hard: use --reweight soft or dro"):
        options(subgroups=subgroups, reweight="hard")
    with pytest.raises(BuildError, match="--reweight dro looks at a step's images together"):
        options(subgroups=subgroups, reweight="dro", accumulate=2)
    with pytest.raises(BuildError, match=r"holds no memberships/train-\S+.parquet: give"):
        train(options(subgroups=subgroups / "memberships", reweight="soft"), SilentReporter())
    path = subgroups / "memberships/train-00000-of-00001.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(BuildError, match=r"is damaged .*: run subgroups again"):
        train(options(subgroups=subgroups, reweight="soft"), SilentReporter())


def test_the_loader_selects_by_subgroup(planted: Path, subgroups: Path) -> None:
    ids = si.load(planted, "masks", split="train")["image_id"]
    groups = drawn_memberships(len(CLASSES) * 12).argmax(1)
    for chosen in (0, [1, 2]):
        expected = {n for n, g in zip(ids, groups, strict=True) if g in np.ravel(chosen)}
        selection = si.Selection(ids=si.subgroup_ids(subgroups, chosen))
        rows = si.load(planted, "masks", split="train", streaming=True, select=selection)
        assert {row["image_id"] for row in rows} == expected
    with pytest.raises(FileNotFoundError, match=r"holds no memberships/\*.parquet: give the --out"):
        si.subgroup_ids(planted)
    with pytest.raises(si.SalientImageNetError, match="subgroup cannot be -1: give the number"):
        si.subgroup_ids(subgroups, -1)
