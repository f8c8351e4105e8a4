"""``salient-imagenet subgroups``."""

from __future__ import annotations

from importlib.util import find_spec

from builder.cli.loading import loader_errors_as_sentences
from builder.cli.options import options_of
from builder.cli.stopping import stoppable
from builder.errors import BuildError
from builder.reporter import ConsoleReporter, Screen
from builder.settings.subgrouping import Subgrouping

EXAMPLES = """
[bold]Several checkpoints[/bold]

  --checkpoint epoch-1.safetensors --checkpoint epoch-5.safetensors

Their losses supervise together; the last is the model that is judged.

[bold]Then[/bold]

  salient-imagenet train DIR --images SOURCE --model NAME \\
      --method erm --subgroups OUT --reweight soft --out TRAINED

trains a model on which each subgroup weighs the same.
"""


@options_of(Subgrouping)
def subgroups(settings: Subgrouping) -> None:
    """Find subgroups of classes on which a model fails together.

    Each class is divided along the directions in which its images differ and the model's losses
    do; the worst subgroup comes first. Writes who belongs to which as Parquet, which train takes
    and the loader selects by, and a page with images of both ends, named by the annotated features
    that go with them.
    """
    if find_spec("sklearn") is None:
        raise BuildError("subgroups needs scikit-learn: pip install -e '.[train]'.")
    screen = Screen(stderr=True)
    with stoppable() as interrupts:
        # PyTorch takes seconds to import, which --help and wrong options need not wait for.
        from builder.cli.tables import subgroups_table  # noqa: PLC0415
        from builder.subgroups.subgroups import find_subgroups  # noqa: PLC0415

        reporter = ConsoleReporter(screen, interrupts.check)
        with loader_errors_as_sentences():
            summary = find_subgroups(settings, reporter)
        screen.print(subgroups_table(summary))
        reporter.say(f"Done. Open {settings.out / 'report.html'}.")
