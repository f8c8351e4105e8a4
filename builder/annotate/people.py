"""Who votes: people, each with a name that nobody else has."""

from __future__ import annotations

import secrets
import unicodedata
from typing import NamedTuple

import sqlalchemy as sa

from builder.annotate.database import Database, people

LONGEST_NAME = 60


class Person(NamedTuple):
    """Somebody who votes.

    Attributes
    ----------
    id : int
    name : str
    key : str
        What the browser shows to be recognised.
    """

    id: int
    name: str
    key: str


def clean_name(text: str) -> str:
    """Return a name as it is kept: its characters composed, one blank between words.

    Raises
    ------
    ValueError
        If that is no name; the text is a sentence.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or not name.isprintable() or len(name) > LONGEST_NAME:
        raise ValueError(f"Sign in with a name of 1 to {LONGEST_NAME} letters.")
    return name


def sign_in(database: Database, text: str) -> Person:
    """Return the person of a name, who is new if nobody had it; case does not matter.

    Raises
    ------
    ValueError
        If that is no name.
    """
    name = clean_name(text)
    folded = unicodedata.normalize("NFKC", name).casefold()
    with database.writing() as connection:
        found = _find(connection, people.c.folded == folded)
        if found:
            return found
    try:
        with database.writing() as connection:
            values = {"name": name, "folded": folded, "key": secrets.token_urlsafe(24)}
            connection.execute(people.insert().values(values))
    except sa.exc.IntegrityError:
        pass  # Who came at the same time with the same name is the same person.
    with database.reading() as connection:
        found = _find(connection, people.c.folded == folded)
    if not found:
        raise RuntimeError(name)
    return found


def recognise(database: Database, key: str) -> Person | None:
    """Return the person whose key it is."""
    with database.reading() as connection:
        return _find(connection, people.c.key == key)


def names(database: Database) -> dict[int, str]:
    """Return the name of each person."""
    with database.reading() as connection:
        rows = connection.execute(sa.select(people.c.id, people.c.name)).all()
    return {row.id: row.name for row in rows}


def _find(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Person | None:
    row = connection.execute(sa.select(people).where(condition)).first()
    return Person(row.id, row.name, row.key) if row else None
