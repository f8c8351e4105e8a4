from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from datasets import load_dataset

from builder.dataset.statistics import EDGES, MASK_KINDS, SplitStatistics, split_statistics
from builder.pages.plots import KIND_COLOURS, kinds_plot, masks_plot, spuriosity_plot
from builder.pages.preview import example_rows
from tests.pages.test_preview import open_data

SVG = "{http://www.w3.org/2000/svg}"
SHARES = {"core": 500, "background": 250, "separate_object": 250, "mixed": 0}


def bars(svg: str, colour: str | None = None) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(svg)
    return [
        bar
        for bar in root.iter(f"{SVG}rect")
        if bar.get("width") not in ("100%", "12") and colour in (None, bar.get("fill"))
    ]


@pytest.fixture
def statistics() -> SplitStatistics:
    counts = np.zeros(len(EDGES) - 1, np.int64)
    counts[[0, 16, 31]] = 1, 4, 2
    return SplitStatistics(SHARES, 10, counts)


def test_heights_are_the_counts(statistics: SplitStatistics) -> None:
    found = bars(spuriosity_plot({"train": statistics}))
    heights = [float(bar.get("height", 0)) for bar in found]
    assert np.array(heights) / max(heights) == pytest.approx([0.25, 1, 0.5], abs=1e-3)
    lefts = [float(bar.get("x", 0)) for bar in found]
    assert lefts == sorted(lefts)


def test_widths_are_the_shares_of_kinds(statistics: SplitStatistics) -> None:
    svg = kinds_plot({"train": statistics, "validation": statistics})
    for kind in MASK_KINDS:
        widths = [float(bar.get("width", 0)) for bar in bars(svg, KIND_COLOURS[kind])]
        share = SHARES[kind] / 1000
        assert widths == pytest.approx([share * 620] * 2 if share else [], abs=0.1)
    assert svg.count(">1,000 masks<") == 2


def test_names_of_classes_are_escaped(planted: Path) -> None:
    rows = example_rows(open_data(planted))
    svg = masks_plot(rows, ["<script>&", "b", "c"])
    assert "<script>" not in svg
    root = ElementTree.fromstring(svg)
    pictures = list(root.iter(f"{SVG}image"))
    assert len(pictures) == 2 * len(rows)  # The class with both kinds has enough rows.


@pytest.mark.parametrize("split", ["train", "validation"])
def test_statistics_are_the_rows(planted: Path, split: str) -> None:
    found = split_statistics(open_data(planted), split)
    rows = list(load_dataset(str(planted), "masks", split=split, streaming=True))
    pairs = {
        (pair["label"], pair["feature"]): pair["sub_kind"] or "core"
        for pair in load_dataset(str(planted), "features", split=split, streaming=True)
    }
    kinds = [pairs[row["label"], feature] for row in rows for feature in row["features"]]
    assert found.masks_by_kind == {kind: kinds.count(kind) for kind in MASK_KINDS}
    for low, high, count in zip(EDGES, EDGES[1:], found.spuriosity, strict=False):
        values = [row["spuriosity"] for row in rows if row["spuriosity"] is not None]
        assert count == sum(low <= value < high for value in values)
