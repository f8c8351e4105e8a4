"""Who is asked what: pairs are served, answers are taken, and none gets too many of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from builder.annotate.database import Database, looks, pairs, skips

LOOK_SECONDS = 600.0
"""How long others are not asked the pair that somebody looks at, if only that answer is missing."""

_ATTEMPTS = 20
"""How often a seat is looked for that nobody takes at the same time."""


class RefusedError(Exception):
    """An answer that is not taken: its text is a sentence for who gave it.

    Attributes
    ----------
    status : int
        Of HTTP.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Progress:
    """How far the answers are.

    Attributes
    ----------
    own : int
        Answers of the person.
    left : int
        Pairs that still ask for an answer of the person.
    skipped : int
        Those of them that the person skipped.
    given, wanted : int
        Answers of all people; more than are wanted of a pair do not count.
    """

    own: int
    left: int
    skipped: int
    given: int
    wanted: int


class Ballots:
    """The answers to one question on each pair.

    Parameters
    ----------
    database : Database
    table : sqlalchemy.Table
        Of the answers.
    answers : int
        How many people are to answer each pair.
    clock : callable, optional
        Tells the seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        table: sa.Table,
        answers: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._table, self._clock = database, table, clock
        self.answers = answers
        # To put a query together takes longer than to answer it.
        self._looked = sa.select(looks.c.pair).where(self._looks_of(sa.bindparam("me")))
        self._open = _open_pairs(table, answers)
        self._counts = _counts(table, answers)

    def next(self, person: int, ready: Callable[[int], bool] = lambda pair: True) -> int | None:
        """Return the pair to ask a person next, and remember that the person looks at it.

        The one that the person looks at already; or else the one with the fewest answers, of which
        those count that others are about to give. What the person skipped comes last.

        Parameters
        ----------
        person : int
        ready : callable
            Whether a pair's pictures are there.

        Returns
        -------
        int, optional
            None if nothing is left, or for now.
        """
        with self._database.writing() as connection:
            looked = connection.scalar(self._looked, {"me": person})
            if looked is not None and self._is_open(connection, person, looked):
                return int(looked)
            rows = connection.execute(self._open, self._about(person))
            free = (row.id for row in rows if row.taken + row.others < self.answers)
            chosen = next(filter(ready, free), None)
            rows.close()
            if chosen is not None:
                self._look(connection, person, chosen)
            return chosen

    def cast(
        self, person: int, pair: int, values: Mapping[str, Any], *, change: bool = False
    ) -> None:
        """Take an answer; it is on disk when this returns.

        An answer that is sent twice, as by a browser that lost its connection, is one answer.

        Parameters
        ----------
        person, pair : int
        values : mapping of str to object
            The columns that are the table's own.
        change : bool
            Whether an earlier answer may be replaced.

        Raises
        ------
        RefusedError
            If nobody asks about the pair, or the person answered it before, or others have.
        """
        for _ in range(_ATTEMPTS):
            try:
                with self._database.writing() as connection:
                    self._cast(connection, person, pair, values, change=change)
                    return
            except sa.exc.IntegrityError:  # Somebody took the seat in this moment.
                continue
        raise RefusedError(503, "Too many people answer at once: send your answer again.")

    def _cast(
        self,
        connection: sa.Connection,
        person: int,
        pair: int,
        values: Mapping[str, Any],
        *,
        change: bool,
    ) -> None:
        table = self._table
        if connection.scalar(sa.select(pairs.c.id).where(pairs.c.id == pair)) is None:
            raise RefusedError(404, "Nobody asks about this pair.")
        own = sa.and_(table.c.pair == pair, table.c.person == person)
        before = connection.execute(sa.select(table).where(own)).mappings().first()
        if before is None:
            here = table.c.pair == pair
            taken = connection.scalar(sa.select(sa.func.count(table.c.id)).where(here)) or 0
            if taken >= self.answers:
                raise RefusedError(
                    409, "Others were faster: this pair has all its answers, yours is not needed."
                )
            now = self._clock()
            connection.execute(
                table.insert().values(
                    pair=pair,
                    person=person,
                    seat=taken + 1,
                    at=now,
                    seconds=self._seconds(connection, person, pair, now),
                    **values,
                )
            )
        elif change:
            connection.execute(table.update().where(own).values(**values))
        elif any(before[name] != value for name, value in values.items()):
            raise RefusedError(
                409,
                "You have answered this pair before: your first answer stands; you may change it.",
            )
        self._forget(connection, person, pair)

    def skip(self, person: int, pair: int) -> None:
        """Ask a person about other pairs first.

        Raises
        ------
        RefusedError
            If nobody asks about the pair.
        """
        key = {"topic": self._table.name, "person": person, "pair": pair}
        with self._database.writing() as connection:
            if connection.scalar(sa.select(pairs.c.id).where(pairs.c.id == pair)) is None:
                raise RefusedError(404, "Nobody asks about this pair.")
            self._forget(connection, person, pair)
            connection.execute(skips.insert().values(at=self._clock(), **key))

    def of(self, person: int, pair: int) -> dict[str, Any] | None:
        """Return a person's answer on a pair."""
        table = self._table
        own = sa.and_(table.c.pair == pair, table.c.person == person)
        with self._database.reading() as connection:
            row = connection.execute(sa.select(table).where(own)).mappings().first()
        return dict(row) if row else None

    def last(self, person: int, before: float | None = None) -> dict[str, Any] | None:
        """Return a person's last answer, or the last one given before a time."""
        table = self._table
        query = sa.select(table).where(table.c.person == person)
        if before is not None:
            query = query.where(table.c.at < before)
        with self._database.reading() as connection:
            row = connection.execute(query.order_by(table.c.at.desc()).limit(1)).mappings().first()
        return dict(row) if row else None

    def words(self, person: int, limit: int = 30) -> list[str]:
        """Return the reasons that a person gave last, each once."""
        table = self._table
        query = (
            sa.select(table.c.reasons)
            .where(table.c.person == person)
            .group_by(table.c.reasons)
            .order_by(sa.func.max(table.c.at).desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def all(self) -> list[dict[str, Any]]:
        """Return all answers, by pair, then seat."""
        query = sa.select(self._table).order_by(self._table.c.pair, self._table.c.seat)
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def columns(self, *names: str) -> list[tuple[Any, ...]]:
        """Return some columns of all answers, by pair, then seat."""
        query = sa.select(*(self._table.c[name] for name in names))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(self._table.c.pair, self._table.c.seat))
            return [tuple(row) for row in rows]

    def on(self, pair: int) -> list[dict[str, Any]]:
        """Return the answers on a pair, by seat."""
        query = sa.select(self._table).where(self._table.c.pair == pair)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(self._table.c.seat)).mappings()
            return [dict(row) for row in rows]

    def progress(self, person: int) -> Progress:
        """Return how far the answers are, for a person and for all."""
        with self._database.reading() as connection:
            found = connection.execute(self._counts, {"me": person}).one()
        left = found.pairs - found.full - found.own + found.own_full
        return Progress(found.own, left, found.skipped, found.given, found.pairs * self.answers)

    def _about(self, person: int) -> dict[str, Any]:
        return {"me": person, "recently": self._clock() - LOOK_SECONDS}

    def _is_open(self, connection: sa.Connection, person: int, pair: int) -> bool:
        """Return whether a pair still wants an answer of a person."""
        table = self._table
        query = sa.select(table.c.person).where(table.c.pair == pair)
        answered = list(connection.scalars(query))
        return len(answered) < self.answers and person not in answered

    def _looks_of(self, person: int | sa.BindParameter[Any]) -> sa.ColumnElement[bool]:
        return sa.and_(looks.c.topic == self._table.name, looks.c.person == person)

    def _look(self, connection: sa.Connection, person: int, pair: int) -> None:
        connection.execute(looks.delete().where(self._looks_of(person)))
        connection.execute(
            looks.insert().values(
                topic=self._table.name, person=person, pair=pair, since=self._clock()
            )
        )

    def _seconds(
        self, connection: sa.Connection, person: int, pair: int, now: float
    ) -> float | None:
        since = connection.scalar(
            sa.select(looks.c.since).where(self._looks_of(person), looks.c.pair == pair)
        )
        return None if since is None else now - since

    def _forget(self, connection: sa.Connection, person: int, pair: int) -> None:
        """Forget that a person looked at a pair, or skipped it."""
        connection.execute(looks.delete().where(self._looks_of(person), looks.c.pair == pair))
        connection.execute(
            skips.delete().where(
                skips.c.topic == self._table.name, skips.c.person == person, skips.c.pair == pair
            )
        )


