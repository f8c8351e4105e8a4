"""Where answers are kept: tables in SQLite, a file, or in another database named by its URL."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from builder.annotate.candidates import Candidate
from builder.dataset.votes import ANSWERS
from builder.errors import BuildError, printable

FORMAT = "1"
"""Of the tables; another one is refused."""

_PATIENCE_SECONDS = 30
"""How long a transaction waits for another one's end."""

_HEADER = b"SQLite format 3\x00"

metadata = sa.MetaData()

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
"""What the answers are about: the network, how many answers a pair gets, and the links' tokens."""

pairs = sa.Table(
    "pairs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("wnid", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("feature", sa.Integer, nullable=False),
    sa.Column("images", sa.String, nullable=False),
    sa.UniqueConstraint("label", "feature"),
)
"""The rows of the table that `discover` wrote, in its order; images are a list in JSON."""

people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("folded", sa.String, nullable=False, unique=True),
    sa.Column("key", sa.String, nullable=False, unique=True),
)
"""Who votes: a name, the form of it in which two names are compared, and the cookie's value."""


VERDICTS = ("same", "different", "unclear")
"""What people may answer of the maps of a panel."""


def _columns(answers: tuple[str, ...]) -> list[Any]:
    """Return the columns of every kind of answer, which is one of some words.

    An answer has a seat at its pair, from 1: that no seat is taken twice is what keeps a pair from
    getting more answers than it should, whoever answers at the same time.
    """
    return [
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("pair", sa.ForeignKey("pairs.id"), nullable=False),
        sa.Column("person", sa.ForeignKey("people.id"), nullable=False, index=True),
        sa.Column("seat", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("answer", sa.String, nullable=False),
        sa.Column("confidence", sa.Integer, nullable=False),
        sa.Column("reasons", sa.String, nullable=False),
        sa.UniqueConstraint("pair", "person"),
        sa.UniqueConstraint("pair", "seat"),
        sa.CheckConstraint("seat >= 1"),
        sa.CheckConstraint("confidence BETWEEN 1 AND 5"),
        sa.CheckConstraint(f"answer IN {answers}"),
    ]


votes = sa.Table(
    "votes",
    metadata,
    *_columns(ANSWERS),
)
"""What a feature is of its class; `at` is in seconds since 1970, `seconds` how long it took."""

opinions = sa.Table(
    "opinions",
    metadata,
    *_columns(VERDICTS),
    sa.Column("different", sa.String, nullable=False),
)
"""Whether a feature's maps show the same thing; `different` has the places in the panel, from 0,
of the maps that do not, with blanks between them."""

looks = sa.Table(
    "looks",
    metadata,
    sa.Column("topic", sa.String, primary_key=True),
    sa.Column("person", sa.ForeignKey("people.id"), primary_key=True),
    sa.Column("pair", sa.ForeignKey("pairs.id"), nullable=False, index=True),
    sa.Column("since", sa.Float, nullable=False),
)
"""Who looks at which pair, so that others are shown other ones; the topic is a table of answers."""

skips = sa.Table(
    "skips",
    metadata,
    sa.Column("topic", sa.String, primary_key=True),
    sa.Column("person", sa.ForeignKey("people.id"), primary_key=True),
    sa.Column("pair", sa.ForeignKey("pairs.id"), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
"""Who would rather not answer which pair; it comes again after all others."""


class Database:
    """The tables, opened.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        From `open_engine`.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._readers, self._writers = engine, engine.execution_options(writes=True)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a transaction that sees all that was answered until now."""
        with self._readers.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Give a transaction whose changes are on disk once the block has ended."""
        with self._writers.begin() as connection:
            yield connection

    def fact(self, name: str) -> str:
        """Return one of `facts`."""
        with self.reading() as connection:
            return str(connection.scalar(sa.select(facts.c.value).where(facts.c.name == name)))

    @property
    def answers(self) -> int:
        """How many people are to answer each pair."""
        return int(self.fact("answers"))

    def all_pairs(self) -> list[Candidate]:
        """Return the pairs; the number of each is its position."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(pairs).order_by(pairs.c.id)).all()
        return [
            Candidate(
                row.label, row.wnid, row.name, row.rank, row.feature, 0.0, 0.0, _images(row.images)
            )
            for row in rows
        ]


def _images(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def open_engine(place: str, *, make: bool) -> sa.Engine:
    """Open a database, with the settings that keep an answer through a power cut.

    Parameters
    ----------
    place : str
        The name of a file, or a URL such as ``postgresql+psycopg://user@host/name``.
    make : bool
        Whether a file that is not there is made.

    Raises
    ------
    BuildError
        If it cannot be opened.
    """
    remote = "://" in place
    if not remote:
        _check_file(Path(place), make=make)
    try:
        url = sa.make_url(place) if remote else sa.URL.create("sqlite", database=place)
        options = (
            {"connect_args": {"timeout": _PATIENCE_SECONDS}} if url.drivername == "sqlite" else {}
        )
        engine = sa.create_engine(url, **options)
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _keep_what_is_committed)
            sa.event.listen(engine, "begin", _begin)
        with engine.connect():
            return engine
    except ModuleNotFoundError as error:
        raise BuildError(
            f"--votes {printable(place)} needs the package {error.name}: install it, or name a "
            "file."
        ) from error
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise BuildError(
            f"--votes {printable(place)} cannot be opened ({_said(error)})."
        ) from error


def _said(error: BaseException) -> str:
    """Return what a database says: its first line, without what SQLAlchemy puts around it."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return printable(lines[0][:200] if lines else type(error).__name__)


def _check_file(path: Path, *, make: bool) -> None:
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(len(_HEADER))
        if start and start != _HEADER:
            raise BuildError(
                f"{path} is no database of votes: give --votes a new file, or the one that an "
                "earlier annotate made."
            )
    elif path.exists():
        raise BuildError(f"{path} is no file: give --votes a new file.")
    elif not make:
        raise BuildError(f"There is no file {path}: name the database that annotate made.")
    elif not path.absolute().parent.is_dir():
        raise BuildError(f"There is no directory {path.absolute().parent}: check --votes.")


def _keep_what_is_committed(connection: Any, _record: Any) -> None:
    # SQLAlchemy's way to have SQLite's transactions begin when it says so, not at the first write.
    connection.isolation_level = None
    patience = f"busy_timeout = {1000 * _PATIENCE_SECONDS}"
    for setting in (patience, "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin(connection: sa.Connection) -> None:
    # Who reads first and writes then would find that somebody else has written in between.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def open_database(
    place: str, candidates: Sequence[Candidate], network: dict[str, str], answers: int
) -> Database:
    """Open the answers on a table of pairs and a network, or make room for the first.

    Parameters
    ----------
    place : str
        As for `open_engine`.
    candidates : sequence of Candidate
    network : dict of str to str
        What tells the network from others, by the words that name it to people.
    answers : int
        How many people are to answer each pair; it may be another number than before.

    Raises
    ------
    BuildError
        If it holds answers on another table, or with another network.
    """
    engine = open_engine(place, make=True)
    database = Database(engine)
    try:
        with database.writing() as connection:
            metadata.create_all(connection)
            known = _known(connection)
            if known:
                _check(place, known, network)
                _check_pairs(place, connection, candidates)
                connection.execute(
                    facts.update().where(facts.c.name == "answers").values(value=str(answers))
                )
            else:
                _claim(connection, candidates, {**network, "answers": str(answers)})
    except sa.exc.DatabaseError as error:
        raise BuildError(f"--votes {printable(place)} cannot be used ({_said(error)}).") from error
    return database


def reopen_database(place: str) -> Database:
    """Open answers whatever they are about.

    Raises
    ------
    BuildError
        If there are none.
    """
    database = Database(open_engine(place, make=False))
    try:
        with database.reading() as connection:
            known = _known(connection)
    except sa.exc.DatabaseError as error:
        raise BuildError(
            f"{printable(place)} is no database of votes: name the one that annotate made."
        ) from error
    if known.get("format") != FORMAT:
        raise BuildError(f"{printable(place)} was made by another version of this program.")
    return database


def _known(connection: sa.Connection) -> dict[str, str]:
    return {row.name: row.value for row in connection.execute(sa.select(facts))}


def _check(place: str, known: dict[str, str], network: dict[str, str]) -> None:
    if known["format"] != FORMAT:
        raise BuildError(
            f"{printable(place)} was made by another version of this program: use another --votes."
        )
    for name, value in network.items():
        if known.get(name) != value:
            raise BuildError(
                f"{printable(place)} holds votes on features of another network ({name} "
                f"{known.get(name)}, and not {value}): check --network and --checkpoint, or use "
                "another --votes."
            )


def _check_pairs(place: str, connection: sa.Connection, candidates: Sequence[Candidate]) -> None:
    held = [row[1:] for row in connection.execute(sa.select(pairs).order_by(pairs.c.id))]
    given = [tuple(row.values())[1:] for row in _rows(candidates)]
    if held == given:
        return
    first = next((old for old, new in zip(held, given, strict=False) if old != new), None)
    what = (
        f"they differ from the class {printable(first[1])}, rank {first[3]}, on"
        if first
        else f"{len(held):,} pairs, where the table has {len(given):,}"
    )
    raise BuildError(
        f"{printable(place)} holds votes on another table of features ({what}): use the table "
        "that it was begun with, or another --votes."
    )


def _claim(
    connection: sa.Connection, candidates: Sequence[Candidate], network: dict[str, str]
) -> None:
    known = {
        "format": FORMAT,
        "id": secrets.token_hex(4),
        "begun": f"{time.time():.0f}",
        "vote_token": secrets.token_urlsafe(24),
        "read_token": secrets.token_urlsafe(24),
        **network,
    }
    connection.execute(
        facts.insert(), [{"name": name, "value": value} for name, value in known.items()]
    )
    connection.execute(pairs.insert(), _rows(candidates))


def _rows(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "label": pair.label,
            "wnid": pair.wnid,
            "name": pair.name,
            "rank": pair.rank,
            "feature": pair.feature,
            "images": json.dumps(pair.images),
        }
        for number, pair in enumerate(candidates)
    ]
