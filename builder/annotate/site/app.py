"""The pages: who is asked what, what is answered, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2
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
    VERDICTS,
    Form,
    opinion_of,
    read_form,
    text_of,
    vote_of,
)
from builder.annotate.site.guard import READ, Access, Guard, set_cookie
from builder.annotate.site.pictures import MEDIA_TYPES, Exhibits, PairName, Pictures, Ready
from builder.annotate.site.results import PAGE, sum_up
from builder.dataset.votes import ANSWERS
from builder.errors import first_line, printable

CONFIDENCES = ("not at all", "slightly", "somewhat", "fairly", "completely")
"""What 1 to 5 mean."""

EXAMPLES = 3
"""Images of the class that are shown beside a question."""

_STATIC = {"vote.js": "text/javascript", "pages.css": "text/css", "icon.svg": "image/svg+xml"}


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
        self._names = [_name(pair) for pair in self._pairs]
        answers = database.answers
        self._votes = Ballots(database, tables.votes, answers)
        self._opinions = Ballots(database, tables.opinions, answers)
        self._pictures = Pictures(access.vote_token)
        self._has_pictures = Ready(lambda number: exhibits.get(self._names[number]) is not None)
        self._has_panel = Ready(lambda number: exhibits.panel(self._names[number]) is not None)
        self._cookie = f"person_{access.study}"
        self._pages = jinja2.Environment(
            loader=jinja2.PackageLoader(__package__, "."),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/", self.home),
                Route("/sign-in", _posted(self.sign_in), methods=["POST"]),
                Route("/sign-out", _posted(self.sign_out), methods=["POST"]),
                Route("/vote", self.vote),
                Route("/pairs/{pair:int}", self.pair),
                Route("/pairs/{pair:int}/vote", self.change_vote),
                Route("/pairs/{pair:int}/vote", _posted(self.cast_vote), methods=["POST"]),
                Route("/pairs/{pair:int}/skip", _posted(self.skip_vote), methods=["POST"]),
                Route("/maps", self.maps),
                Route("/pairs/{pair:int}/maps", self.change_opinion),
                Route("/pairs/{pair:int}/maps", _posted(self.cast_opinion), methods=["POST"]),
                Route("/pairs/{pair:int}/skip-maps", _posted(self.skip_maps), methods=["POST"]),
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

    # Voting

    def vote(self, request: Request) -> Response:
        """Ask about the next pair."""
        person = self._person(request)
        if not person:
            return RedirectResponse("/", 303)
        number = self._votes.next(person.id, self._has_pictures)
        if number is None:
            return self._nothing_left(request, self._votes, "vote")
        return self._vote_page(request, person, number, None)

    def change_vote(self, request: Request) -> Response:
        """Show an earlier vote, to be changed."""
        person, number = self._known(request), self._number(request)
        before = self._votes.of(person.id, number)
        if not before:
            raise RefusedError(404, "You have not answered this pair.")
        return self._vote_page(request, person, number, before)

    def cast_vote(self, request: Request, form: Form) -> Response:
        """Take a vote, and ask about the next pair."""
        self._cast(request, form, self._votes, vote_of(form))
        return RedirectResponse("/vote", 303)

    def skip_vote(self, request: Request, _form: Form) -> Response:
        """Ask about another pair."""
        self._votes.skip(self._known(request).id, self._number(request))
        return RedirectResponse("/vote", 303)

    def _vote_page(
        self, request: Request, person: Person, number: int, before: dict[str, Any] | None
    ) -> Response:
        pair = self._pairs[number]
        return self._page(
            "vote.html.jinja",
            request,
            number=number,
            before=before,
            earlier=self._votes.last(person.id, before["at"] if before else None),
            progress=self._votes.progress(person.id),
            words=self._votes.words(person.id),
            **self._shown(pair),
        )

    # The study of maps

    def maps(self, request: Request) -> Response:
        """Ask about the next panel of maps."""
        person = self._person(request)
        if not person:
            return RedirectResponse("/", 303)
        number = self._opinions.next(person.id, self._has_panel)
        if number is None:
            return self._nothing_left(request, self._opinions, "maps")
        return self._maps_page(request, person, number, None)

    def change_opinion(self, request: Request) -> Response:
        """Show an earlier opinion, to be changed."""
        person, number = self._known(request), self._number(request)
        before = self._opinions.of(person.id, number)
        if not before:
            raise RefusedError(404, "You have not answered this panel.")
        return self._maps_page(request, person, number, before)

    def cast_opinion(self, request: Request, form: Form) -> Response:
        """Take an opinion, and ask about the next panel."""
        self._cast(request, form, self._opinions, opinion_of(form))
        return RedirectResponse("/maps", 303)

    def skip_maps(self, request: Request, _form: Form) -> Response:
        """Ask about another panel."""
        self._opinions.skip(self._known(request).id, self._number(request))
        return RedirectResponse("/maps", 303)

    def _maps_page(
        self, request: Request, person: Person, number: int, before: dict[str, Any] | None
    ) -> Response:
        pair = self._pairs[number]
        panel = self._exhibits.panel(_name(pair))
        parts = (panel.highest, panel.middle, panel.lowest) if panel else ()
        return self._page(
            "maps.html.jinja",
            request,
            number=number,
            pair=pair,
            before=before,
            ticked=before["different"].split() if before else [],
            sections=[
                [(self._pictures.url(shown.heat), shown.problem) for shown in part]
                for part in parts
            ],
            earlier=self._opinions.last(person.id, before["at"] if before else None),
            progress=self._opinions.progress(person.id),
            words=self._opinions.words(person.id),
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
        if request.state.role == READ:
            return None
        key = request.cookies.get(self._cookie)
        return recognise(self._database, key) if key else None

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

    def _cast(self, request: Request, form: Form, ballots: Ballots, values: dict[str, Any]) -> None:
        person, change = self._known(request), bool(form.get("change"))
        ballots.cast(person.id, self._number(request), values, change=change)

    def _shown(self, pair: Candidate) -> dict[str, Any]:
        exhibit, url = self._exhibits.get(_name(pair)), self._pictures.url
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

    def _nothing_left(self, request: Request, ballots: Ballots, page: str) -> Response:
        """Say why a person is asked nothing: all is done, or others look, or pictures are made."""
        progress = ballots.progress(self._known(request).id)
        return self._page(
            "done.html.jinja",
            request,
            progress=progress,
            topic=page,
            trouble=self._trouble() if progress.left else None,
        )

    def _page(self, name: str, request: Request, status: int = 200, **values: Any) -> Response:
        html = self._pages.get_template(name).render(
            person=self._person(request),
            wanted=self._votes.answers,
            answers=ANSWERS,
            verdicts=VERDICTS,
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


def _name(pair: Candidate) -> PairName:
    return pair.wnid, pair.feature


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
