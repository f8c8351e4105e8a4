"""``salient-imagenet evaluate``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli.loading import loader_errors_as_sentences
from builder.cli.options import options_of
from builder.cli.stopping import stoppable, task_done
from builder.errors import BuildError
from builder.reporter import ConsoleReporter, Reporter, Screen
from builder.settings.evaluation import Evaluation
from builder.shards.stop import DROPPED, INTERRUPTED, STOPPED, Stop

if TYPE_CHECKING:  # A command imports only what it runs.
    from builder.evaluate.models import Entry
    from builder.evaluate.suite import SuiteMaker

EXAMPLES = f"""
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

  Of --suite hard-imagenet:

  clean_top1, gray_mask_top1, gray_box_top1, tile_top1, mean_fill_top1
                       On the images as they are, and without their object.
  rfs_sigma_0.25, ..., rfs_norm_90, ...
                       Relative foreground sensitivity: as relative core
                       sensitivity, with noise on all but the object, and on
                       the object.
  iou, dice, density   How GradCAM of the true class lies on the object.

[bold]Exit status[/bold]

  0    The evaluation, or the task, is done.
  2    An input is wrong, or the disk is full: the last line says which.
  {STOPPED}    SIGTERM stopped it, after the shards under way.
  {INTERRUPTED}  Ctrl-C interrupted it.
  {DROPPED}  A second SIGTERM stopped it at once, and dropped the shards under way.

After all but 0, the same command goes on where it was.
"""


@options_of(Evaluation)
def evaluate(
    evaluation: Evaluation,
    *,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Tell how often models see how many images, how long that takes and how large "
            "the predictions become, and write nothing.",
        ),
    ] = False,
) -> None:
    """Measure how far models rely on spurious features.

    Each model sees each image as it is and with its core or its spurious regions corrupted. All
    accuracies are means over classes, with bootstrap intervals.
    """
    check_extras(evaluation)
    screen, stop = Screen(stderr=True), Stop()
    with stoppable() as interrupts, stop.on_signal():
        reporter = ConsoleReporter(screen, interrupts.check)
        with loader_errors_as_sentences():
            _evaluate(evaluation, screen, reporter, stop, dry_run=dry_run)


def _evaluate(
    evaluation: Evaluation, screen: Screen, reporter: Reporter, stop: Stop, *, dry_run: bool
) -> None:
    # PyTorch takes seconds to import, which --help and wrong options need not wait for.
    from builder.cli.tables import evaluation_estimate_table, evaluation_table  # noqa: PLC0415
    from builder.evaluate.estimate import estimate  # noqa: PLC0415
    from builder.evaluate.evaluation import evaluate as run_evaluation  # noqa: PLC0415
    from builder.evaluate.evaluation import evaluate_task  # noqa: PLC0415

    entries, make_suite = _models(evaluation, reporter, dry_run=dry_run), _suite(evaluation.suite)
    if dry_run:
        screen.print(evaluation_estimate_table(estimate(evaluation, entries, make_suite)))
    elif evaluation.task.is_whole:
        results = run_evaluation(evaluation, reporter, stop, entries, make_suite)
        screen.print(evaluation_table(results))
        reporter.say(f"Done. Open {evaluation.out / 'report.html'}.")
    else:
        left = evaluate_task(evaluation, reporter, stop, entries, make_suite)
        reporter.say(task_done(evaluation.task, left))


def _models(evaluation: Evaluation, reporter: Reporter, *, dry_run: bool) -> list[Entry]:
    from builder.evaluate.models import model_list  # noqa: PLC0415

    entries = model_list(evaluation)
    if not evaluation.head_finetune:
        return entries
    from builder.objects.heads import planned, with_fine_tuned  # noqa: PLC0415

    if dry_run:
        return planned(evaluation, entries)
    return with_fine_tuned(evaluation, entries, reporter)


def _suite(name: str) -> SuiteMaker:
    """Return what models are asked, of which only one is imported."""
    if name == "hard-imagenet":
        from builder.objects.hard_imagenet import HardImageNet  # noqa: PLC0415

        return HardImageNet
    from builder.evaluate.salient_imagenet import SalientImageNet  # noqa: PLC0415

    return SalientImageNet


def check_extras(evaluation: Evaluation) -> None:
    """See that what an evaluation needs is installed.

    Raises
    ------
    BuildError
        If it is not.
    """
    if find_spec("plotly") is None:
        raise BuildError("evaluate needs plotly for its page: run pip install -e '.[evaluate]'.")
    needed = ("pytorch_grad_cam", "scipy") if evaluation.suite == "hard-imagenet" else ()
    if any(find_spec(name) is None for name in needed):
        raise BuildError(
            f"--suite {evaluation.suite} needs grad-cam and scipy: run pip install -e "
            "'.[hard-imagenet]'."
        )
