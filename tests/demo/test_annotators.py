from __future__ import annotations

from collections import Counter

import numpy as np

from builder.annotate.candidates import Candidate
from builder.dataset.votes import ANSWERS
from builder.demo.annotators import Crowd, cast_votes, hot_shares, regions_of
from builder.demo.world import BARE, CORE, CUES, FIRST_CUE

PAIR = Candidate(3, "n90000004", "star", 2, 17, 0.5, 0.2, ("a", "b"))
THINGS = ("the star", "another object", "the background")


def test_hot_shares_are_of_the_area_above_half_the_peak() -> None:
    mask = np.array([[[255, 255, 127], [200, 129, 0]]], np.uint8)
    regions = np.array([[[0, 0, 2], [1, 2, 2]]])
    assert hot_shares(mask, regions).tolist() == [0.5, 0.25, 0.25]


def test_regions_are_what_a_worker_who_sees_all_would_answer() -> None:
    seen = {BARE: "background", CORE: "main_object"} | {
        FIRST_CUE + place: "background" if cue.is_ground else "separate_object"
        for place, cue in enumerate(CUES)
    }
    label_map = np.array([list(seen)], np.uint8)
    assert [ANSWERS[answer] for answer in regions_of(label_map)[0]] == list(seen.values())


def test_a_silent_map_is_seen_on_the_background() -> None:
    empty = np.zeros((2, 4, 4), np.uint8)
    assert hot_shares(empty, np.zeros((2, 4, 4), int)).tolist() == [0, 0, 1]


def test_careful_workers_say_what_they_see_and_hasty_ones_often_do_not() -> None:
    careful = Crowd(blur=0.01, slips=0)
    for index, answer in enumerate(ANSWERS):
        votes = cast_votes(PAIR, np.eye(3)[index], THINGS, careful)
        assert [vote.answer for vote in votes] == [answer] * 5
        assert {vote.confidence for vote in votes} == {5}
        assert votes[0].reasons == f"mostly on {THINGS[index]}"
    hasty = Crowd(workers=300, slips=1)
    counts = Counter(vote.answer for vote in cast_votes(PAIR, np.eye(3)[0], THINGS, hasty))
    assert min(counts[answer] for answer in ANSWERS) > 60


def test_votes_depend_on_seed_pair_and_worker_alone() -> None:
    shares = np.array([0.4, 0.3, 0.3])
    assert cast_votes(PAIR, shares, THINGS, Crowd()) == cast_votes(PAIR, shares, THINGS, Crowd())
    answers = [
        [vote.answer for vote in cast_votes(PAIR, shares, THINGS, Crowd(seed=seed))]
        for seed in range(8)
    ]
    assert len({tuple(those) for those in answers}) > 1
