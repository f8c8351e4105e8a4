"""``salient-imagenet publish``."""

from __future__ import annotations

from typing import Annotated

import typer

from builder.cli.options import options_of
from builder.cli.stopping import stoppable
from builder.reporter import ConsoleReporter, Screen
from builder.settings.publication import Publication

EXAMPLES = """
[bold]Examples[/bold]

See what would be sent, and send nothing:

  salient-imagenet publish ./salient-imagenet-1m \\
    ORG/salient-imagenet-1m --dry-run

Publish it, and call it v1.0:

  salient-imagenet publish ./salient-imagenet-1m \\
    ORG/salient-imagenet-1m --tag v1.0

Publish the images with it, for a group in which everybody has accepted ImageNet's terms:

  salient-imagenet publish ./salient-imagenet-1m ORG/our-imagenet \\
    --private --with-images /data/ILSVRC2012
"""


@options_of(Publication)
def publish(
    publication: Publication,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be sent, and send nothing.")
    ] = False,
) -> None:
    """Publish a data set as a dataset repository on the Hugging Face Hub.

    The data set is verified first. All of it becomes visible in one commit, which is then tagged.
    Given again, the command uploads only what changed, and goes on where it was broken off. It
    takes the token of `hf auth login`, or HF_TOKEN.
    """
    # The Hub's client takes long to import, which --help and wrong options need not wait for.
    from builder.cli.tables import changes_table  # noqa: PLC0415
    from builder.hub.changes import summary  # noqa: PLC0415
    from builder.hub.publish import plan_publication  # noqa: PLC0415
    from builder.hub.publish import publish as run_publish  # noqa: PLC0415

    screen = Screen(stderr=True)
    if dry_run:
        changes = plan_publication(publication, ConsoleReporter(screen))
        Screen().print(changes_table(changes, summary(changes)))
        return
    with stoppable() as interrupts:
        reporter = ConsoleReporter(screen, interrupts.check)
        page = run_publish(publication, reporter, interrupts)
    reporter.say(f"Done. {page}")
