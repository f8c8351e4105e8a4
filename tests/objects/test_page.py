"""The page of the suite, in a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from builder.evaluate.measures import Score
from builder.evaluate.pictures import SIDE
from builder.evaluate.scatters import groups_of
from builder.evaluate.suite import Evaluated
from builder.objects.charts import SHOWN_CLASSES, class_chart, model_charts
from builder.objects.columns import ABLATION_TITLES, COLUMNS
from builder.objects.examples import Example
from builder.objects.measures import THIRDS, rfs_of
from builder.objects.page import make_page
from builder.objects.sensitivity import LEVELS
from builder.pages.pictures import thumbnail
from tests.browser import DESKTOP, PHONE, log, requests, resize

MARKUP = "<script>document.title='planted'</script><img src=x onerror=alert(1)><b>\"'&amp;</b>"

MEASURES = [
    "clean_accuracy",
    *(column.measure for column in COLUMNS),
    *(rfs_of(level) for level in LEVELS),
    *(f"{part}_accuracy" for parts in THIRDS.values() for part in parts),
]


def evaluated(models: int, classes: int) -> Evaluated:
    """Return scores by chance of models and classes whose names are markup."""
    rng = np.random.default_rng(0)

    def score(measure: str, label: int | None = None) -> Score:
        value = float(rng.random())
        return Score(measure, label, value, value - 0.1, value + 0.1)

    scores = {
        f"timm:architecture_{model}{MARKUP}": [
            *map(score, dict.fromkeys(MEASURES)),
            *(
                score(f"{condition}_accuracy", label)
                for label in range(classes)
                for condition in ABLATION_TITLES
            ),
        ]
        for model in range(models)
    }
    identity = {"split": MARKUP, "draws": 3, "alignment": True, "as_published": True}
    names = [f"{label}{MARKUP}, synonym" for label in range(classes)]
    return Evaluated(identity, Path("unused"), scores, dict.fromkeys(scores, ""), names)


def examples() -> list[Example]:
    picture = thumbnail(np.zeros((SIDE, SIDE, 3), np.uint8), SIDE)
    right = dict.fromkeys(ABLATION_TITLES, 1)
    shown = Example(MARKUP, 0, right, dict.fromkeys(ABLATION_TITLES, picture))
    return [shown, Example("gone", 1, right)]


@pytest.mark.parametrize(("models", "width"), [(1, PHONE), (3, DESKTOP)])
def test_it_opens_and_fits_and_names_are_text(
    browser: webdriver.Chrome, tmp_path: Path, models: int, width: int
) -> None:
    told = evaluated(models, 5)
    path = tmp_path / "report.html"
    path.write_text(make_page(told, 1234, examples()))
    resize(browser, width)
    log(browser, "browser")
    log(browser, "performance")
    browser.get(path.as_uri())
    WebDriverWait(browser, 30).until(lambda _: browser.execute_script("return !!window.Plotly"))
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert requests(browser) == {path.as_uri()}
    assert log(browser, "browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.title == "Whether models need the object"
    assert not browser.find_elements(By.CSS_SELECTOR, "img[src=x], [onerror], main b b")
    rows = browser.find_elements(By.CSS_SELECTOR, "#models tbody th")
    assert [row.get_attribute("textContent") for row in rows] == list(told.scores)
    drawn = browser.find_elements(By.CSS_SELECTOR, ".plot svg.main-svg")
    assert len(drawn) >= len(browser.find_elements(By.CSS_SELECTOR, ".plot")) == 7
    pictures = browser.find_elements(By.CSS_SELECTOR, ".strip img")
    assert len(pictures) == len(ABLATION_TITLES)
    assert "gone is not at hand" in browser.find_element(By.TAG_NAME, "main").text


def test_without_alignment_there_is_no_chart_of_it() -> None:
    told = evaluated(2, 3)
    groups = groups_of(told)
    titles = [chart.title for chart in model_charts(told, groups)]
    bare = told._replace(
        scores={
            model: [score for score in scores if score.measure != "iou"]
            for model, scores in told.scores.items()
        }
    )
    assert [chart.title for chart in model_charts(bare, groups)] == titles[:-1]


def test_of_many_classes_those_at_both_ends_are_shown() -> None:
    told = evaluated(2, 2 * SHOWN_CLASSES)
    chart = class_chart(told, told.names)
    gray = {
        label: np.mean(
            [
                score.value
                for scores in told.scores.values()
                for score in scores
                if (score.measure, score.label) == ("gray_mask_accuracy", label)
            ]
        )
        for label in range(2 * SHOWN_CLASSES)
    }
    _, shown = chart.figure["data"]
    assert len(shown["x"]) == SHOWN_CLASSES
    rising = sorted(100 * value for value in gray.values())
    half = SHOWN_CLASSES // 2
    assert shown["x"] == pytest.approx([*rising[:half], *rising[-half:]])
