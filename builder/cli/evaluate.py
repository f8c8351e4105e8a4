"""``salient-imagenet evaluate``."""

from __future__ import annotations

from importlib.util import find_spec

from builder.cli.options import options_of
from builder.cli.stopping import stoppable
from builder.errors import BuildError
from builder.reporter import ConsoleReporter, Screen
from builder.settings import Evaluation
from salient_imagenet_1m import SalientImageNetError

EXAMPLES = """
[bold]Measures[/bold]

  clean_accuracy       On the images as they are.
  core_accuracy        With noise on all but the dilated core mask: acc(C).
  spurious_accuracy    With noise on the dilated core mask: acc(S).
  relative_core_sensitivity
                       (acc(C) - acc(S)) / (2 min(a, 1 - a)), a their mean:
                       from -1 to 1, higher where a model uses the core.
  on_core_mask_accuracy, on_spurious_mask_accuracy
                       With noise on the masks of one kind alone.
  spurious_gap         The accuracy on each class's K most spurious images
                       minus that on its K least: 0 where the model does
                       not need what merely comes with the class.
"""


@options_of(Evaluation)
def evaluate(evaluation: Evaluation) -> None:
    """Measure how far models rely on spurious features.

    Each model sees each image as it is and with its core or its spurious regions corrupted. All
    accuracies are means over classes, with bootstrap intervals.
    """
    if find_spec("plotly") is None:
        raise BuildError("evaluate needs plotly for its page: run pip install -e '.[evaluate]'.")
    # PyTorch takes seconds to import, which --help and wrong options need not wait for.
    from builder.cli.tables import evaluation_table  # noqa: PLC0415
    from builder.evaluate.evaluation import evaluate as run_evaluation  # noqa: PLC0415

    screen = Screen(stderr=True)
    with stoppable() as interrupts:
        reporter = ConsoleReporter(screen, interrupts.check)
        try:
            results = run_evaluation(evaluation, reporter)
        except (SalientImageNetError, FileNotFoundError) as error:
            if getattr(error, "filename", None):
                raise
            # The loader's, which is a sentence as well.
            raise BuildError(str(error)) from error
    screen.print(evaluation_table(results.scores))
    reporter.say(f"Done. Open {evaluation.out / 'report.html'}.")
