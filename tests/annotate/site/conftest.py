"""A study, and visitors to its pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from builder.annotate import database as tables
from builder.annotate.ballots import Ballots
from builder.annotate.candidates import Candidate
from builder.annotate.database import Database
from builder.annotate.site.app import Site
from builder.annotate.site.guard import Access
from tests.annotate.site.study import PaintedExhibits, begin, candidates

ADDRESS = "http://127.0.0.1:8077"
VOTE = {"answer": "main_object", "confidence": "4", "reasons": "its head"}
OPINION = {"answer": "same", "different": ["3", "14"], "confidence": "4", "reasons": "wings"}


@dataclass
class Study:
    """A study whose pages can be asked for without a network."""

    database: Database
    exhibits: PaintedExhibits
    access: Access
    definitions: dict[str, str]

    def visitor(self, name: str | None = None, address: str = ADDRESS) -> TestClient:
        """Return a browser's client, signed in if it has a name, with which posts come from us."""
        site = Site(self.database, self.exhibits, self.access, self.definitions)
        client = TestClient(site.app(), base_url=address, follow_redirects=False)
        client.headers["origin"] = address
        client.headers["content-type"] = "application/x-www-form-urlencoded"
        if name:
            assert client.post("/sign-in", data={"name": name}).status_code == 303
        return client

    @property
    def votes(self) -> list[dict[str, Any]]:
        """What is in the database."""
        return Ballots(self.database, tables.votes, 5).all()

    @property
    def opinions(self) -> list[dict[str, Any]]:
        """What is in the database."""
        return Ballots(self.database, tables.opinions, 5).all()


Opener = Callable[..., Study]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where painted pictures lie."""
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture
def open_study(tmp_path: Path, pictures: Path) -> Opener:
    """Return what opens a study, on 127.0.0.1 unless it is told otherwise."""

    def open_one(
        pairs: list[Candidate] | None = None,
        answers: int = 5,
        host: str = "127.0.0.1",
        definitions: dict[str, str] | None = None,
    ) -> Study:
        database = begin(tmp_path / "votes.db", answers, pairs or candidates())
        access = Access(
            host, database.fact("id"), database.fact("vote_token"), database.fact("read_token")
        )
        exhibits = PaintedExhibits(pictures)
        return Study(database, exhibits, access, definitions or {})

    return open_one


@pytest.fixture
def study(open_study: Opener) -> Study:
    """Return a study on this machine."""
    return open_study()
