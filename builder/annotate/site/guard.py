"""Who is let in: hosts, tokens, posts from our own pages; and what browsers may do with pages."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

VOTE, READ = "vote", "read"
"""What a visitor may do: all, or look at results."""

_TOKEN = "token"  # noqa: S105 (the name of it)
_READABLE = ("/results", "/pairs/", "/pictures/", "/static/")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Without any, browsers would not tell the origin of our own posts either.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Access:
    """How the server is reached.

    Attributes
    ----------
    host : str
        The address that it binds to.
    study : str
        What tells the cookies of these answers from those of others, on another port.
    vote_token, read_token : str
        What a link must hold where the server can be reached from other machines.
    """

    host: str
    study: str
    vote_token: str
    read_token: str

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def cookie(self) -> str:
        """The name of the cookie that keeps the token."""
        return f"token_{self.study}"

    def role_of(self, token: str) -> str | None:
        """Return what the bearer of a token may do."""
        given = token.encode()
        for role, own in ((VOTE, self.vote_token), (READ, self.read_token)):
            if secrets.compare_digest(given, own.encode()):
                return role
        return None

    def knows(self, header: str) -> bool:
        """Return whether a Host header names this server.

        A page of elsewhere may have the name of its own host point here, and be taken for ours:
        only its name is not among these.
        """
        try:
            name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if is_loopback(name) or name == self.host.lower():
            return True
        return not self.is_local and (_is_address(name) or name in _own_names())


def is_loopback(host: str) -> bool:
    """Return whether an address is only this machine's."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, f"{name}.local", socket.getfqdn().lower()}


class Guard:
    """Lets in who may come in, and tells browsers what pages may do.

    Parameters
    ----------
    app : ASGI application
    access : Access
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the application answer it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        app = self._refusal(Request(scope)) or self._app
        await app(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """Return what is answered in place of the application, None where it may answer."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not self._access.knows(hosts[0]):
            return _plain(421, "This server has another name: use the link that it printed.")
        if request.method not in ("GET", "HEAD", "POST"):
            return _plain(405, "Pages are read and answered, and nothing else.")
        if request.method == "POST" and not is_from_here(request.headers):
            return _plain(403, "Answers are taken from the pages of this server alone.")
        return self._token_refusal(request)

    def _token_refusal(self, request: Request) -> Response | None:
        if self._access.is_local:
            request.state.role = VOTE
            return None
        query = parse_qsl(request.url.query)
        given = next((value for name, value in query if name == _TOKEN), None)
        role = self._access.role_of(given or request.cookies.get(self._access.cookie, ""))
        if role is None:
            return _plain(403, "Use the whole link that you were given: its token is missing.")
        if given and request.method != "POST":
            return self._without_token(request, query, given)
        request.state.role = role
        return None if role == VOTE else _reader_refusal(request)

    def _without_token(
        self, request: Request, query: list[tuple[str, str]], given: str
    ) -> Response:
        """Keep the token in a cookie, and out of histories and of what is copied from there."""
        others = urlencode([(name, value) for name, value in query if name != _TOKEN])
        # Two slashes at the start would be the name of another host.
        path = "/" + request.url.path.lstrip("/\\")
        response = RedirectResponse(path + (f"?{others}" if others else ""), 303)
        set_cookie(response, self._access.cookie, given)
        return response


def _reader_refusal(request: Request) -> Response | None:
    """Return what keeps those out of other pages who may look at results."""
    if request.method != "POST" and request.url.path.startswith(_READABLE):
        return None
    if request.url.path == "/":
        return RedirectResponse("/results", 303)
    return _plain(403, "Your link is for looking at results: ask for the one to vote.")


def is_from_here(headers: Headers) -> bool:
    """Return whether a post comes from a page of this server.

    Browsers tell the origin of each post, and addresses that they trust hear too whether that is
    the same. What tells neither is no browser's form.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None and origin is None:
        return False
    try:
        same = origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False
    return same and site in (None, "same-origin")


def set_cookie(response: Response, name: str, value: str) -> None:
    """Set a cookie that scripts cannot read, and that pages of elsewhere cannot post with."""
    response.set_cookie(
        name, value, max_age=180 * 24 * 3600, httponly=True, samesite="lax", path="/"
    )


def _plain(status: int, sentence: str) -> Response:
    return Response(f"{sentence}\n", status, media_type="text/plain")
