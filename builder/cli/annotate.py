"""``salient-imagenet annotate``, and ``salient-imagenet annotate export``."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from builder.cli.options import options_of
from builder.cli.stopping import BEGINS_ANEW, stoppable
from builder.errors import BuildError
from builder.reporter import ConsoleReporter, Screen
from builder.settings.annotation import Annotation, VotesExport

EXAMPLES = """
[bold]Examples[/bold]

The images, the network and the split are those that discover was given:

  salient-imagenet annotate features.csv --images ./birds \\
    --network timm:resnet50.a1_in1k --votes votes.db

When all have answered:

  salient-imagenet annotate export votes.db --out votes.csv

Who votes alone gives [bold]--answers 1[/bold] here, and [bold]--min-votes 1[/bold] to build. What \
export takes is said by salient-imagenet annotate export --help.
"""

SUMMARY = "Open a page on which people say what each feature shows: votes, for build."

KEPT = "Stopped. All answers are kept: the same command goes on."

REQUIRED = ("sqlalchemy", "starlette", "uvicorn")
"""What the extra ``annotate`` brings, by the names that are imported."""


@options_of(Annotation)
def annotate(annotation: Annotation) -> None:
    """Open a page on which people say what each feature shows: votes, for build.

    For each class-feature pair they see the images that activate the feature most, where it is in
    them, and what makes it stronger. Several people may vote at once. An answer is kept as soon as
    the page says so, and the same command goes on where it was stopped.
    """
    _require_packages()
    # PyTorch takes seconds to import, which --help and wrong options need not wait for.
    from builder.annotate.annotate import annotate as run_annotate  # noqa: PLC0415

    try:
        with stoppable(KEPT) as interrupts:
            run_annotate(annotation, ConsoleReporter(Screen(stderr=True), interrupts.check))
    except SystemExit as ended:
        # Python would wait for pictures under way, for minutes; what is made is there whole.
        sys.stderr.flush()
        os._exit(int(ended.code or 0))


@options_of(VotesExport)
def export(settings: VotesExport) -> None:
    """Write the votes that people gave, as the CSV that build takes.

    It may be called while people vote. Pairs that lack answers are named, and nothing is written
    unless --partial says so.
    """
    _require_packages()
    from builder.annotate.export import export as run_export  # noqa: PLC0415

    with stoppable(BEGINS_ANEW) as interrupts:
        reporter = ConsoleReporter(Screen(stderr=True), interrupts.check)
        count = run_export(settings, reporter)
    reporter.say(f"Done. {settings.out} has {count:,} votes, which build takes as --votes.")


def _require_packages() -> None:
    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        raise BuildError(
            f"annotate needs more packages ({', '.join(missing)}): run pip install -e "
            "'.[annotate]'."
        )
