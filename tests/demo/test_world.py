from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from builder.demo.world import (
    BARE,
    CORE,
    CUES,
    FIRST_CUE,
    World,
    draw_image,
    read_truth,
    write_world,
)

TINY = World(classes=3, train=6, val=4, size=64)


def test_an_image_depends_on_its_id_and_the_seed_alone() -> None:
    drawn = draw_image(TINY, "train", "n90000001_3", 0)
    again = draw_image(TINY, "train", "n90000001_3", 0)
    assert np.array_equal(drawn.pixels, again.pixels)
    assert np.array_equal(drawn.truth, again.truth)
    other = draw_image(World(size=64, seed=1), "train", "n90000001_3", 0)
    assert drawn.pixels.shape != other.pixels.shape or (drawn.pixels != other.pixels).any()


def test_the_label_map_shows_the_object_and_exactly_the_cues_that_are_there() -> None:
    for number in range(20):
        drawn = draw_image(World(), "train", f"n90000003_{number}", 2)
        shown = set(np.unique(drawn.truth).tolist()) - {BARE}
        there = {FIRST_CUE + cue for cue in np.flatnonzero(drawn.strengths).tolist()}
        assert shown == there | {CORE}
        # The box that the network sees holds most of the object.
        assert (drawn.truth == CORE).mean() > 0.02


def test_cues_come_with_their_classes_as_often_as_the_world_says() -> None:
    world = World(size=32)
    for split, own, stray in (("train", 0.85, 0.10), ("val", 0.5, 0.30)):
        drawn = [draw_image(world, split, f"n90000001_{number}", 0) for number in range(300)]
        strengths = np.array([image.strengths for image in drawn]) > 0
        (cue,) = world.cues_of(0)
        others = np.delete(strengths, cue, axis=1).any(axis=1)
        assert abs(strengths[:, cue].mean() - own) < 0.08
        assert abs(others.mean() - stray) < 0.08


def test_what_is_written_is_what_was_drawn(tmp_path: Path) -> None:
    drawn: list[int] = []
    write_world(tmp_path, TINY, drawn.append)
    assert sum(drawn) == 3 * (6 + 4)
    truth = read_truth(tmp_path)
    assert len(truth.rows) == 30
    image = draw_image(TINY, "train", "n90000002_5", 1)
    with Image.open(tmp_path / "truth" / "n90000002_5.png") as file:
        assert np.array_equal(np.asarray(file), image.truth)
    with Image.open(tmp_path / "images/train/n90000002/n90000002_5.JPEG") as file:
        assert np.abs(np.asarray(file).astype(int) - image.pixels).mean() < 12
    assert truth.label_map("n90000002_5").shape == (224, 224)
    (cue,) = TINY.cues_of(1)
    assert truth.strengths("n90000002_5") == {CUES[cue].name: image.strengths[cue]}
