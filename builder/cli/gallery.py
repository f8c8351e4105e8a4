"""``salient-imagenet gallery``."""

from __future__ import annotations

from builder.cli.options import options_of
from builder.cli.stopping import BEGINS_ANEW, stoppable
from builder.reporter import ConsoleReporter, Screen
from builder.settings.gallery import GallerySettings


@options_of(GallerySettings)
def gallery(settings: GallerySettings) -> None:
    """Make pages to look at: images, masks and votes of a data set, class by class."""
    from builder.pages.gallery import make_gallery  # noqa: PLC0415 (--help need not wait for it)

    with stoppable(BEGINS_ANEW) as interrupts:
        reporter = ConsoleReporter(Screen(stderr=True), interrupts.check)
        page = make_gallery(settings, reporter)
    reporter.say(f"Done. Open {page} in a browser.")
