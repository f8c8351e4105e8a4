"""Three people vote in a browser, with keys, a mouse and a thumb, and the server is killed."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from builder.annotate.export import export
from builder.dataset.votes import ANSWERS, read_votes
from builder.run.build import build
from builder.settings import VotesExport
from tests.annotate.site.server import Server, serving
from tests.annotate.site.study import candidates
from tests.conftest import World
from tests.quiet import Quiet

PAIRS = len(candidates())


def said(name: str, pair: int) -> tuple[str, int, str]:
    """Return what a person answers: each has habits of their own."""
    if name == "Ada":  # Careful: the second of each class is water, the third a hand.
        answer = {1: "background", 2: "separate_object"}.get(pair % 5, "main_object")
        return answer, 5, f"seen on {pair}"
    if name == "Ben":  # Quick: all is the object.
        return "main_object", 3, "the thing"
    answer = "background" if pair % 5 in (1, 2) else "main_object"  # Takes hands for background.
    return answer, 1 + pair % 5, "water \N{WATER WAVE} <b>"


@dataclass
class Visitor:
    """A person at a browser."""

    browser: webdriver.Chrome
    server: Server

    def find(self, selector: str) -> WebElement:
        """Wait for an element."""
        return WebDriverWait(self.browser, 20).until(
            lambda browser: browser.find_element(By.CSS_SELECTOR, selector)
        )

    def keys(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.browser).send_keys(*keys).perform()

    def sign_in(self, name: str) -> None:
        """Begin, or go on."""
        self.browser.get(f"{self.server.address}/")
        self.find("#name").send_keys(name, Keys.ENTER)
        self.find("form.questions, .card h1")

    def sign_out(self) -> None:
        """Leave."""
        self.find(".who button").click()
        self.find("#name")

    @property
    def pair(self) -> int:
        """Which pair is asked about."""
        action = self.find("form.questions").get_attribute("action") or ""
        return int(action.split("/")[-2])

    def is_done(self) -> bool:
        """Whether all is answered."""
        return "Done" in self.browser.title

    def next_after(self, pair: int) -> None:
        """Wait for another page."""
        script = (
            "return document.readyState === 'complete' && !document.querySelector("
            f"'form.questions[action*=\"/pairs/{pair}/\"]')"
        )
        WebDriverWait(self.browser, 20).until(lambda browser: browser.execute_script(script))

    def with_keys(self, name: str) -> None:
        """Answer without the mouse."""
        pair = self.pair
        answer, confidence, reason = said(name, pair)
        self.keys(str(1 + ANSWERS.index(answer)), "asdfg"[confidence - 1])
        # When both are answered, the words are next.
        assert self.browser.switch_to.active_element.get_attribute("id") == "reasons"
        self.keys(reason, Keys.ENTER)
        self.next_after(pair)

    def with_mouse(self, name: str) -> None:
        """Answer by clicks, and type but the words."""
        pair = self.pair
        answer, confidence, reason = said(name, pair)
        self.find(f"label:has([name=answer][value={answer}])").click()
        self.find(f"label:has([name=confidence][value='{confidence}'])").click()
        self.find("#reasons").send_keys(reason)
        self.find("button.save").click()
        self.next_after(pair)

    def screen(self, width: int, height: int = 800) -> None:
        """Give the window a size, and below 500 a thumb."""
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )

    def screenshot(self) -> np.ndarray:
        """Return what is seen."""
        data = base64.b64decode(self.browser.get_screenshot_as_base64())
        return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


@pytest.fixture
def visitor(browser: webdriver.Chrome, tmp_path: Path) -> Iterator[Visitor]:
    with serving(tmp_path, "--answers", "3") as server:
        found = Visitor(browser, server)
        found.screen(1280)
        yield found
        browser.delete_all_cookies()


def complaints(browser: webdriver.Chrome) -> list[str]:
    """Return what the browser has to say against the pages, as of what the policy forbids."""
    return [entry["message"] for entry in browser.get_log("browser")]


def test_three_people_vote_and_what_they_say_builds(
    visitor: Visitor, world: World, tmp_path: Path
) -> None:
    visitor.sign_in("Ada")
    for _ in range(6):
        visitor.with_keys("Ada")
    pair = visitor.pair
    visitor.server.kill()
    try:  # The answer is sent to nobody, and the page is lost.
        visitor.keys("1", "g", "lost", Keys.ENTER)
    except WebDriverException as error:
        assert "ERR_CONNECTION" in str(error)
    visitor.server.start()
    visitor.browser.get(f"{visitor.server.address}/vote")
    assert visitor.pair == pair == 6
    assert "6 of your 15" in visitor.find(".progress").text
    while not visitor.is_done():
        visitor.with_keys("Ada")
    visitor.sign_out()
    visitor.sign_in("Ben")
    while not visitor.is_done():
        visitor.with_mouse("Ben")
    visitor.sign_out()
    visitor.screen(390, 844)
    visitor.sign_in("Cy")
    while not visitor.is_done():
        visitor.with_mouse("Cy")
    out = tmp_path / "votes.csv"
    assert export(VotesExport(str(tmp_path / "votes.db"), out), Quiet()) == 3 * PAIRS
    rows = {
        (row.label, row.rank): (row.main_object, row.separate_object, row.background)
        for row in read_votes(out).pairs
    }
    for number, pair_of in enumerate(candidates()):
        answers = [said(name, number)[0] for name in ("Ada", "Ben", "Cy")]
        assert rows[pair_of.label, pair_of.rank] == tuple(map(answers.count, ANSWERS))
    build(world.settings(tmp_path / "data", votes=out), Quiet())
    built = load_dataset(str(tmp_path / "data"), "features", split="train", streaming=True)
    kinds = [row["sub_kind"] or row["kind"] for row in built]
    assert kinds == ["core", "background", "mixed", "core", "core"] * 3
    assert [text for text in complaints(visitor.browser) if "ERR_CONNECTION" not in text] == []


def test_keys_do_all_that_a_mouse_does(visitor: Visitor) -> None:
    visitor.sign_in("Ada")
    visitor.with_keys("Ada")
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
    assert complaints(visitor.browser) == []


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
