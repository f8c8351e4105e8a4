"""The server: what it needs is opened, a port is found, and people are told where to go."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import uvicorn
from starlette.types import ASGIApp

from builder.annotate.candidates import PairName
from builder.annotate.site.guard import Access
from builder.annotate.site.pictures import Exhibits
from builder.errors import BuildError, Stopped, first_line, printable
from builder.reporter import Reporter

_PORTS = 20
"""How many ports are tried, one after the other."""


def bind(host: str, port: int, reporter: Reporter) -> socket.socket:
    """Return a socket at the port, or at the next one that is free.

    Raises
    ------
    BuildError
        If none is, or the address is not this machine's.
    """
    for number in range(port, min(port + _PORTS, 2**16)):
        bound = _bound(host, number)
        if bound:
            found = bound.getsockname()[1]
            if port not in (0, found):
                reporter.say(f"Port {port} is in use: this is on port {found}.")
            return bound
    raise BuildError(f"The ports from {port} on are in use: give --port another one.")


def _bound(host: str, port: int) -> socket.socket | None:
    """Return a socket, None where the port is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        # Only if it knows that this is TCP, asyncio sends at once, and not 40 ms later.
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise BuildError(
            f"--host {printable(host)} is no address ({first_line(error)})."
        ) from error
    try:
        # So that a server that was just stopped can start again at once.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except PermissionError as error:
        bound.close()
        raise BuildError(f"Port {port} may not be used: give --port one from 1024 on.") from error
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise BuildError(
            f"--host {printable(host)} is no address of this machine ({error.strerror})."
        ) from error
    return bound


def addresses(access: Access, port: int) -> dict[str, str]:
    """Return where people vote, and where they look at results."""
    wild = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}  # noqa: S104
    host = wild.get(access.host, access.host)
    base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if access.is_local:
        return {"vote": f"{base}/", "results": f"{base}/results"}
    return {
        "vote": f"{base}/?token={access.vote_token}",
        "results": f"{base}/results?token={access.read_token}",
    }


class _StoppableReporter:
    """Tells the user how it goes, and who tells it that to stop where it is."""

    def __init__(self, reporter: Reporter, stopped: threading.Event) -> None:
        self._reporter, self._stopped = reporter, stopped

    def say(self, text: str) -> None:
        self._reporter.say(text)

    @contextmanager
    def track(
        self, title: str, total: int | None = None, done: int = 0
    ) -> Iterator[Callable[[int], None]]:
        with self._reporter.track(title, total, done) as advance:

            def advance_or_stop(count: int) -> None:
                advance(count)
                if self._stopped.is_set():
                    raise Stopped

            yield advance_or_stop


class BackgroundMaker:
    """Makes pictures while people vote.

    Parameters
    ----------
    exhibits : Exhibits
    pairs : sequence of (str, int)
    reporter : Reporter
    """

    def __init__(self, exhibits: Exhibits, pairs: Sequence[PairName], reporter: Reporter) -> None:
        self._exhibits, self._pairs, self._reporter = exhibits, pairs, reporter
        self._trouble: str | None = None
        self._stopped = threading.Event()
        # What is made is whole or not there, so that the process may end at any time.
        self._thread = threading.Thread(target=self._make, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no other picture; those under way may take minutes."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def trouble(self) -> str | None:
        """Return why pictures are no longer made, None where they are, or all are there."""
        return self._trouble

    def _make(self) -> None:
        try:
            self._exhibits.make(self._pairs, _StoppableReporter(self._reporter, self._stopped))
        except (Stopped, KeyboardInterrupt):
            return
        except BuildError as error:
            self._trouble = str(error)
        except Exception as error:
            self._trouble = f"The pictures could not all be made: {first_line(error)}"
            raise
        finally:
            if self._trouble:
                self._reporter.say(self._trouble)


def run(app: ASGIApp, bound: socket.socket, on_start: Callable[[], None]) -> None:
    """Serve until somebody presses Ctrl-C, or sends SIGTERM."""
    # Two headers of one name are an error to h11, and not to others.
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    with closing(bound):
        _Server(config, on_start).run(sockets=[bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()


def open_browser(address: str) -> None:
    """Show a page, if there is a screen: in a terminal a browser would take it over."""
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        return
    threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
