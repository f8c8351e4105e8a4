from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from builder.dataset.votes import Pair, Votes
from builder.images.plan import Plan, make_plan
from builder.images.sources import NO_LABEL
from salient_imagenet_1m import image_id

VOTES = Votes(tuple(Pair(label, f"n{label}", 0, 1, 5, 0, 0, 5.0) for label in range(3)), "")


class Listed:
    """Images that are only names."""

    def __init__(self, paths: list[str], labels: list[int] | None = None) -> None:
        self.paths = pa.array(paths, pa.string())
        wnids = [None if labels else path.split("/")[0] for path in paths]
        self.wnids = pa.array(wnids, pa.string())
        self.labels = np.array(labels or [NO_LABEL] * len(paths), np.int64)

    def read(self, index: int) -> bytes:
        raise AssertionError("a plan reads no image")


def paths(count: int) -> list[str]:
    return [f"n{number % 3}/image_{number}.JPEG" for number in range(count)]


def plan_of(images: Listed, seed: int = 0, limit: int | None = None, size: int | None = 8) -> Plan:
    return make_plan(images, VOTES.labels, "train", seed, limit, size)


def ids_in_order(plan: Plan) -> list[str]:
    return list(plan.ids.take(pa.array(plan.order)).to_pylist())


def test_every_image_is_in_exactly_one_shard_and_every_shard_in_one_file() -> None:
    plan = plan_of(Listed(paths(1000)))
    members = [index for shard in range(plan.shards) for index in plan.members(shard)]
    assert members == plan.order.tolist()
    assert sorted(members) == list(range(1000))
    assert [shard for file in plan.files for shard in file] == list(range(plan.shards))


def test_the_order_is_the_seed_s_and_not_the_listing_s() -> None:
    names = paths(50)
    order = ids_in_order(plan_of(Listed(names)))
    assert ids_in_order(plan_of(Listed(names[::-1]))) == order
    assert ids_in_order(plan_of(Listed(names), seed=1)) != order
    assert plan_of(Listed(names)).sha256 == plan_of(Listed(names[::-1])).sha256


def test_one_image_less_leaves_the_order_of_the_others() -> None:
    order = ids_in_order(plan_of(Listed(paths(50))))
    assert ids_in_order(plan_of(Listed(paths(49)))) == [
        name for name in order if name != "n1/image_49"
    ]


def test_a_limit_takes_the_first_of_the_order() -> None:
    order = ids_in_order(plan_of(Listed(paths(50))))
    assert ids_in_order(plan_of(Listed(paths(50)), limit=7)) == order[:7]


def test_two_images_of_one_id_and_classes_without_votes_are_set_aside() -> None:
    plan = plan_of(Listed(["n1/a.JPEG", "n1/a.png", "n1/b.JPEG", "n7/c.JPEG"]))
    assert ids_in_order(plan) == ["n1/b"]
    assert sorted((image.path, image.reason) for image in plan.set_aside) == [
        ("n1/a.JPEG", "duplicate_id"),
        ("n1/a.png", "duplicate_id"),
        ("n7/c.JPEG", "no_votes"),
    ]
    assert plan.images == 4


def test_classes_may_share_file_names() -> None:
    plan = plan_of(Listed(["n0/photo 1.jpg", "n1/photo 1.jpg", "n2/photo 1.png"]))
    assert sorted(ids_in_order(plan)) == ["n0/photo 1", "n1/photo 1", "n2/photo 1"]
    assert not plan.set_aside


def test_a_known_wnid_without_votes_never_takes_the_source_s_own_number() -> None:
    images = Listed(["n03888257/a.JPEG"])
    images.labels = np.array([0])
    plan = plan_of(images)
    assert not len(plan.order)
    assert plan.set_aside[0].detail == "no votes on the class n03888257"


def test_a_limit_lets_neither_of_two_images_with_one_id_through() -> None:
    images = Listed(["n0/a.JPEG", "n0/a.jpg"])
    assert plan_of(images, limit=1).set_aside[0].reason == "duplicate_id"


def test_labels_of_the_source_serve_where_no_wnid_is_known() -> None:
    plan = plan_of(Listed(["a.JPEG", "b.JPEG", "c.JPEG"], labels=[2, 0, 9]))
    assert dict(zip(ids_in_order(plan), plan.labels[plan.order], strict=True)) == {"a": 2, "b": 0}


def test_a_number_of_the_source_never_stands_for_a_folder_of_another_class() -> None:
    images = Listed(["n0/a.JPEG", "n1/b.JPEG", "dogs/c.JPEG"])
    images.labels = np.array([0, 2, 1])
    plan = plan_of(images)
    assert sorted(ids_in_order(plan)) == ["n0/a", "n1/b"]
    assert plan.set_aside[0].detail == "no votes on the class dogs"


@pytest.mark.parametrize(
    ("images", "size", "shards", "files"),
    [(1, 16, 1, 1), (600, 16, 38, 2), (70_000, 1024, 69, 64), (30_000, 469, 64, 64)],
)
def test_default_shards_grow_with_the_data(images: int, size: int, shards: int, files: int) -> None:
    plan = plan_of(Listed(paths(images)), size=None)
    assert (plan.shard_size, plan.shards, len(plan.files)) == (size, shards, files)


def slow_order(images: Listed, seed: int) -> list[str]:
    def key(path: str) -> tuple[bytes, str, str]:
        name = image_id(path)
        digest = hashlib.blake2b(name.encode(), digest_size=8, key=seed.to_bytes(8, "little"))
        return digest.digest(), name, path

    return sorted(images.paths.to_pylist(), key=key)


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
@pytest.mark.parametrize("chunk", [2**16, 100])
def test_the_order_is_that_of_hash_id_and_path(
    monkeypatch: pytest.MonkeyPatch, seed: int, chunk: int
) -> None:
    monkeypatch.setattr("builder.images.plan._CHUNK", chunk)
    names = paths(1000)
    images = Listed([*names, *(name.replace(".JPEG", ".png") for name in names[300:600:7])])
    expected = slow_order(images, seed)
    plan = plan_of(images, seed)
    twice = Counter(map(image_id, expected))
    assert images.paths.take(pa.array(plan.order)).to_pylist() == [
        path for path in expected if twice[image_id(path)] == 1
    ]
    assert [image.path for image in plan.set_aside] == [
        path for path in expected if twice[image_id(path)] == 2
    ]


def test_ids_whose_hashes_collide_are_in_their_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def last_digit(ids: list[str], seed: int) -> list[bytes]:
        return [int(name[-1]).to_bytes(8, "big") for name in ids]

    monkeypatch.setattr("builder.images.plan.order_keys", last_digit)
    images = Listed([*paths(200)[::-1], "n0/image_42.png"])
    plan = plan_of(images)
    ids = [f"n{number % 3}/image_{number}" for number in range(200) if number != 42]
    assert ids_in_order(plan) == sorted(ids, key=lambda name: (name[-1], name))
    assert [(image.image_id, image.detail) for image in plan.set_aside] == [
        ("n0/image_42", "2 images have this id")
    ] * 2


def test_the_hash_of_a_plan_is_that_of_its_lines() -> None:
    plan = plan_of(Listed([*paths(50), "n7/c.JPEG"]))
    lines = [f"n{n % 3}/image_{n} {n % 3}" for n in range(50)]
    lines.sort(key=lambda line: ids_in_order(plan).index(line.split()[0]))
    lines += [str(plan.set_aside[0])]
    expected = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert plan.sha256 == expected
