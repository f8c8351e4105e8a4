"""People at a browser: who they are, what they press, and what they see."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions import interaction
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from builder.dataset.votes import ANSWERS
from tests.annotate.site.server import Server
from tests.browser import resize

PATIENCE = 60
"""Seconds that pictures may take to be made."""


class Said(NamedTuple):
    """What somebody answers."""

    answer: str
    confidence: int
    reasons: str


@dataclass
class Visitor:
    """A person at a browser, who presses keys, clicks or taps.

    Attributes
    ----------
    hand : {"keys", "mouse", "thumb"}
        With what this one answers.
    """

    browser: webdriver.Chrome
    server: Server
    hand: str = "keys"

    def until(self, is_true: Callable[[webdriver.Chrome], Any]) -> Any:
        """Wait for something, and return it."""
        return WebDriverWait(self.browser, PATIENCE, poll_frequency=0.02).until(is_true)

    def find(self, selector: str) -> WebElement:
        """Wait for an element."""
        found: WebElement = self.until(lambda one: one.find_element(By.CSS_SELECTOR, selector))
        return found

    def keys(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.browser).send_keys(*keys).perform()

    def press(self, selector: str) -> None:
        """Click, or bring it under the thumb and tap."""
        element = self.find(selector)
        if self.hand != "thumb":
            element.click()
            return
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        thumb = PointerInput(interaction.POINTER_TOUCH, "thumb")
        finger = ActionBuilder(self.browser, thumb, duration=20)
        finger.pointer_action.move_to(element).pointer_down().pointer_up()
        finger.perform()

    def open(self, path: str = "/") -> None:
        """Type an address."""
        self.browser.get(f"{self.server.address}{path}")

    def sign_in(self, name: str) -> None:
        """Begin, or go on."""
        self.open()
        self.find("#name").send_keys(name, Keys.ENTER)
        self.find("form[data-questions], .card h1")

    def sign_out(self) -> None:
        """Leave."""
        self.press(".who button")
        self.find("#name")

    @property
    def pair(self) -> int:
        """Which pair is asked about."""
        action = self.find("form[data-questions]").get_attribute("action") or ""
        return int(action.split("/")[-2])

    def is_asked(self) -> bool:
        """Whether there is something left to answer; waits for pictures that are being made."""
        self.until(lambda browser: browser.title not in ("", "Wait a moment"))
        return "Done" not in self.browser.title

    def answer(self, said: Said) -> None:
        """Answer what is asked, and wait for the next page."""
        pair = self.pair
        if self.hand == "keys":
            self.keys(str(1 + ANSWERS.index(said.answer)), "asdfg"[said.confidence - 1])
            # When both are answered the words are next, unless there are some already.
            if self.browser.switch_to.active_element.get_attribute("id") != "reasons":
                self.keys("r")
            self.keys(said.reasons, Keys.ENTER)
        else:
            self.press(f"label:has([name=answer][value={said.answer}])")
            self.press(f"label:has([name=confidence][value='{said.confidence}'])")
            self.press("#reasons")
            self.find("#reasons").clear()
            self.find("#reasons").send_keys(said.reasons)
            self.press("button.save")
        self.next_after(pair)

    def undo(self) -> None:
        """Go back to the answer before, to change it."""
        if self.hand == "keys":
            self.keys("u")
        else:
            self.press("a[data-key=u]")
        self.find("[name=change]")

    def skip(self) -> None:
        """Be asked about another pair."""
        pair = self.pair
        if self.hand == "keys":
            self.keys("x")
        else:
            self.press("button[form=skip]")
        self.next_after(pair)

    def next_after(self, pair: int) -> None:
        """Wait for another page."""
        script = (
            "return document.readyState === 'complete' && !document.querySelector("
            f"'form[data-questions][action*=\"/pairs/{pair}/\"]')"
        )
        self.until(lambda browser: browser.execute_script(script))

    def screenshot(self) -> np.ndarray:
        """Return what is seen."""
        data = base64.b64decode(self.browser.get_screenshot_as_base64())
        return np.asarray(Image.open(io.BytesIO(data)).convert("L"))

    def complaints(self) -> list[str]:
        """Return what the browser has to say against the pages, as of what the policy forbids."""
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def screen(self, width: int, height: int = 800) -> None:
        """Give the window a size, and a narrow one a thumb."""
        resize(self.browser, width, height)
