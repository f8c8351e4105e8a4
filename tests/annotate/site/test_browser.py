"""The pages in a browser: keys, widths, and what is seen of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import load_dataset
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from builder.annotate.candidates import PairName
from builder.annotate.export import export
from builder.dataset.votes import ANSWERS
from builder.run.build import build
from builder.settings.annotation import VotesExport
from tests.annotate.site.server import serving
from tests.annotate.site.study import candidates
from tests.annotate.site.visitor import Said, Visitor
from tests.annotate.site.voters import PEOPLE, Habits, exported, vote
from tests.conftest import World
from tests.quiet import Quiet

PAIRS = {f"{pair.name}, feature {pair.feature}": pair for pair in candidates()}
"""By the title of its page."""


@pytest.fixture
def visitor(browser: webdriver.Chrome, tmp_path: Path) -> Iterator[Visitor]:
    with serving(tmp_path, "--answers", "3") as server:
        found = Visitor(browser, server)
        found.screen(1280)
        yield found
        browser.delete_all_cookies()


def said(visitor: Visitor, habits: Habits) -> tuple[PairName, Said]:
    """Return what a person answers on a page: each has an opinion of their own."""
    pair = PAIRS[visitor.browser.title]
    if habits is PEOPLE[0]:  # Careful: the second of each class is water, the third a hand.
        answer = {2: "background", 3: "separate_object"}.get(pair.rank, "main_object")
        return pair.key, Said(answer, 5, f"seen on {pair.feature}")
    if habits is PEOPLE[1]:  # Quick: all is the object.
        return pair.key, Said("main_object", 3, "the thing")
    answer = "background" if pair.rank in (2, 3) else "main_object"  # Takes hands for background.
    return pair.key, Said(answer, pair.rank, "water \N{WATER WAVE} <b>\"'&")


def test_three_people_vote_and_what_they_say_builds(
    browser: webdriver.Chrome, world: World, tmp_path: Path
) -> None:
    """On a drawn world, whose truth is known, and with its pictures: tests.benchmarks.voting."""
    with serving(tmp_path, "--answers", str(len(PEOPLE))) as server:
        given = vote(server, browser, len(PAIRS), said)
    out = tmp_path / "votes.csv"
    assert export(VotesExport(str(tmp_path / "votes.db"), out), Quiet()) == len(given)
    assert given.keys() == {(who.name, *pair.key) for who in PEOPLE for pair in candidates()}
    assert exported(out) == given
    build(world.settings(tmp_path / "data", votes=out), Quiet())
    built = load_dataset(str(tmp_path / "data"), "features", split="train", streaming=True)
    kinds = [row["sub_kind"] or row["kind"] for row in built]
    assert kinds == ["core", "background", "mixed", "core", "core"] * 3


def test_keys_do_all_that_a_mouse_does(visitor: Visitor) -> None:
    visitor.sign_in("Ada")
    visitor.keys("1", "g")
    # When both are answered, the words are next.
    assert visitor.browser.switch_to.active_element.get_attribute("id") == "reasons"
    visitor.keys("seen on 0", Keys.ENTER)
    visitor.next_after(0)
    assert "main object, confidence 5" in visitor.find(".saved").text
    visitor.keys("u")  # Undo: the answer before, to be changed.
    assert visitor.find("[name=change]").get_attribute("value") == "1"
    assert visitor.find("#reasons").get_attribute("value") == "seen on 0"
    visitor.keys("3", Keys.ENTER)
    visitor.next_after(0)
    assert "background, confidence 5" in visitor.find(".saved").text
    visitor.keys("x")  # Skip.
    visitor.next_after(1)
    assert visitor.pair == 2
    visitor.keys("h")  # Help.
    assert visitor.find("details").get_attribute("open") == "true"
    visitor.keys("e")  # Enlarge, turn, and close.
    assert visitor.find("dialog span").text == "image 1"
    visitor.keys(Keys.ARROW_RIGHT)
    assert visitor.find("dialog span").text == "heat map of image 1"
    visitor.keys(Keys.ESCAPE)
    assert not visitor.find("dialog").is_displayed()
    # In the words keys are letters, until Escape leads out of them.
    visitor.keys("r", "x123", Keys.ESCAPE, "2")
    visitor.browser.execute_script(
        "document.dispatchEvent(new KeyboardEvent('keydown',"
        "{code: 'Digit4', key: '$', shiftKey: true, bubbles: true}))"
    )
    assert visitor.find("#reasons").get_attribute("value") == "x123"
    assert visitor.find("[name=answer]:checked").get_attribute("value") == ANSWERS[1]
    assert visitor.find("[name=confidence]:checked").get_attribute("value") == "4"
    assert visitor.complaints() == []


def test_without_an_answer_nothing_is_sent(visitor: Visitor) -> None:
    visitor.sign_in("Ada")
    visitor.keys("1", Keys.ENTER)
    assert visitor.pair == 0
    assert visitor.find("[name=confidence]:invalid")
    assert "0 of your 15" in visitor.find(".progress").text


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_pages_fit_the_width(visitor: Visitor, width: int, height: int) -> None:
    visitor.screen(width, height)
    visitor.sign_in("Ada")
    for path in ("/vote", "/maps", "/results", "/pairs/0", "/nowhere", "/"):
        if path == "/":
            visitor.sign_out()
        visitor.browser.get(f"{visitor.server.address}{path}")
        wide = visitor.browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, path
        assert visitor.screenshot().std() > 5, path
        # All that can be pressed has a name to be told by.
        for element in visitor.browser.find_elements(By.CSS_SELECTOR, "button, a, input, summary"):
            if element.is_displayed():
                assert element.accessible_name, path


def test_all_of_a_question_is_on_one_screen(visitor: Visitor) -> None:
    visitor.sign_in("Ada")
    bottom = visitor.browser.execute_script(
        "return Math.max(...[...document.querySelectorAll('.picture, .save')]"
        ".map((one) => one.getBoundingClientRect().bottom))"
    )
    assert bottom <= 800


def test_a_picture_grows_under_the_mouse_and_at_a_tap(visitor: Visitor) -> None:
    visitor.sign_in("Ada")
    picture = visitor.find(".row:nth-child(3) .heat")
    before = picture.size["width"]
    ActionChains(visitor.browser).move_to_element(picture).perform()
    WebDriverWait(visitor.browser, 10).until(
        lambda browser: (
            browser.execute_script("return arguments[0].getBoundingClientRect().width", picture)
            > 1.5 * before
        )
    )
    picture.click()
    assert visitor.find("dialog[open] img").size["width"] > 2 * before
