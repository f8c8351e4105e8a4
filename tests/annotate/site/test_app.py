"""The pages: what they ask, what they take, and that text stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from builder.annotate.database import Database
from builder.annotate.people import Person, recognise
from tests.annotate.site.conftest import OPINION, VOTE, Opener, Study
from tests.annotate.site.study import candidates

MARKUP = "<script>document.title='planted'</script><img src=x onerror=alert(1)>\"'&{{7*7}}"


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def values(self, name: str) -> list[str]:
        """Return the values of all attributes of a name."""
        return [value for own, value in self.attributes if own == name]


def test_a_vote_leads_to_the_next_pair(study: Study) -> None:
    visitor = study.visitor("Ada")
    assert 'action="/pairs/0/vote"' in visitor.get("/vote").text
    answer = visitor.post("/pairs/0/vote", data=VOTE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/vote")
    page = visitor.get("/vote").text
    assert 'action="/pairs/1/vote"' in page
    assert "Saved: your last answer was main object, confidence 4." in page
    assert "1 of your 15" in page
    (row,) = study.votes
    assert (row["answer"], row["confidence"], row["reasons"]) == ("main_object", 4, "its head")


def test_a_page_shows_each_picture_with_words(study: Study) -> None:
    tags = Tags(study.visitor("Ada").get("/vote").text)
    pictures = [value for value in tags.values("src") if value.startswith("/pictures/")]
    assert len(pictures) == len(set(pictures)) == 3 * 4 + 3
    assert all(tags.values("alt")[: len(pictures)])
    page = study.visitor("Ada").get("/vote").text
    assert page.count("it is gone") == 3
    assert page.count("nothing makes the feature stronger here") == 1


def test_definitions_are_shown_where_there_are_some(open_study: Opener) -> None:
    study = open_study(definitions={"n90000001": "eats <fish>"})
    visitor = study.visitor("Ada")
    assert "eats &lt;fish&gt;" in visitor.get("/vote").text
    for pair in range(5):
        visitor.post(f"/pairs/{pair}/vote", data=VOTE)
    assert 'class="definition"' not in visitor.get("/vote").text


@pytest.mark.parametrize("path", ["/", "/vote", "/maps", "/pairs/0", "/pairs/0/vote", "/nowhere"])
def test_who_sits_there_is_asked_once(
    study: Study, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    visitor = study.visitor("Ada")
    visitor.post("/pairs/0/vote", data=VOTE)
    asked: list[str] = []

    def count(database: Database, key: str) -> Person | None:
        asked.append(key)
        return recognise(database, key)

    monkeypatch.setattr("builder.annotate.site.app.recognise", count)
    visitor.get(path)
    assert len(asked) == 1


def test_undo_shows_the_answer_and_takes_another(study: Study) -> None:
    visitor = study.visitor("Ada")
    visitor.post("/pairs/0/vote", data=VOTE)
    assert 'href="/pairs/0/vote"' in visitor.get("/vote").text
    page = visitor.get("/pairs/0/vote").text
    assert re.search(r'value="main_object" required data-key="1" checked', page)
    assert 'value="its head"' in page
    changed = {**VOTE, "answer": "background", "change": "1"}
    assert visitor.post("/pairs/0/vote", data=changed).is_redirect
    assert [row["answer"] for row in study.votes] == ["background"]


def test_what_is_skipped_is_asked_later(study: Study) -> None:
    visitor = study.visitor("Ada")
    visitor.get("/vote")
    assert visitor.post("/pairs/0/skip").is_redirect
    assert 'action="/pairs/1/vote"' in visitor.get("/vote").text


def test_when_all_is_answered_the_page_says_so(open_study: Opener) -> None:
    study = open_study(candidates()[:2], answers=1)
    ada, ben = study.visitor("Ada"), study.visitor("Ben")
    ada.get("/vote")
    ada.post("/pairs/0/vote", data=VOTE)
    ada.get("/vote")
    waiting = ben.get("/vote").text
    assert "1 pair is left for you" in waiting
    assert 'http-equiv="refresh"' in waiting
    ada.post("/pairs/1/vote", data=VOTE)
    for page in (ada.get("/vote").text, ben.get("/vote").text):
        assert "Done, thank you" in page
        assert "refresh" not in page


@pytest.mark.parametrize("path", ["vote", "maps"])
@pytest.mark.parametrize("unmade", [set(), {4}], ids=["all is done", "pictures are being made"])
def test_who_has_nothing_to_answer_can_undo(
    open_study: Opener, path: str, unmade: set[int]
) -> None:
    study = open_study(candidates()[:2])
    study.exhibits.unmade = unmade
    visitor = study.visitor("Ada")
    assert "Undo" not in visitor.get(f"/{path}").text
    form = VOTE if path == "vote" else OPINION
    for pair in range(2 - len(unmade)):
        visitor.post(f"/pairs/{pair}/{path}", data=form)
    page = visitor.get(f"/{path}").text
    assert f'action="/pairs/1/{path}"' not in page
    assert f'href="/pairs/{1 - len(unmade)}/{path}" data-key="u"' in page
    assert f"your last answer was {'main object' if path == 'vote' else 'same'}, conf" in page


def test_pairs_whose_pictures_are_not_made_come_later(study: Study) -> None:
    study.exhibits.unmade = {pair.feature for pair in candidates() if pair.feature != 24}
    visitor = study.visitor("Ada")
    assert 'action="/pairs/6/vote"' in visitor.get("/vote").text
    visitor.post("/pairs/6/vote", data=VOTE)
    assert "pictures are being made" in " ".join(visitor.get("/vote").text.split())
    assert visitor.get("/pairs/0").status_code == 200


@pytest.mark.parametrize(
    ("path", "form", "status", "sentence"),
    [
        ("/pairs/15/vote", VOTE, 404, "Nobody asks about this pair"),
        ("/pairs/0/vote", {**VOTE, "answer": "neither"}, 400, "Say where the red areas are"),
        ("/pairs/0/vote", {**VOTE, "confidence": "6"}, 400, "Say how sure you are"),
        ("/pairs/0/vote", {**VOTE, "confidence": "4.5"}, 400, "Say how sure you are"),
        ("/pairs/0/vote", {**VOTE, "reasons": " \t "}, 400, "Say in a word or more"),
        ("/pairs/0/vote", {**VOTE, "reasons": "w" * 501}, 400, "in at most 500 letters"),
        ("/pairs/0/vote", {}, 400, "Say where the red areas are"),
        ("/pairs/0/vote", {**VOTE, "reasons": "w" * 70_000}, 413, "say it in fewer words"),
        ("/pairs/0/maps", {**OPINION, "different": "15"}, 400, "There is no such map"),
        ("/pairs/0/maps", {**OPINION, "different": "../x"}, 400, "There is no such map"),
        ("/pairs/0/maps", {**OPINION, "answer": "main_object"}, 400, "whether the maps show"),
        ("/sign-in", {"name": "  "}, 400, "Sign in with a name of 1 to 60 letters"),
    ],
)
def test_what_is_no_answer_is_a_plain_page(
    study: Study, path: str, form: dict[str, Any], status: int, sentence: str
) -> None:
    answer = study.visitor("Ada").post(path, data=form)
    assert answer.status_code == status
    assert sentence in answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert study.votes == study.opinions == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"answer": "main_object"}', "application/json", 415),
        (b"answer=%FF&confidence=4", "application/x-www-form-urlencoded", 400),
        (b"answer=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join([b"a=1"] * 200), "application/x-www-form-urlencoded", 400),
    ],
)
def test_what_is_no_form_is_refused(study: Study, content: bytes, kind: str, status: int) -> None:
    visitor = study.visitor("Ada")
    answer = visitor.post("/pairs/0/vote", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert study.votes == []


def test_an_answer_too_many_is_refused_and_sent_twice_is_one(open_study: Opener) -> None:
    study = open_study(answers=1)
    ada, ben = study.visitor("Ada"), study.visitor("Ben")
    for _ in range(2):
        assert ada.post("/pairs/3/vote", data=VOTE).is_redirect
    for visitor, form, sentence in (
        (ben, VOTE, "Others were faster"),
        (ada, {**VOTE, "answer": "background"}, "You have answered this pair before"),
    ):
        answer = visitor.post("/pairs/3/vote", data=form)
        assert answer.status_code == 409
        assert sentence in answer.text
    assert len(study.votes) == 1


def test_control_characters_do_not_get_in(study: Study) -> None:
    visitor = study.visitor("Ada")
    visitor.post("/pairs/0/vote", data={**VOTE, "reasons": "a\x00\x1b[2J  head\r\nof it"})
    assert [row["reasons"] for row in study.votes] == ["a[2J head of it"]


def test_markup_is_text_wherever_it_comes_from(open_study: Opener) -> None:
    pairs = [pair._replace(name=MARKUP, wnid=f"{MARKUP}{pair.label}") for pair in candidates()]
    study = open_study(pairs, definitions={pair.wnid: MARKUP for pair in pairs})
    visitor = study.visitor(MARKUP[:45])
    form = {**VOTE, "reasons": MARKUP}
    for pair in range(3):
        assert visitor.post(f"/pairs/{pair}/vote", data=form).is_redirect
    visitor.post("/pairs/0/maps", data={**OPINION, "reasons": MARKUP})
    for path in ("/", "/results", "/pairs/0", "/pairs/0/vote", "/pairs/0/maps"):
        page = visitor.get(path).text
        tags = Tags(page)
        assert tags.names.count("script") <= 1
        assert not [name for name, _ in tags.attributes if name.startswith("on")]
        assert "x" not in tags.values("src")
        assert path == "/" or "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "key",
    [
        "..%2f..%2fvotes.db",
        "%2e%2e/%2e%2e/votes.db",
        "../votes.db",
        "....//votes.db",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "votes.db",
        "%00",
        "C:%5Cwindows%5Cwin.ini",
        "0" * 32,
    ],
)
@pytest.mark.parametrize("folder", ["pictures", "static"])
def test_no_path_reaches_the_file_system(study: Study, folder: str, key: str) -> None:
    visitor = study.visitor("Ada")
    visitor.get("/vote")
    answer = visitor.get(f"/{folder}/{key}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "path", ["/pairs/-1", "/pairs/x", "/pairs/1e3", "/pairs/99", "/pairs/9" * 9]
)
def test_a_page_that_is_not_there_is_said_to_be_none(study: Study, path: str) -> None:
    answer = study.visitor("Ada").get(path)
    assert answer.status_code == 404
    assert "There is no such page" in answer.text or "Nobody asks" in answer.text


def test_ids_of_pictures_tell_nothing_of_files(study: Study, pictures: Path) -> None:
    visitor = study.visitor("Ada")
    page = visitor.get("/vote").text
    assert str(pictures) not in page
    ids = re.findall(r'src="/pictures/(\w+)"', page)
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)
    answer = visitor.get(f"/pictures/{ids[0]}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content.startswith(b"\xff\xd8")


def test_a_picture_that_is_gone_is_not_found(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = study.visitor("Ada")
    (key, *_) = re.findall(r'src="(/pictures/\w+)"', visitor.get("/vote").text)
    assert visitor.get(key).status_code == 200
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    assert visitor.get(key).status_code == 404


def test_panels_are_compared_and_their_marks_kept(study: Study) -> None:
    visitor = study.visitor("Ada")
    page = visitor.get("/maps").text
    assert page.count('name="different"') == page.count("<img src=") == 15
    assert visitor.post("/pairs/0/maps", data=OPINION).headers["location"] == "/maps"
    assert [row["different"] for row in study.opinions] == ["3 14"]
    again = visitor.get("/pairs/0/maps").text
    assert re.findall(r'value="(\d+)" checked> different', again) == ["3", "14"]
    assert study.votes == []


def test_results_sum_up_and_lead_to_what_people_disagree_on(study: Study) -> None:
    answers = {"Ada": "main_object", "Ben": "background", "Cy": "separate_object"}
    for name, answer in answers.items():
        visitor = study.visitor(name)
        visitor.post("/pairs/7/vote", data={**VOTE, "answer": answer, "reasons": f"says {name}"})
        visitor.post("/pairs/2/vote", data=VOTE)
    page = study.visitor().get("/results").text
    assert "6 of 75" in page
    assert re.findall(r'href="/pairs/(\d+)"', page)[:2] == ["7", "2"]
    assert re.search(r"50 %\s+<small>of 2</small>", page.replace("</td>", " "))
    pair = study.visitor().get("/pairs/7").text
    assert all(f"says {name}" in pair for name in answers)
    assert "3 of 5 answers" in pair


def test_who_is_still_to_be_asked_does_not_see_what_others_say(study: Study) -> None:
    study.visitor("Ada").post("/pairs/0/vote", data={**VOTE, "reasons": "a fin"})
    ben = study.visitor("Ben")
    assert "a fin" not in ben.get("/pairs/0").text
    ben.post("/pairs/0/vote", data=VOTE)
    assert "a fin" in ben.get("/pairs/0").text


def test_a_long_list_has_pages(open_study: Opener) -> None:
    study = open_study(candidates(classes=25, features=5))
    visitor = study.visitor()
    for query, count in (("", 100), ("?page=2", 25), ("?page=99", 25), ("?page=-1", 100)):
        page = visitor.get(f"/results{query}").text
        assert len(re.findall(r'href="/pairs/\d+"', page)) == count
    assert visitor.get("/results?page=x").status_code == 200


def test_who_signs_out_is_nobody(study: Study) -> None:
    visitor = study.visitor("Ada")
    assert visitor.get("/").headers["location"] == "/vote"
    assert visitor.post("/sign-out").headers["location"] == "/"
    assert visitor.get("/vote").headers["location"] == "/"


def test_an_answer_that_could_not_be_saved_is_not_called_saved(
    study: Study,
) -> None:
    visitor = study.visitor("Ada")
    with study.database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE votes")
    answer = visitor.post("/pairs/0/vote", data=VOTE)
    assert answer.status_code == 503
    assert "This was not saved" in answer.text
