"""From answers to a votes file, the published format, which `build` takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from builder.annotate import database as tables
from builder.annotate.agreement import validate
from builder.annotate.ballots import Ballots
from builder.annotate.candidates import Candidate
from builder.annotate.database import Database, reopen_database
from builder.annotate.people import names
from builder.dataset.votes import MINIMUM_VOTES, Validation, Vote, write_votes
from builder.errors import BuildError, printable
from builder.reporter import Reporter
from builder.settings.annotation import VotesExport
from builder.storage.files import disk_errors_as_sentences, require_writable

_NAMED = 3
"""Pairs or classes that a sentence names."""


def export(settings: VotesExport, reporter: Reporter) -> int:
    """Write the votes that people gave.

    Parameters
    ----------
    settings : VotesExport
    reporter : Reporter

    Returns
    -------
    int
        How many votes there are in the file.

    Raises
    ------
    BuildError
        If pairs lack answers and not even parts are wanted, or there is nothing to write, or the
        file is there already or cannot be made.
    """
    require_writable(settings.out)
    if settings.out.exists():
        raise BuildError(f"{settings.out} exists already: remove it, or use another --out.")
    database = reopen_database(settings.votes)
    pairs, wanted = database.all_pairs(), database.answers
    rows = Ballots(database, tables.votes, wanted).all()
    counts = Counter(row["pair"] for row in rows)
    lacking = [number for number in range(len(pairs)) if counts[number] < wanted]
    if lacking:
        _tell_lacking(pairs, counts, lacking, wanted, settings, reporter)
        rows = _of_whole_classes(pairs, rows, counts, min(wanted, MINIMUM_VOTES), reporter)
    if not rows:
        raise BuildError(f"{printable(settings.votes)} has no class to export: let people go on.")
    people = names(database)
    votes = [_vote(pairs[row["pair"]], people[row["person"]], row) for row in rows]
    with disk_errors_as_sentences(settings.out.parent):
        write_votes(settings.out, votes, _validations(database, pairs, wanted))
    fewest = min(counts[row["pair"]] for row in rows)
    if fewest < MINIMUM_VOTES:
        reporter.say(f"Some pairs have {_many(fewest, 'vote')}: give build --min-votes {fewest}.")
    return len(votes)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _validations(
    database: Database, pairs: Sequence[Candidate], wanted: int
) -> dict[tuple[str, int], Validation]:
    """Return what was found of the maps of pairs about which enough people were asked."""
    opinions = Ballots(database, tables.opinions, wanted).columns("pair", "answer", "different")
    return {
        pairs[number].key: Validation(found.validated, found.share_same)
        for number, found in validate(opinions).items()
        if found.answers >= wanted
    }


def _tell_lacking(
    pairs: Sequence[Candidate],
    counts: Mapping[int, int],
    lacking: Sequence[int],
    wanted: int,
    settings: VotesExport,
    reporter: Reporter,
) -> None:
    """Say which pairs lack answers, and refuse to go on unless parts are wanted."""
    few = ", ".join(
        f"class {printable(pairs[number].wnid)}, feature {pairs[number].feature} has "
        f"{counts[number]}"
        for number in lacking[:_NAMED]
    )
    others = ", ..." if len(lacking) > _NAMED else ""
    sentence = (
        f"{len(lacking):,} of {len(pairs):,} pairs have fewer than {_many(wanted, 'answer')} "
        f"({few}{others})"
    )
    if not settings.partial:
        raise BuildError(f"{sentence}: let people go on, or export what there is with --partial.")
    reporter.say(f"{sentence}.")


def _of_whole_classes(
    pairs: Sequence[Candidate],
    rows: Sequence[dict[str, Any]],
    counts: Mapping[int, int],
    enough: int,
    reporter: Reporter,
) -> list[dict[str, Any]]:
    """Return the votes on classes of which no pair has too few for a build."""
    classes = dict.fromkeys(pair.wnid for pair in pairs)
    short = {pair.wnid for number, pair in enumerate(pairs) if counts[number] < enough}
    if short:
        named = ", ".join(printable(wnid) for wnid in classes if wnid in short)
        reporter.say(
            f"{len(short):,} of {len(classes):,} classes are left out, since a feature of theirs "
            f"has fewer than {_many(enough, 'vote')}: {named}."
        )
    return [row for row in rows if pairs[row["pair"]].wnid not in short]


def _vote(pair: Candidate, worker: str, row: Mapping[str, Any]) -> Vote:
    return Vote(
        worker=worker,
        wnid=pair.wnid,
        label=pair.label,
        feature=pair.feature,
        rank=pair.rank,
        answer=row["answer"],
        confidence=row["confidence"],
        reasons=row["reasons"],
    )
