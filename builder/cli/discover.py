"""``salient-imagenet discover``."""

from __future__ import annotations

from builder.cli.options import options_of
from builder.cli.stopping import BEGINS_ANEW, stoppable
from builder.reporter import ConsoleReporter, Screen
from builder.settings.annotation import Search

EXAMPLES = """
[bold]Columns of the table[/bold]

  label       The class: its line in --classes, counted from 0; or its
              wnid's position among the sorted wnids, or the label that
              the source of the images gives it.
  wnid, name  The class's WordNet id, and what people call it.
  rank        1 is the class's most important feature, 5 the fifth.
  feature     The number of the feature in the network.
  importance  The mean of activation times weight, over the images that
              the network predicts as the class.
  weight      The feature's weight for the class in the classifier head.
  image_1 to  The images of the class that activate the feature most,
  image_5     the first the most.

[bold]Votes[/bold]

The file whose name ends in -votes.csv has five rows for each of them. In each row \
[bold]Answer.main[/bold] is main_object, separate_object or background, \
[bold]Answer.confidence[/bold] 1 to 5. Until all are filled in, build says which are missing.
"""


@options_of(Search)
def discover(search: Search) -> None:
    """Find each class's five most important features: the table that annotation starts from.

    The table has a row per class-feature pair, and people vote on each: is the feature core or
    spurious for the class? A second file beside it has a row per pair and voter, for the answers.
    """
    # PyTorch takes seconds to import, which --help and wrong options need not wait for.
    from builder.annotate.discover import discover as run_discover  # noqa: PLC0415

    with stoppable(BEGINS_ANEW) as interrupts:
        reporter = ConsoleReporter(Screen(stderr=True), interrupts.check)
        pairs = run_discover(search, reporter)
    reporter.say(
        f"Done. {search.out} has {len(pairs):,} class-feature pairs to vote on, on the page of "
        f"salient-imagenet annotate, or by filling in {search.template}, which build takes as "
        "--votes."
    )
