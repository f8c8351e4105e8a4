"""Selections, against the same condition in plain Python."""

from __future__ import annotations

import shutil
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import salient_imagenet_1m as si
from builder.dataset.format import pair_features, parquet_schema
from tests.loader.conftest import NAMES, WNIDS, World


def ids(world: World, selection: si.Selection, way: str) -> list[str]:
    if way == "masks":
        rows = si.load(world.build, split="train", select=selection)
    elif way.startswith("join"):
        folder = datasets.load_dataset(
            "imagefolder",
            data_dir=str(world.images / "train"),
            split="train",
            streaming=way == "join stream",
        )
        rows = si.join(folder, world.build, select=selection)
    else:
        rows = si.load(
            world.build, images=world.images, split="train", streaming=True, select=selection
        )
    return [row["image_id"] for row in rows]


def rank(row: dict[str, Any]) -> int:
    return -1 if row["spuriosity_rank"] is None else int(row["spuriosity_rank"])


@pytest.mark.parametrize("way", ["images", "masks", "join", "join stream"])
@pytest.mark.parametrize(
    ("selection", "condition"),
    [
        (si.Selection(labels=(2, 0)), lambda row: row["label"] in (0, 2)),
        (si.Selection(labels=[WNIDS[3]]), lambda row: row["label"] == 3),
        (si.Selection(labels=("gas pump", 0)), lambda row: row["label"] in (0, 3)),
        (si.Selection(ranked=True), lambda row: row["label"] in (1, 3)),
        (si.Selection(most_spurious=3), lambda row: 0 <= rank(row) < 3),
        (si.Selection(least_spurious=2), lambda row: rank(row) >= 8),
        (
            si.Selection(most_spurious=1, least_spurious=2, labels=(1,)),
            lambda row: row["label"] == 1 and (rank(row) < 1 or rank(row) >= 8),
        ),
        (si.Selection(most_spurious=0.35), lambda row: 0 <= rank(row) < 3),
        (
            si.Selection(most_spurious=0.01, least_spurious=0.29, labels=(1, 2)),
            lambda row: row["label"] == 1 and (rank(row) < 1 or rank(row) >= 8),
        ),
        (si.Selection(zone="validated"), lambda row: min(row["activation_ranks"]) < 2),
        (si.Selection(zone="first_release"), lambda row: True),
        (
            si.Selection(ids=[f"{WNIDS[1]}_42", f"{WNIDS[0]}_5", "no such image"]),
            lambda row: row["image_id"] in (f"{WNIDS[1]}_42", f"{WNIDS[0]}_5"),
        ),
        (
            si.Selection(ids=[f"{WNIDS[1]}_42", f"{WNIDS[0]}_5"], ranked=True),
            lambda row: row["image_id"] == f"{WNIDS[1]}_42",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, si.Selection) else "",
)
def test_selections(world: World, way: str, selection: si.Selection, condition: Any) -> None:
    expected = [row["image_id"] for row in world.rows["train"] if condition(row)]
    found = ids(world, selection, way)
    assert expected
    if way.startswith("join"):  # in the folder's order, which is that of names
        expected, found = sorted(expected), sorted(found)
    assert found == expected


def test_masks_outside_the_zone_are_left_out(world: World) -> None:
    rows = {row["image_id"]: row for row in world.rows["train"]}
    stream = si.load(
        world.build,
        images=world.images,
        split="train",
        streaming=True,
        select=si.Selection(zone="validated"),
    )
    for example in stream:
        row = rows[example["image_id"]]
        inside = [rank < 2 for rank in row["activation_ranks"]]
        kinds = [k if there else None for k, there in zip(row["kinds"], inside, strict=True)]
        assert example["kinds"] == kinds
        for kind in si.KINDS:
            mask = example[f"{kind}_mask"]
            if kind in kinds:
                np.testing.assert_array_equal(np.asarray(mask), si.render(example, kind))
                np.testing.assert_array_equal(
                    np.asarray(mask), si.render(row | {"kinds": kinds}, kind)
                )
            else:
                assert mask is None


STUDY = {(0, 0): (True, 1.0), (0, 1): (False, 0.6), (1, 3): (True, 0.8), (1, 4): (False, 0.8)}
"""What a study found of some pairs, by label and place in the row."""


@pytest.fixture(scope="module")
def studied(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return the world with a build whose features have the columns of a study."""
    build = tmp_path_factory.mktemp("studied") / "build"
    shutil.copytree(world.build, build)
    for path in (build / "features").iterdir():
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            found = STUDY.get((row["label"], row["rank"] - 1), (None, None))
            row["validated"], row["same"] = found
        schema = parquet_schema(pair_features(NAMES, are_validated=True))
        pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return World(build, world.images, world.rows)


BY_STUDY = [
    (si.Selection(validated=True), {(0, 0), (1, 3)}),
    (si.Selection(validated=False), {(0, 1), (1, 4)}),
    (si.Selection(same=0.8), {(0, 0), (1, 3), (1, 4)}),
    (si.Selection(same=0), set(STUDY)),
    (si.Selection(validated=True, same=0.9), {(0, 0)}),
    (si.Selection(validated=True, labels=[1]), {(1, 3)}),
]


@pytest.mark.parametrize("way", ["images", "masks", "join", "join stream"])
@pytest.mark.parametrize(("selection", "pairs"), BY_STUDY, ids=str)
def test_pairs_are_selected_by_what_a_study_found(
    studied: World, way: str, selection: si.Selection, pairs: set[tuple[int, int]]
) -> None:
    labels = {label for label, _ in pairs}
    expected = {row["image_id"] for row in studied.rows["train"] if row["label"] in labels}
    assert set(ids(studied, selection, way)) == expected


@pytest.mark.parametrize(("selection", "pairs"), BY_STUDY, ids=str)
def test_masks_of_other_pairs_are_left_out(
    studied: World, selection: si.Selection, pairs: set[tuple[int, int]]
) -> None:
    rows = {row["image_id"]: row for row in studied.rows["train"]}
    stream = si.load(
        studied.build, images=studied.images, split="train", streaming=True, select=selection
    )
    for example in stream:
        row = rows[example["image_id"]]
        kinds = [
            kind if (row["label"], place) in pairs else None
            for place, kind in enumerate(row["kinds"])
        ]
        assert example["kinds"] == kinds
        for kind in si.KINDS:
            mask = example[f"{kind}_mask"]
            if kind in kinds:
                expected = si.render(row | {"kinds": kinds}, kind)
                np.testing.assert_array_equal(np.asarray(mask), expected)
            else:
                assert mask is None


def test_a_zone_and_a_study_are_combined(studied: World) -> None:
    select = si.Selection(zone="validated", validated=True)
    rows = si.load(studied.build, split="train", select=select)
    places = {0: 0, 1: 3}
    expected = {
        row["image_id"]
        for row in studied.rows["train"]
        if row["label"] in places and row["activation_ranks"][places[row["label"]]] < 2
    }
    assert expected
    assert set(rows["image_id"]) == expected
    assert all(sum(kind is not None for kind in kinds) == 1 for kinds in rows["kinds"])


@pytest.mark.parametrize(("selection", "pairs"), BY_STUDY, ids=str)
def test_features_and_rankings_of_a_study(
    studied: World, selection: si.Selection, pairs: set[tuple[int, int]]
) -> None:
    for columns in (None, ["label", "feature"]):
        rows = si.load(studied.build, "features", split="val", select=selection, columns=columns)
        found = {(row["label"], row["feature"] - 10 * row["label"]) for row in rows}
        assert found == pairs
    if any(label == 1 for label, _ in pairs):  # Of the two classes the one that is ranked.
        rankings = si.load(studied.build, "rankings", split="train", select=selection)
        assert set(rankings["label"]) == {1}


@pytest.mark.parametrize("way", ["images", "masks", "join"])
@pytest.mark.parametrize("selection", [si.Selection(validated=False), si.Selection(same=0.5)])
def test_without_a_study_nothing_can_be_selected_by_it(
    world: World, way: str, selection: si.Selection
) -> None:
    with pytest.raises(si.SalientImageNetError, match="was built from votes without a study"):
        ids(world, selection, way)


def test_rankings_and_features(world: World) -> None:
    rankings = si.load(
        world.build, "rankings", split="train", select=si.Selection(most_spurious=2, labels=(3,))
    )
    assert rankings["spuriosity_rank"][:] == [0, 1]
    features = si.load(world.build, "features", split="train", select=si.Selection(labels=(3,)))
    assert features.num_rows == 5


@pytest.mark.parametrize("way", ["images", "masks", "rankings"])
def test_what_selects_need_not_be_among_the_columns(world: World, way: str) -> None:
    images = world.images if way == "images" else None
    select = si.Selection(labels=(1, 2), most_spurious=2)
    for streaming in (True, False):
        rows = si.load(
            world.build,
            way,
            images=images,
            split="train",
            streaming=streaming,
            columns=["image_id"],
            select=select,
        )
        expected = {r["image_id"] for r in world.rows["train"] if r["label"] == 1 and rank(r) < 2}
        found = list(rows)
        assert {row["image_id"] for row in found} == expected
        assert all(set(row) == {"image_id"} for row in found)


@pytest.mark.parametrize("way", ["images", "join"])
def test_classes_that_are_smaller_than_what_is_asked(
    world: World, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    si._warn_once.cache_clear()
    with caplog.at_level("WARNING"):
        for _ in range(2):
            assert len(ids(world, si.Selection(least_spurious=100), way)) == 20
    said = "2 of 2 classes have fewer images than 100: all of theirs are selected."
    assert [record.message for record in caplog.records].count(said) == 1
    si._warn_once.cache_clear()
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        si.load(world.build, split="train", select=si.Selection(most_spurious=11, labels=(0, 3)))
        assert "1 of 1 classes have fewer images than 11" in caplog.text
        si._warn_once.cache_clear()


def test_ends_that_overlap_are_refused(world: World) -> None:
    assert len(ids(world, si.Selection(most_spurious=5, least_spurious=0.5), "images")) == 20
    for most, least in ((6, 5), (100, 1), (0.6, 0.5)):
        with pytest.raises(si.SalientImageNetError, match=f"={most} .*={least} overlap in 2 of 2"):
            ids(world, si.Selection(most_spurious=most, least_spurious=least), "images")


@pytest.mark.parametrize("count", [0, -1, 0.0, 1.0, 1.5, float("nan"), True, "a", [1], 3 + 1j])
@pytest.mark.parametrize("end", ["most_spurious", "least_spurious"])
def test_ends_that_are_no_numbers(end: str, count: Any) -> None:
    with pytest.raises(si.SalientImageNetError, match=rf"{end}=.*: use 1 or more images of each"):
        si.Selection(**{end: count})


def test_bad_selections(world: World) -> None:
    with pytest.raises(si.SalientImageNetError, match="no zone 'best'"):
        si.Selection(zone="best")  # type: ignore[arg-type]
    with pytest.raises(si.SalientImageNetError, match="use 1 or more"):
        si.Selection(most_spurious=0)
    with pytest.raises(si.SalientImageNetError, match="no class 'n99999999'"):
        si.load(world.build, split="train", select=si.Selection(labels=("n99999999",)))


CALLED = ["crane", "crane, a bird", "robin, American robin, Turdus", "robin, a toy"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (2, 2),
        ("n3", 3),
        ("crane", 0),  # A whole name comes before a part of one.
        ("crane, a bird", 1),
        ("a bird", 1),
        ("American robin", 2),
    ],
)
def test_a_class_is_called_by_label_wnid_name_or_part_of_a_name(
    name: int | str, label: int
) -> None:
    assert si._label(name, {index: f"n{index}" for index in range(4)}, CALLED) == label


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("robin", "2 classes are called 'robin': use one of their wnids, n2, n3."),
        (
            "american robin",
            "The build has no class 'american robin': use labels, wnids or names of its features, "
            "such as 'American robin'",
        ),
        (7, "The build has no class 7: use labels, wnids or names of its features."),
        (None, "The build has no class None: use labels, wnids or names of its features."),
    ],
)
def test_a_name_of_none_or_several_classes_is_one_sentence(name: Any, sentence: str) -> None:
    with pytest.raises(si.SalientImageNetError) as caught:
        si._label(name, {index: f"n{index}" for index in range(4)}, CALLED)
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).endswith(".")


def test_an_unknown_name_brings_those_that_are_close(world: World) -> None:
    with pytest.raises(si.SalientImageNetError, match="such as 'gas pump'"):
        si.load(world.build, split="train", select=si.Selection(labels=["gas-pump"]))
