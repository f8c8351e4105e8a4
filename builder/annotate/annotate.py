"""People vote on the table that `discover` wrote: what they are shown, and where they go."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from builder.annotate.database import Database
from builder.annotate.site.app import Site
from builder.annotate.site.guard import Access
from builder.annotate.site.pictures import Exhibits
from builder.annotate.site.serve import BackgroundMaker, addresses, open_browser, run
from builder.reporter import Reporter


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
    maker = BackgroundMaker(
        exhibits, [(pair.wnid, pair.feature) for pair in database.all_pairs()], reporter
    )
    site = Site(database, exhibits, access, definitions, maker.trouble)

    def start() -> None:
        reporter.say(f"To vote, open {places['vote']}")
        reporter.say(f"The results so far are on {places['results']}")
        reporter.say("Ctrl-C stops the server; all answers are kept.")
        maker.start()
        if show:
            open_browser(places["vote"])

    run(site.app(), bound, start)
