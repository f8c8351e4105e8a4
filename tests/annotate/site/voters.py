"""Three people who vote in a browser: each has habits, and the server is killed meanwhile."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.keys import Keys

from builder.annotate.candidates import PairName
from builder.dataset.votes import ANSWERS
from tests.annotate.site.server import Server
from tests.annotate.site.visitor import Said, Visitor


@dataclass(frozen=True)
class Habits:
    """How somebody votes.

    Attributes
    ----------
    name, hand : str
        The latter as of `Visitor`.
    width : int
        Of the window.
    skips, undoes : int
        Of so many pairs one is skipped at first sight, or answered wrongly at first; 0 for none.
    """

    name: str
    hand: str
    width: int
    skips: int = 0
    undoes: int = 0


PEOPLE = (
    Habits("Ada", "keys", 1280, skips=9, undoes=11),
    Habits("Ben", "mouse", 1280, skips=8),
    Habits("Cy \N{WATER WAVE} <b>", "thumb", 390, undoes=7),
)
"""One who has learnt the keys, one who is quick with the mouse, and one with a phone."""

Look = Callable[[Visitor, Habits], tuple[PairName, Said]]
"""Returns the pair that a page is about, and what somebody answers who looks at it."""

Given = dict[tuple[str, str, int], Said]
"""What was answered last, by person, wnid and feature."""


def vote(
    server: Server, browser: webdriver.Chrome, pairs: int, look: Look, screens: Path | None = None
) -> Given:
    """Have all people vote on all pairs, and kill the server in the middle.

    Parameters
    ----------
    server : Server
        Which asks as many people about each pair as there are.
    browser : webdriver.Chrome
    pairs : int
        How many there are.
    look : Look
    screens : Path, optional
        Where to keep what the pages look like.
    """
    given: Given = {}
    for habits in PEOPLE:
        visitor = Visitor(browser, server, habits.hand)
        visitor.screen(habits.width)
        visitor.sign_in(habits.name)
        _vote_on_all(visitor, habits, look, given, screens, middle=len(PEOPLE) * pairs // 2)
        visitor.sign_out()
    assert [text for text in visitor.complaints() if "ERR_CONNECTION" not in text] == []
    return given


def _vote_on_all(
    visitor: Visitor, habits: Habits, look: Look, given: Given, screens: Path | None, middle: int
) -> None:
    skipped: set[PairName] = set()
    place = 0
    while visitor.is_asked():
        place += 1
        if screens and place == 2:
            visitor.browser.save_screenshot(str(screens / f"{habits.hand}.png"))
        if len(given) == middle:
            _kill(visitor)
        pair, said = look(visitor, habits)
        if habits.skips and place % habits.skips == 0 and pair not in skipped:
            skipped.add(pair)
            visitor.skip()
            continue
        if habits.undoes and place % habits.undoes == 0:
            wrong = ANSWERS[ANSWERS.index(said.answer) - 1]
            visitor.answer(Said(wrong, 1, "a slip"))
            visitor.undo()
        visitor.answer(said)
        given[(habits.name, *pair)] = said
    assert bool(skipped) == bool(habits.skips)


def _kill(visitor: Visitor) -> None:
    """End the server while somebody answers, who looks at the same pair when it is back."""
    before = visitor.pair, visitor.find(".progress").text
    visitor.server.kill()
    try:  # The answer is sent to nobody, and the page is lost.
        visitor.press("label:has([name=answer])")
        visitor.press("label:has([name=confidence])")
        visitor.find("#reasons").send_keys("lost", Keys.ENTER)
    except WebDriverException as error:
        assert "ERR_CONNECTION" in str(error)
    visitor.server.start()
    visitor.open("/vote")
    assert (visitor.pair, visitor.find(".progress").text) == before


def exported(path: Path) -> Given:
    """Return what a votes file holds."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    given = {
        (row["WorkerId"], row["Input.wordnet_id"], int(row["Input.feature_index"])): Said(
            row["Answer.main"], int(row["Answer.confidence"]), row["Answer.reasons"]
        )
        for row in rows
    }
    assert len(given) == len(rows)
    return given
