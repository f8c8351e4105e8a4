"""The server as a process that can be killed, and people who answer without a browser."""

from __future__ import annotations

import http.client
import os
import re
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlencode

from tests.forked import PROCESSES


@dataclass
class Server:
    """A server in a process of its own.

    Attributes
    ----------
    words : tuple of str
        The module that serves, and its options but for the port.
    """

    words: tuple[str, ...]
    port: int = 0
    _process: ForkServerProcess | None = None

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, at the port that it had before."""
        words = [*self.words, "--port", str(self.port)]
        with NamedTemporaryFile() as file:
            said = Path(file.name)
            self._process = PROCESSES.Process(target=_serve, args=(words, said, dict(os.environ)))
            self._process.start()
            while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", said.read_text())):
                assert self._process.is_alive(), said.read_text()
                time.sleep(0.02)
        self.port = int(found[1])

    def kill(self) -> None:
        """End it as a power cut would, with SIGKILL."""
        assert self._process
        self._process.kill()
        self._process.join()

    def stop(self) -> None:
        """Press Ctrl-C."""
        assert self._process
        assert self._process.pid
        os.kill(self._process.pid, signal.SIGINT)
        self._process.join(timeout=20)
        assert self._process.exitcode is not None


def _serve(words: list[str], said: Path, environment: dict[str, str]) -> None:
    """Run a module as ``python -m`` does, in a process that has imported PyTorch already."""
    with said.open("wb") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[Server]:
    """Run the server of a study while the block lasts."""
    with running("tests.annotate.site.study", str(directory), *options) as server:
        yield server


@contextmanager
def running(*words: str) -> Iterator[Server]:
    """Run a server while the block lasts."""
    server = Server(words)
    server.start()
    try:
        yield server
    finally:
        server.kill()


Given = tuple[str, int, str]
"""A person, a pair and an answer."""


@dataclass
class Client:
    """Somebody who answers what is asked, and sends again what got no reply.

    Attributes
    ----------
    given : list of (str, int, str)
        Answers that were called saved.
    seconds : list of float
        How long each page took.
    """

    server: Server
    name: str
    choose: Callable[[int], str]
    given: list[Given] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    _cookie: str = ""
    _connection: http.client.HTTPConnection | None = None

    def answer_all(self, most: int = 10**6) -> None:
        """Answer until nothing is left, or so many times."""
        if not self._cookie:
            headers = self._ask("POST", "/sign-in", {"name": self.name})[1]
            self._cookie = headers["set-cookie"].partition(";")[0]
        for _ in range(most):
            start = time.perf_counter()
            page = self._ask("GET", "/vote")[2]
            self.seconds.append(time.perf_counter() - start)
            found = re.search(r'action="/pairs/(\d+)/vote"', page)
            if not found:
                if "Done, thank you" in page:
                    return
                time.sleep(0.05)
                continue
            pair, answer = int(found[1]), self.choose(int(found[1]))
            form = {"answer": answer, "confidence": "3", "reasons": f"{self.name} on {pair}"}
            status = self._ask("POST", f"/pairs/{pair}/vote", form)[0]
            if status == 303:
                self.given.append((self.name, pair, answer))
            else:
                assert status == 409

    def _ask(
        self, method: str, path: str, form: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, str]:
        headers = {
            "Cookie": self._cookie,
            "Origin": self.server.address,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        for _ in range(600):
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection(
                        "127.0.0.1", self.server.port, timeout=30
                    )
                self._connection.request(method, path, urlencode(form or {}), headers)
                reply = self._connection.getresponse()
                return reply.status, reply.headers, reply.read().decode()
            except (OSError, http.client.HTTPException):
                self._connection = None
                time.sleep(0.05)
        raise TimeoutError(path)
