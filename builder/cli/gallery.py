"""``salient-imagenet gallery``."""

from __future__ import annotations

from rich.console import Console

from builder.cli.options import options_of
from builder.reporter import ConsoleReporter
from builder.settings import GallerySettings


@options_of(GallerySettings)
def gallery(settings: GallerySettings) -> None:
    """Make pages to look at: images, masks and votes of a data set, class by class."""
    from builder.pages.gallery import make_gallery  # noqa: PLC0415 (--help need not wait for it)

    reporter = ConsoleReporter(Console(stderr=True))
    page = make_gallery(settings, reporter)
    reporter.say(f"Done. Open {page} in a browser.")
