"""``salient-imagenet segmentations``."""

from __future__ import annotations

from builder.cli.options import options_of
from builder.cli.stopping import BEGINS_ANEW, stoppable
from builder.reporter import ConsoleReporter, Screen
from builder.settings.segmentation import Segmentation

EXAMPLES = """
[bold]Examples[/bold]

Add the masks of Hard ImageNet:

  salient-imagenet segmentations ./salient-imagenet-1m \\
    --hard-imagenet /data/hardImageNet --images /data/ILSVRC2012

Add masks of your own, a file for each image, called as that is:

  salient-imagenet segmentations ./salient-imagenet-1m \\
    --masks ./masks --source "our laboratory" --licence cc-by-4.0
"""


@options_of(Segmentation)
def segmentations(settings: Segmentation) -> None:
    """Add object masks that people drew to a data set, as its config segmentations.

    The card then tells how core masks lie on the objects and spurious masks off them, and how our
    ranking agrees with that of the release. Masks that cannot be used are set aside, each with its
    reason. Given again, the command does the same again.
    """
    # pyarrow takes a while to import, which --help and wrong options need not wait for.
    from builder.cli.tables import segmentations_table  # noqa: PLC0415
    from builder.segmentations.segmentations import add_segmentations  # noqa: PLC0415

    screen = Screen(stderr=True)
    with stoppable(BEGINS_ANEW) as interrupts:
        told = add_segmentations(settings, ConsoleReporter(screen, interrupts.check))
    screen.print(segmentations_table(told))
