"""The page of subgroups."""

from __future__ import annotations

import json
import re

import numpy as np

from builder.subgroups.decomposition import Decomposer
from builder.subgroups.groups import divide
from builder.subgroups.names import Named, Pair, Word
from builder.subgroups.page import make_page
from builder.subgroups.report import Component, DividedClass, Report, ends_of

EVIL = "</script><script>alert(1)</script>"


def report_of(classes: int, pictures: int, images: int = 30) -> Report:
    """Return a report in which all that comes from files would do harm."""
    drawn = np.random.default_rng(0)
    divided = []
    for label in range(classes):
        ids = [f"{EVIL}{label}_{place}" for place in range(images)]
        right = drawn.random(images) < 0.5
        features, losses = drawn.random((images, 6)), drawn.random((images, 1))
        division = divide(Decomposer(components=2), label, ids, features, losses, right)
        pair = Pair(7, 1, "spurious", {"background": 4, "main_object": 1}, [EVIL])
        words = [Word(EVIL, 0.5)]
        components = [
            Component([Named(pair, 0.9)], *ends_of(division, group), words, words)
            for group in range(len(division.subgroups))
        ]
        divided.append(DividedClass(division, components))
    made_from = {"model": EVIL, "method": "dim", "ends": "apart", "split": "train"}
    names = [f"{EVIL} {label}" for label in range(classes)]
    return Report({**made_from, "pictures": pictures}, names, EVIL, divided)


def test_what_comes_from_files_is_text() -> None:
    page = make_page(report_of(2, 2), {f"{EVIL}0_1": "data:image/webp;base64,AA=="})
    assert EVIL not in page
    assert page.count("<script") == 3  # of two classes, and the page's own
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", page)


def test_images_are_shown_of_the_classes_with_the_worst_subgroups() -> None:
    report = report_of(4, 2)
    page = make_page(report, {})
    told = [json.loads(found) for found in re.findall(r'class="told"[^>]*>(.*?)</script>', page)]
    gaps = sorted((own.division.gap for own in report.classes), reverse=True)
    assert [round(one["accuracy"]["value"], 3) for one in told] == [
        round(own.division.accuracy.value, 3)
        for gap in gaps[:2]
        for own in report.classes
        if own.division.gap == gap
    ]
    assert len(re.findall("<tr><th scope=.row", page)) == 4
    for one in told:
        for group in one["subgroups"]:
            assert len(group["high"]["pictures"]) == 5
            assert all(str(row) in one["pictures"] for row in group["high"]["pictures"])
            assert group["features"][0]["votes"] == ["4 background", "1 main object"]
