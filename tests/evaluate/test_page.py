"""The page of an evaluation, in a browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotly.offline import get_plotlyjs
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from builder.evaluate.class_charts import SHOWN_CLASSES, class_charts
from builder.evaluate.extremes import Ends, Extreme
from builder.evaluate.measures import GAP, RCS, Score, accuracy_of, overall
from builder.evaluate.page import make_page
from builder.evaluate.pictures import SIDE
from builder.evaluate.report import Report
from builder.evaluate.scatters import groups_of
from tests.browser import DESKTOP, PHONE, log, requests, resize
from tests.evaluate.synthetic import synthetic_report

MARKUP = "<script>document.title='planted'</script><img src=x onerror=alert(1)><b>\"'&amp;</b>"

FEW, MANY = (3, 3), (12, 2 * SHOWN_CLASSES + 1)
"""Models and classes: all are named, and only some."""

Opener = Callable[[str], None]

NO_CHARTS = "window.Plotly = {newPlot(plot) { plot.data = []; plot.on = () => {}; }};"
"""In place of the library, which takes a browser a second or two."""

DRAWN = "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('svg'))"


@pytest.fixture
def show(browser: webdriver.Chrome, tmp_path: Path) -> Opener:
    """Show the page of a report, and see that it loads nothing else and complains of nothing."""

    def shown(page: str) -> None:
        path = tmp_path / "report.html"
        path.write_text(page)
        log(browser, "browser")
        log(browser, "performance")
        browser.get(path.as_uri())
        assert requests(browser) == {path.as_uri()}
        assert log(browser, "browser") == []

    return shown


@cache
def ready(models: int, classes: int) -> tuple[Report, str]:
    """Return a report with its page."""
    report = synthetic_report(models, classes)
    return report, make_page(report)


def without_charts(page: str) -> str:
    return page.replace(get_plotlyjs(), NO_CHARTS)


def draw(browser: webdriver.Chrome) -> None:
    """Draw all charts, as for a printer; else those out of sight wait."""
    WebDriverWait(browser, 30).until(lambda _: browser.execute_script("return !!window.Plotly"))
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(f"return {DRAWN}")
    assert log(browser, "browser") == []


def texts(browser: webdriver.Chrome, selector: str) -> list[str]:
    found = browser.find_elements(By.CSS_SELECTOR, selector)
    return [element.get_attribute("textContent") or "" for element in found]


def press(browser: webdriver.Chrome, title: str, key: str = Keys.ENTER) -> str:
    """Press a heading of the table on the keyboard, and return how it is sorted."""
    heading = next(
        found
        for found in browser.find_elements(By.CSS_SELECTOR, "#models thead th")
        if title in (found.get_attribute("textContent") or "")
    )
    heading.find_element(By.TAG_NAME, "button").send_keys(key)
    return heading.get_attribute("aria-sort") or ""


@pytest.mark.parametrize(
    ("size", "width"),
    [((1, 3), PHONE), (FEW, DESKTOP), (MANY, PHONE), (MANY, DESKTOP)],
    ids=["one model on a phone", "few models", "many models on a phone", "many models"],
)
def test_it_opens_and_fits(
    browser: webdriver.Chrome, show: Opener, size: tuple[int, int], width: int
) -> None:
    resize(browser, width)
    show(ready(*size)[1])
    draw(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    titles = texts(browser, ".chart h3")
    assert ("Effective robustness" in titles) == (size[0] > 1)
    assert all(text.strip() for text in texts(browser, ".chart figcaption p"))


def test_the_table_sorts_by_keyboard_with_missing_values_last(
    browser: webdriver.Chrome, show: Opener
) -> None:
    resize(browser, DESKTOP)
    report = synthetic_report(*MANY)
    models = list(report.scores)
    report.scores[models[4]] = [s for s in report.scores[models[4]] if s.measure != RCS]
    show(without_charts(make_page(report)))
    assert texts(browser, "#models tbody th") == models
    known = [model for model in models if model != models[4]]
    rising = sorted(known, key=lambda model: overall(report.scores[model])[RCS].value)
    assert press(browser, "RCS") == "descending"
    assert texts(browser, "#models tbody th") == [*rising[::-1], models[4]]
    assert press(browser, "RCS", Keys.SPACE) == "ascending"
    assert texts(browser, "#models tbody th") == [*rising, models[4]]
    assert press(browser, "model") == "ascending"
    # The number 2 comes before 10.
    assert texts(browser, "#models tbody th") == models
    assert len(browser.find_elements(By.CSS_SELECTOR, "[aria-sort=ascending]")) == 1
    assert not browser.find_elements(By.CSS_SELECTOR, "[aria-sort=descending]")


def sources(browser: webdriver.Chrome) -> list[str]:
    images = browser.find_elements(By.CSS_SELECTOR, "#chosen img")
    return [image.get_attribute("src") or "" for image in images]


def test_a_chosen_class_shows_both_its_ends(browser: webdriver.Chrome, show: Opener) -> None:
    report, page = ready(*FEW)
    show(without_charts(page))
    for label in range(FEW[1]):
        Select(browser.find_element(By.ID, "class")).select_by_value(str(label))
        ends = report.extremes[label]
        shown = [*ends.most, *ends.least]
        assert sources(browser) == [image.thumbnail for image in shown]
        assert browser.find_element(By.CSS_SELECTOR, "#chosen h3").text == report.names[label]
        answers = [said for image in shown for said in image.said]
        lines = browser.find_elements(By.CSS_SELECTOR, "#chosen li")
        wrong = ["wrong" in (line.get_attribute("class") or "").split() for line in lines]
        assert wrong == [said != label for said in answers]
    sizes = browser.execute_async_script(
        "const done = arguments[0], images = [...document.images];"
        "Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))"
        ".then(done, error => done(String(error)))"
    )
    assert set(sizes) == {SIDE}


def test_many_models_are_counted_and_named_on_demand(
    browser: webdriver.Chrome, show: Opener
) -> None:
    report, page = ready(*MANY)
    show(without_charts(page))
    Select(browser.find_element(By.ID, "class")).select_by_value("7")
    first = report.extremes[7].most[0]
    right = first.said.count(7)
    details = browser.find_element(By.CSS_SELECTOR, "#chosen details")
    assert details.text == f"{right} of {MANY[0]} right"
    cells = details.find_element(By.XPATH, "../div[@class='cells']")
    assert len(cells.find_elements(By.CSS_SELECTOR, "i:not(.wrong)")) == right
    details.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    WebDriverWait(browser, 10).until(lambda _: details.find_elements(By.TAG_NAME, "li"))
    named = [line.get_attribute("title") for line in details.find_elements(By.TAG_NAME, "li")]
    models = list(report.scores)
    assert sorted(map(str, named)) == sorted(models)
    wrong = [model for model, said in zip(models, first.said, strict=True) if said != 7]
    assert named[: len(wrong)] == wrong


def test_classes_are_found_and_walked_through(browser: webdriver.Chrome, show: Opener) -> None:
    report, page = ready(*MANY)
    show(without_charts(page))
    chosen = Select(browser.find_element(By.ID, "class"))
    spread = report.of_classes(GAP).std(0)
    Select(browser.find_element(By.ID, "order")).select_by_value("spread")
    order = [int(option.get_attribute("value") or "") for option in chosen.options]
    rounded = np.round(spread, 4)
    assert rounded[order].tolist() == sorted(rounded.tolist())
    browser.find_element(By.ID, "next").send_keys(Keys.ENTER)
    assert browser.find_element(By.CSS_SELECTOR, "#chosen h3").text == report.names[order[1]]
    browser.find_element(By.ID, "find").send_keys("OTTER 7")
    assert browser.find_element(By.CSS_SELECTOR, "#chosen h3").text == report.names[7]
    browser.find_element(By.ID, "find").send_keys(" nothing like it")
    assert browser.find_element(By.ID, "chosen").text == "No class matches."


def test_an_image_that_is_not_at_hand_is_named(browser: webdriver.Chrome, show: Opener) -> None:
    report = synthetic_report(*FEW)
    ends = report.extremes[0]
    gone = dataclasses.replace(ends.most[1], thumbnail=None)
    report.extremes[0] = Ends([ends.most[0], gone, *ends.most[2:]], ends.least)
    show(without_charts(make_page(report)))
    Select(browser.find_element(By.ID, "class")).select_by_value("0")
    assert len(sources(browser)) == 7
    frames = texts(browser, "#chosen .frame")
    assert [text for text in frames if text] == [f"{gone.image_id} is not at hand"]


def planted(size: tuple[int, int]) -> Report:
    """Return a report whose models, families, classes and images have names in markup."""
    report = synthetic_report(*size)

    def named(image: Extreme) -> Extreme:
        return dataclasses.replace(image, image_id=MARKUP)

    return dataclasses.replace(
        report,
        scores={f"{model}{MARKUP}": scores for model, scores in report.scores.items()},
        families={f"{model}{MARKUP}": MARKUP for model in report.scores},
        names=[f"{label}{MARKUP}" for label in range(size[1])],
        extremes={
            label: Ends(list(map(named, ends.most)), list(map(named, ends.least)))
            for label, ends in report.extremes.items()
        },
        identity={**report.identity, "split": MARKUP},
    )


@pytest.mark.parametrize("size", [FEW, MANY], ids=["few", "many"])
def test_markup_in_names_is_text(
    browser: webdriver.Chrome, show: Opener, size: tuple[int, int]
) -> None:
    report = planted(size)
    show(make_page(report))
    draw(browser)
    assert browser.title == "How far models rely on spurious features"
    assert not browser.find_elements(By.CSS_SELECTOR, "img[src=x], [onerror], main b b")
    assert texts(browser, "#models tbody th") == list(report.scores)
    assert browser.find_element(By.CSS_SELECTOR, "#chosen h3").text in report.names
    ticks = texts(browser, "#classes-1 .ytick text")
    assert all(tick.split("<")[0].isdigit() and "<scri" in tick for tick in ticks)
    assert len(ticks) == min(size[1], SHOWN_CLASSES)
    legend = texts(browser, ".legend button")
    assert all(MARKUP in text for text in legend)


def test_a_row_shows_its_class_and_the_legend_hides_a_family(
    browser: webdriver.Chrome, show: Opener
) -> None:
    resize(browser, DESKTOP)
    report, page = ready(*MANY)
    show(page)
    draw(browser)
    first = class_charts(report)[0].figure["data"][0]["customdata"][0][0]
    browser.execute_script(
        "document.getElementById('classes-1').emit('plotly_click', {points: [{customdata: "
        "arguments[0]}]})",
        first,
    )
    assert browser.find_element(By.CSS_SELECTOR, "#chosen h3").text == report.names[first]
    shown = "#scatters .scatterlayer .trace.scatter"
    before = len(browser.find_elements(By.CSS_SELECTOR, shown))
    button = browser.find_element(By.CSS_SELECTOR, ".legend button")
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-pressed") == "false"
    assert len(browser.find_elements(By.CSS_SELECTOR, shown)) == before - 3
    button.send_keys(Keys.ENTER)
    assert len(browser.find_elements(By.CSS_SELECTOR, shown)) == before


def test_models_are_told_apart_by_family_where_they_are_many_and_have_some() -> None:
    few, many = synthetic_report(8, 3), synthetic_report(9, 3)
    bare = dataclasses.replace(many, families=dict.fromkeys(many.scores, ""))
    assert [group.name for group in groups_of(few)] == list(few.scores)
    assert [group.name for group in groups_of(many)] == list(dict.fromkeys(many.families.values()))
    assert [group.name for group in groups_of(bare)] == list(bare.scores)
    looks = {(group.colour, group.symbol) for group in groups_of(bare)}
    assert len(looks) == 9


def gaps_report(gaps: list[list[float]]) -> Report:
    """Return a report of models with nothing but gaps."""
    models = [f"m{place}" for place in range(len(gaps))]
    scores: dict[str, list[Any]] = {
        model: [Score(accuracy_of("clean"), None, 0.5, 0.5, 0.5)]
        + [Score(GAP, label, gap, gap, gap) for label, gap in enumerate(own)]
        for model, own in zip(models, gaps, strict=True)
    }
    names = [f"class {label}" for label in range(len(gaps[0]))]
    return Report({}, scores, dict.fromkeys(models, ""), 2, names)


def test_classes_are_ordered_by_how_far_models_agree() -> None:
    """Not by the size of gaps: a class on which all models have the same large one comes first."""
    [chart] = class_charts(gaps_report([[0.1, 0.9, 0.0, 0.0], [0.3, 0.9, 0.0, 0.1]]))
    [trace] = chart.figure["data"]
    assert [row[0] for row in trace["customdata"]] == [1, 2, 3, 0]
    assert trace["z"] == [[90, 90], [0, 0], [0, 10], [10, 30]]


def test_of_many_classes_those_at_both_ends_are_shown() -> None:
    rng = np.random.default_rng(0)
    gaps = rng.normal(size=(5, 60)).round(3)
    agree, disagree = class_charts(gaps_report(gaps.tolist()))
    spreads = {
        label: (sum((g - sum(own) / 5) ** 2 for g in own) / 5) ** 0.5
        for label, own in enumerate(gaps.T.tolist())
    }
    order = sorted(spreads, key=lambda label: spreads[label])
    shown = [
        [row[0] for row in chart.figure["data"][0]["customdata"]] for chart in (agree, disagree)
    ]
    assert shown == [order[:SHOWN_CLASSES], order[::-1][:SHOWN_CLASSES]]


def test_of_one_model_classes_are_bars_with_intervals() -> None:
    [chart] = class_charts(gaps_report([[0.1, -0.9, 0.4]]))
    [trace] = chart.figure["data"]
    assert trace["type"] == "bar"
    assert trace["customdata"] == [2, 0, 1]
    assert trace["x"] == pytest.approx([40, 10, -90])
