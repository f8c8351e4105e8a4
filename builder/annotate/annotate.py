"""People vote on the table that `discover` wrote: what they are shown, and where they go."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.annotate.candidates import Candidate, read_candidates
from builder.annotate.database import Database, open_database
from builder.annotate.definitions import definition_of, read_definitions
from builder.annotate.exhibits import open_exhibits
from builder.annotate.site.app import Site
from builder.annotate.site.guard import Access
from builder.annotate.site.pictures import Exhibits
from builder.annotate.site.serve import BackgroundMaker, addresses, bind, open_browser, run
from builder.reporter import Reporter
from builder.settings.annotation import Annotation


def annotate(settings: Annotation, reporter: Reporter) -> None:
    """Have people vote until somebody presses Ctrl-C.

    Parameters
    ----------
    settings : Annotation
    reporter : Reporter

    Raises
    ------
    BuildError
        If an input cannot be used, or does not go with the others.
    """
    candidates = read_candidates(settings.features)
    definitions = _definitions(settings.definitions, candidates)
    # What takes seconds comes after what is wrong at once.
    with bind(settings.host, settings.port, reporter) as bound:
        exhibits = open_exhibits(settings, settings.features, settings.pictures, reporter)
        network = exhibits.network
        known = {"network": network.name, "weights": network.weights_sha256[:16]}
        database = open_database(settings.votes, candidates, known, settings.answers)
        show = not settings.no_open
        serve(database, exhibits, definitions, settings.host, bound, reporter, show=show)


def _definitions(path: Path | None, candidates: Sequence[Candidate]) -> dict[str, str]:
    """Return what is known of what classes are, by wnid; the user's own words come first."""
    own = read_definitions(path) if path else {}
    found = {}
    for pair in candidates:
        words = own.get(pair.wnid) or own.get(pair.name) or definition_of(pair.wnid)
        if words:
            found[pair.wnid] = words
    return found


def serve(
    database: Database,
    exhibits: Exhibits,
    definitions: Mapping[str, str],
    host: str,
    bound: socket.socket,
    reporter: Reporter,
    *,
    show: bool,
) -> None:
    """Have people vote until somebody presses Ctrl-C; pictures are made meanwhile.

    Parameters
    ----------
    database : Database
    exhibits : Exhibits
    definitions : mapping of str to str
        Of classes, by wnid.
    host : str
        The address that `bound` is bound to, as the user gave it.
    bound : socket.socket
        From `bind`.
    reporter : Reporter
    show : bool
        Whether to open a browser.
    """
    access = Access(
        host, database.fact("id"), database.fact("vote_token"), database.fact("read_token")
    )
    places = addresses(access, bound.getsockname()[1])
    maker = BackgroundMaker(exhibits, [pair.key for pair in database.all_pairs()], reporter)
    site = Site(database, exhibits, access, definitions, maker.trouble)

    def start() -> None:
        reporter.say(f"To vote, open {places['vote']}")
        reporter.say(f"The results so far are on {places['results']}")
        reporter.say("Ctrl-C stops the server; all answers are kept.")
        maker.start()
        if show:
            open_browser(places["vote"])

    try:
        run(site.app(), bound, start)
    finally:
        maker.stop()