def _open_pairs(table: sa.Table, answers: int) -> sa.Select[Any]:
    """Return the query of the pairs that want an answer of ``:me``, those first that come first.

    Its rows have the pair's id, how many answers are taken, and how many others look at it since
    ``:recently``.
    """
    me: sa.BindParameter[int] = sa.bindparam("me")
    taken = (
        sa.select(table.c.pair, sa.func.max(table.c.seat).label("taken"))
        .group_by(table.c.pair)
        .subquery()
    )
    others = (
        sa.select(looks.c.pair, sa.func.count().label("others"))
        .where(
            looks.c.topic == table.name,
            looks.c.person != me,
            looks.c.since > sa.bindparam("recently"),
        )
        .group_by(looks.c.pair)
        .subquery()
    )
    skipped = (
        sa.select(skips.c.pair, skips.c.at)
        .where(skips.c.topic == table.name, skips.c.person == me)
        .subquery()
    )
    count = sa.func.coalesce(taken.c.taken, 0)
    looking = sa.func.coalesce(others.c.others, 0)
    return (
        sa.select(pairs.c.id, count.label("taken"), looking.label("others"))
        .select_from(pairs)
        .outerjoin(taken, taken.c.pair == pairs.c.id)
        .outerjoin(others, others.c.pair == pairs.c.id)
        .outerjoin(skipped, skipped.c.pair == pairs.c.id)
        .where(
            count < answers,
            pairs.c.id.not_in(sa.select(table.c.pair).where(table.c.person == me)),
        )
        .order_by(sa.func.coalesce(skipped.c.at, 0), count + looking, pairs.c.id)
    )


def _counts(table: sa.Table, answers: int) -> sa.Select[Any]:
    """Return the query of the numbers of which `Progress` consists.

    A pair whose last seat is taken is full, and each answer on it beyond that is one too many.
    """
    mine = table.c.person == sa.bindparam("me")
    full = sa.select(table.c.pair).where(table.c.seat == answers)
    skipped = sa.select(sa.func.count(skips.c.pair)).where(
        skips.c.topic == table.name, skips.c.person == sa.bindparam("me")
    )
    answer_count = sa.func.count(table.c.id)
    parts = {
        "pairs": sa.select(sa.func.count(pairs.c.id)),
        "full": sa.select(answer_count).where(table.c.seat == answers),
        "own": sa.select(answer_count).where(mine),
        "own_full": sa.select(answer_count).where(mine, table.c.pair.in_(full)),
        "skipped": skipped.where(skips.c.pair.not_in(full)),
        "given": sa.select(answer_count).where(table.c.seat <= answers),
    }
    return sa.select(*(query.scalar_subquery().label(name) for name, query in parts.items()))
