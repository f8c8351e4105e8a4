"""``salient-imagenet tune-head``."""

from __future__ import annotations

from importlib.util import find_spec

from builder.cli.loading import loader_errors_as_sentences
from builder.cli.options import options_of
from builder.cli.stopping import stoppable
from builder.errors import BuildError
from builder.reporter import ConsoleReporter, Screen
from builder.settings.head_tuning import HeadTuning

EXAMPLES = """
[bold]Controls[/bold]

  --choose random         The gap hardly changes: it is not more training that
                          closes it.
  --choose misclassified  Accuracy falls. The model sees the training images
                          of all ranked classes first.

[bold]Then[/bold]

  salient-imagenet evaluate DIR --images SOURCE --model NAME \\
      --head OUT/head.safetensors --out EVALUATION

judges the model with its own head and with this one.
"""


@options_of(HeadTuning)
def tune_head(tuning: HeadTuning) -> None:
    """Tune a model's head on images without spurious cues.

    The model sees each image once; its head alone is then tuned on what comes out, until the
    spurious gap is small. Half of the validation images decide that, the others tell what came of
    it.
    """
    missing = [name for name in ("plotly", "sklearn") if find_spec(name) is None]
    if missing:
        raise BuildError(f"tune-head needs {' and '.join(missing)}: pip install -e '.[train]'.")
    screen = Screen(stderr=True)
    with stoppable() as interrupts:
        # PyTorch takes seconds to import, which --help and wrong options need not wait for.
        from builder.cli.tables import head_table  # noqa: PLC0415
        from builder.tune.tuning import tune_head as run_tuning  # noqa: PLC0415

        reporter = ConsoleReporter(screen, interrupts.check)
        with loader_errors_as_sentences():
            summary = run_tuning(tuning, reporter)
        screen.print(head_table(summary))
        reporter.say(f"Done. Open {tuning.out / 'report.html'}.")
