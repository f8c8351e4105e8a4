"""Who is let in: other hosts, other sites, tokens, and what browsers may do with a page."""

from __future__ import annotations

import re

import pytest

from tests.annotate.site.conftest import ADDRESS, VOTE, Opener, Study

ELSEWHERE = "http://192.0.2.7:8077"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8077", 200),
        ("localhost:9000", 200),  # Through a tunnel the port is another one.
        ("[::1]:8077", 200),
        ("LOCALHOST.", 200),
        ("evil.example", 421),
        ("evil.example:8077", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example#@127.0.0.1", 421),
        ("[127.0.0.1", 421),
        ("192.168.1.5", 421),
        ("", 421),
    ],
)
def test_pages_are_for_the_names_of_this_machine(study: Study, host: str, status: int) -> None:
    """A page of elsewhere whose name points here (DNS rebinding) has another Host."""
    assert study.visitor().get("/", headers={"host": host}).status_code == status


FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "http://127.0.0.1:8078"},
    {"origin": "http://127.0.0.1:8077.evil.example"},
    {"origin": "http://127.0.0.1:8077@evil.example"},
    {"origin": "null"},
    {"origin": "http://["},
    {"sec-fetch-site": "cross-site", "origin": ADDRESS},
    {"sec-fetch-site": "same-site", "origin": ADDRESS},
    {"sec-fetch-site": "none", "origin": ADDRESS},
    {"sec-fetch-site": "same-origin", "origin": "http://evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=range(len(FOREIGN)))
@pytest.mark.parametrize("path", ["/pairs/0/vote", "/pairs/0/skip", "/sign-in", "/sign-out"])
def test_posts_from_other_sites_change_nothing(
    study: Study, headers: dict[str, str], path: str
) -> None:
    visitor = study.visitor("Ada")
    answer = visitor.post(path, data={**VOTE, "name": "Eve"}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert study.votes == []
    assert "Ada" in visitor.get("/vote").text


def test_a_post_that_tells_no_origin_is_refused(study: Study) -> None:
    visitor = study.visitor("Ada")
    del visitor.headers["origin"]
    assert visitor.post("/pairs/0/vote", data=VOTE).status_code == 403
    assert visitor.post(
        "/pairs/0/vote", data=VOTE, headers={"sec-fetch-site": "same-origin"}
    ).is_redirect
    assert len(study.votes) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_refused(study: Study, method: str) -> None:
    assert study.visitor("Ada").request(method, "/pairs/0/vote").status_code == 405


@pytest.mark.parametrize("path", ["/", "/vote", "/results", "/pairs/0", "/nowhere", "/static/x"])
def test_every_page_tells_browsers_what_it_may_do(study: Study, path: str) -> None:
    headers = study.visitor("Ada").get(path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["img-src"] == "'self'"
    assert policy["form-action"] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_cookies_are_not_for_scripts_or_other_sites(study: Study) -> None:
    cookie = study.visitor().post("/sign-in", data={"name": "Ada"}).headers["set-cookie"]
    assert cookie.startswith(f"person_{study.access.study}=")
    assert {"httponly", "samesite=lax", "path=/"} <= set(cookie.lower().split("; "))
    assert "Ada" not in cookie


@pytest.mark.parametrize("cookie", ["", "x", "Ada", "' OR 1=1 --", "%00"])
def test_a_made_up_cookie_is_nobody(study: Study, cookie: str) -> None:
    study.visitor("Ada")
    stranger = study.visitor()
    headers = {"cookie": f"person_{study.access.study}={cookie}"}
    assert stranger.get("/vote", headers=headers).headers["location"] == "/"
    answer = stranger.post("/pairs/0/vote", data=VOTE, headers=headers)
    assert answer.status_code == 401
    assert study.votes == []


class TestOnANetwork:
    """With another address than this machine's own, links have tokens."""

    @pytest.fixture
    def study(self, open_study: Opener) -> Study:
        return open_study(host="0.0.0.0")

    @pytest.mark.parametrize("path", ["/", "/vote", "/results", "/pairs/0", "/static/vote.js"])
    @pytest.mark.parametrize("token", [None, "", "x", "\u00e9", "a" * 10_000])
    def test_nobody_comes_in_without_one(self, study: Study, path: str, token: str | None) -> None:
        params = {} if token is None else {"token": token}
        answer = study.visitor(address=ELSEWHERE).get(path, params=params)
        assert answer.status_code == 403
        assert "Use the whole link" in answer.text

    def test_a_link_opens_and_its_token_leaves_the_address(self, study: Study) -> None:
        visitor = study.visitor(address=ELSEWHERE)
        answer = visitor.get("/", params={"token": study.access.vote_token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "httponly" in answer.headers["set-cookie"].lower()
        assert visitor.post("/sign-in", data={"name": "Ada"}).is_redirect
        assert visitor.post("/pairs/0/vote", data=VOTE).is_redirect
        assert len(study.votes) == 1

    @pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "/%5C%5Cevil.example"])
    def test_a_link_leads_nowhere_else(self, study: Study, path: str) -> None:
        answer = study.visitor(address=ELSEWHERE).get(
            f"{ELSEWHERE}{path}?token={study.access.vote_token}"
        )
        assert re.match(r"/[^/\\]", answer.headers["location"])

    def test_who_may_look_may_not_vote(self, study: Study) -> None:
        visitor = study.visitor(address=ELSEWHERE)
        assert visitor.get("/results", params={"token": study.access.read_token}).is_redirect
        assert visitor.get("/results").status_code == 200
        assert visitor.get("/pairs/0").status_code == 200
        assert visitor.get("/").headers["location"] == "/results"
        for path in ("/vote", "/maps", "/pairs/0/../../vote"):
            assert visitor.get(path).status_code == 403
        for path in ("/sign-in", "/pairs/0/vote", "/pairs/0/skip", "/results"):
            assert visitor.post(path, data={**VOTE, "name": "Eve"}).status_code == 403
        assert study.votes == []

    @pytest.mark.parametrize(
        ("host", "status"), [("192.0.2.7", 200), ("localhost", 200), ("evil.example", 421)]
    )
    def test_other_names_are_refused_there_too(self, study: Study, host: str, status: int) -> None:
        visitor = study.visitor(address=ELSEWHERE)
        visitor.cookies.set(study.access.cookie, study.access.vote_token)
        assert visitor.get("/", headers={"host": host}).status_code == status
