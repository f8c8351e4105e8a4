from __future__ import annotations

import re

import pytest

from builder.evaluate.measures import GAP, Score, accuracy_of
from builder.evaluate.table import COLUMNS, as_html, short_names


def test_a_notebook_shows_means_with_intervals() -> None:
    clean = accuracy_of("clean")
    html = as_html(
        {
            "<b>one</b>": [Score(clean, None, 0.5, 0.41, 0.6), Score(clean, 0, 0.9, 0.8, 1)],
            "two": [Score(clean, None, 0.25, 0.2, 0.3), Score(GAP, None, -0.104, -0.2, 0.0)],
        }
    )
    assert "<b>" not in html
    cells = [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", html)]
    assert cells == [
        *("model", "clean accuracy%", "spurious gappoints"),
        *("&lt;b&gt;one&lt;/b&gt;", "50.0 [41.0, 60.0]", ""),
        *("two", "25.0 [20.0, 30.0]", "\u221210.4 [\u221220.0, +0.0]"),
    ]


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["timm:a.x", "hf:b.c/d"], ["a", "b.c/d"]),
        (["timm:a.x", "timm:a.y"], ["a.x", "a.y"]),
        (["timm:a", "torchvision:a"], ["timm:a", "torchvision:a"]),
        (["plain", "my_module:load_it"], ["plain", "load_it"]),
    ],
)
def test_names_are_short_as_long_as_they_differ(names: list[str], short: list[str]) -> None:
    assert short_names(names) == dict(zip(names, short, strict=True))


def test_a_number_that_rounds_to_nothing_is_not_negative() -> None:
    [gap] = [column for column in COLUMNS if column.measure == GAP]
    assert gap.text(-0.0001) == "+0.0"
