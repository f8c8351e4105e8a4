"""The pages: who is asked what, what is answered, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import resources
from typing import Any, NamedTuple

from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from builder.annotate import database as tables
from builder.annotate.ballots import Ballots, RefusedError
from builder.annotate.candidates import Candidate
from builder.annotate.database import Database
from builder.annotate.people import Person, names, recognise, sign_in
from builder.annotate.site.forms import (
    LONGEST_REASON,
    Form,
    opinion_of,
    read_form,
    text_of,
    vote_of,
)
from builder.annotate.site.guard import READ, Access, Guard, set_cookie
from builder.annotate.site.pictures import MEDIA_TYPES, Exhibits, Pictures, Ready
from builder.annotate.site.results import PAGE, sum_up
from builder.dataset.votes import ANSWERS
from builder.errors import first_line, printable
from builder.templates import environment

CONFIDENCES = ("not at all", "slightly", "somewhat", "fairly", "completely")
"""What 1 to 5 mean."""

EXAMPLES = 3
"""Images of the class that are shown beside a question."""

_STATIC = {"vote.js": "text/javascript", "pages.css": "text/css", "icon.svg": "image/svg+xml"}


class _Topic(NamedTuple):
    """A question that people are asked about each pair.

    Attributes
    ----------
    path, skipping : str
        Of its pages, and of what skips a pair.
    shown : str
        What it is about, in a sentence.
    ballots : Ballots
    is_ready : Ready
    read : callable
        Returns the columns of an answer from a form.
    show : callable
        Returns what its page has of a pair, and of the answer that is to be changed.
    """

    path: str
    skipping: str
    shown: str
    ballots: Ballots
    is_ready: Ready
    read: Callable[[Form], dict[str, Any]]
    show: Callable[[Candidate, dict[str, Any] | None], dict[str, Any]]


class Site:
    """The pages of one study.

    Parameters
    ----------
    database : Database
    exhibits : Exhibits
    access : Access
    definitions : mapping of str to str
        Of classes, by wnid.
    trouble : callable, optional
        Says why pictures are no longer made, if they are not.
    """

    def __init__(
        self,
        database: Database,
        exhibits: Exhibits,
        access: Access,
        definitions: Mapping[str, str],
        trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._database, self._exhibits, self._access = database, exhibits, access
        self._definitions, self._trouble = definitions, trouble
        self._pairs: Sequence[Candidate] = database.all_pairs()
        answers = database.answers
        self._votes = Ballots(database, tables.votes, answers)
        self._opinions = Ballots(database, tables.opinions, answers)
        self._pictures = Pictures(access.vote_token)
        self._voting = _Topic(
            "vote",
            "skip",
            "pair",
            self._votes,
            Ready(lambda number: exhibits.get(self._pairs[number].key) is not None),
            vote_of,
            self._shown,
        )
        self._comparing = _Topic(
            "maps",
            "skip-maps",
            "panel",
            self._opinions,
            Ready(lambda number: exhibits.panel(self._pairs[number].key) is not None),
            opinion_of,
            self._panel,
        )
        self._cookie = f"person_{access.study}"
        self._pages = environment(__package__)

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/", self.home),
                Route("/sign-in", _posted(self.sign_in), methods=["POST"]),
                Route("/sign-out", _posted(self.sign_out), methods=["POST"]),
                Route("/pairs/{pair:int}", self.pair),
                *self._routes(self._voting),
                *self._routes(self._comparing),
                Route("/results", self.results),
                Route("/pictures/{key}", self.picture),
                Route("/static/{name}", _static),
            ],
            exception_handlers={
                RefusedError: self._refused,
                HTTPException: self._no_page,
                DBAPIError: self._not_saved,
            },
            middleware=[Middleware(Guard, access=self._access)],
        )

    def _routes(self, topic: _Topic) -> list[Route]:
        own = f"/pairs/{{pair:int}}/{topic.path}"
        skipping = f"/pairs/{{pair:int}}/{topic.skipping}"
        return [
            Route(f"/{topic.path}", partial(self.ask, topic)),
            Route(own, partial(self.change, topic)),
            Route(own, _posted(partial(self.cast, topic)), methods=["POST"]),
            Route(skipping, _posted(partial(self.skip, topic)), methods=["POST"]),
        ]

    # Signing in

    def home(self, request: Request) -> Response:
        """Ask for a name, or go on."""
        if self._person(request):
            return RedirectResponse("/vote", 303)
        return self._page("sign_in.html.jinja", request)

    def sign_in(self, _request: Request, form: Form) -> Response:
        """Take a name."""
        try:
            person = sign_in(self._database, text_of(form, "name"))
        except ValueError as error:
            raise RefusedError(400, str(error)) from error
        response = RedirectResponse("/vote", 303)
        set_cookie(response, self._cookie, person.key)
        return response

    def sign_out(self, _request: Request, _form: Form) -> Response:
        """Forget who sits there."""
        response = RedirectResponse("/", 303)
        response.delete_cookie(self._cookie)
        return response

    # Voting, and the study of maps

    def ask(self, topic: _Topic, request: Request) -> Response:
        """Ask about the next pair."""
        person = self._person(request)
        if not person:
            return RedirectResponse("/", 303)
        number = topic.ballots.next(person.id, topic.is_ready)
        if number is None:
            return self._nothing_left(topic, request)
        return self._question(topic, request, person, number, None)

    def change(self, topic: _Topic, request: Request) -> Response:
        """Show an earlier answer, to be changed."""
        person, number = self._known(request), self._number(request)
        before = topic.ballots.of(person.id, number)
        if not before:
            raise RefusedError(404, f"You have not answered this {topic.shown}.")
        return self._question(topic, request, person, number, before)

    def cast(self, topic: _Topic, request: Request, form: Form) -> Response:
        """Take an answer, and ask about the next pair."""
        values = topic.read(form)
        person, is_change = self._known(request), bool(form.get("change"))
        topic.ballots.cast(person.id, self._number(request), values, change=is_change)
        return RedirectResponse(f"/{topic.path}", 303)

    def skip(self, topic: _Topic, request: Request, _form: Form) -> Response:
        """Ask about another pair."""
        topic.ballots.skip(self._known(request).id, self._number(request))
        return RedirectResponse(f"/{topic.path}", 303)

    def _question(
        self,
        topic: _Topic,
        request: Request,
        person: Person,
        number: int,
        before: dict[str, Any] | None,
    ) -> Response:
        return self._page(
            f"{topic.path}.html.jinja",
            request,
            number=number,
            before=before,
            earlier=topic.ballots.last(person.id, before["at"] if before else None),
            progress=topic.ballots.progress(person.id),
            words=topic.ballots.words(person.id),
            **topic.show(self._pairs[number], before),
        )

    # What came of it

    def results(self, request: Request) -> Response:
        """Sum up what was answered."""
        found = sum_up(self._pairs, self._votes, self._opinions)
        pages = -(-len(self._pairs) // PAGE)
        text = request.query_params.get("page", "1")
        page = min(pages, max(1, int(text))) if text.isdecimal() and len(text) < 9 else 1
        return self._page(
            "results.html.jinja",
            request,
            found=found,
            lines=found.lines(page),
            number=page,
            pages=pages,
            names=names(self._database),
        )

    def pair(self, request: Request) -> Response:
        """Show a pair, and its votes with their reasons.

        Who is still to be asked does not see what others answered.
        """
        number, person = self._number(request), self._person(request)
        votes = self._votes.on(number)
        asked = (
            person is not None
            and len(votes) < self._votes.answers
            and all(vote["person"] != person.id for vote in votes)
        )
        return self._page(
            "pair.html.jinja",
            request,
            number=number,
            votes=votes,
            opinions=self._opinions.on(number),
            asked=asked,
            names=names(self._database),
            **self._shown(self._pairs[number]),
        )

    # Files

    def picture(self, request: Request) -> Response:
        """Send a picture that a page shows."""
        path = self._pictures.path(request.path_params["key"])
        if path is None:
            raise HTTPException(404)
        return FileResponse(
            path,
            media_type=MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream"),
            # The id is that of the file, and a file is never made again.
            headers={"Cache-Control": "private, max-age=86400, immutable"},
        )

    # What they have in common

    def _person(self, request: Request) -> Person | None:
        """Return who sits there, which the database is asked once for each request."""
        if not hasattr(request.state, "person"):
            key = request.cookies.get(self._cookie)
            may_vote = request.state.role != READ
            request.state.person = recognise(self._database, key) if key and may_vote else None
        person: Person | None = request.state.person
        return person

    def _known(self, request: Request) -> Person:
        person = self._person(request)
        if not person:
            raise RefusedError(401, "Sign in first: nobody is signed in.")
        return person

    def _number(self, request: Request) -> int:
        number: int = request.path_params["pair"]
        if number >= len(self._pairs):
            raise RefusedError(404, "Nobody asks about this pair.")
        return number

    def _panel(self, pair: Candidate, before: dict[str, Any] | None) -> dict[str, Any]:
        panel = self._exhibits.panel(pair.key)
        parts = (panel.highest, panel.middle, panel.lowest) if panel else ()
        return {
            "pair": pair,
            "ticked": before["different"].split() if before else [],
            "sections": [
                [(self._pictures.url(shown.heat), shown.problem) for shown in part]
                for part in parts
            ],
        }

    def _shown(self, pair: Candidate, _before: dict[str, Any] | None = None) -> dict[str, Any]:
        exhibit, url = self._exhibits.get(pair.key), self._pictures.url
        examples = self._exhibits.examples(pair.wnid) or ()
        return {
            "pair": pair,
            "definition": self._definitions.get(pair.wnid),
            "images": [
                {
                    "name": shown.image_id,
                    "image": url(shown.image),
                    "heat": url(shown.heat),
                    "attack": url(shown.attack),
                    "unmoved": shown.unmoved,
                    "problem": shown.problem,
                }
                for shown in (exhibit.images if exhibit else ())
            ],
            "examples": [url(path) for path in examples[:EXAMPLES]],
        }

    def _nothing_left(self, topic: _Topic, request: Request) -> Response:
        """Say why a person is asked nothing: all is done, or others look, or pictures are made."""
        person = self._known(request).id
        progress = topic.ballots.progress(person)
        return self._page(
            "done.html.jinja",
            request,
            progress=progress,
            earlier=topic.ballots.last(person),
            topic=topic.path,
            trouble=self._trouble() if progress.left else None,
        )

    def _page(self, name: str, request: Request, status: int = 200, **values: Any) -> Response:
        html = self._pages.get_template(name).render(
            person=self._person(request),
            wanted=self._votes.answers,
            answers=ANSWERS,
            verdicts=tables.VERDICTS,
            confidences=CONFIDENCES,
            longest=LONGEST_REASON,
            **values,
        )
        return HTMLResponse(html, status)

    def _refused(self, request: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, RefusedError) else 500
        return self._page("refused.html.jinja", request, status, sentence=str(error))

    def _not_saved(self, request: Request, error: Exception) -> Response:
        # Pages would ask the database who sits there.
        return HTMLResponse(
            self._pages.get_template("unsaved.html.jinja").render(
                reason=printable(first_line(error))
            ),
            503,
        )

    def _no_page(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        sentences = {404: "There is no such page.", 405: "This page takes no such request."}
        sentence = sentences.get(status, "This cannot be answered.")
        return self._page("refused.html.jinja", request, status, sentence=sentence)


def _posted(take: Callable[[Request, Form], Response]) -> Callable[[Request], Any]:
    """Return an endpoint that reads a form, and takes it in a thread: databases wait for disks."""

    async def endpoint(request: Request) -> Response:
        form = await read_form(request)
        return await run_in_threadpool(take, request, form)

    return endpoint


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise HTTPException(404)
    content = (resources.files(__package__) / name).read_bytes()
    return Response(
        content,
        media_type=_STATIC[name],
        headers={"Cache-Control": "private, max-age=0, must-revalidate"},
    )
