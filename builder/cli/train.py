"""``salient-imagenet train``."""

from __future__ import annotations

from importlib.util import find_spec

from builder.cli.loading import loader_errors_as_sentences
from builder.cli.options import options_of
from builder.cli.stopping import stoppable
from builder.errors import BuildError
from builder.reporter import ConsoleReporter, Screen
from builder.settings.training import Training
from builder.shards.stop import DROPPED, INTERRUPTED, STOPPED, Stop

REQUIRED = ("accelerate", "plotly", "safetensors", "tensorboard")
"""What the extra ``train`` brings, by the names that are imported."""

EXAMPLES = f"""
[bold]On several GPUs or machines[/bold]

  accelerate launch -m builder train ...

[bold]Exit status[/bold]

  0    The model is trained.
  2    An input is wrong, or the disk is full: the last line says which.
  {STOPPED}    SIGTERM stopped it, at the next logged line.
  {INTERRUPTED}  Ctrl-C interrupted it.
  {DROPPED}  A second SIGTERM stopped it at once.

After all but 0, the same command goes on from where it was saved last.
"""


@options_of(Training)
def train(training: Training) -> None:
    """Train a model that is to need the core alone.

    Writes model.safetensors, which evaluate takes as --checkpoint, a log as CSV and for
    TensorBoard, and a page with plots.
    """
    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        raise BuildError(f"train needs {', '.join(missing)}: run pip install -e '.[train]'.")
    stop = Stop()
    with stoppable() as interrupts, stop.on_signal():
        reporter = ConsoleReporter(Screen(stderr=True), interrupts.check)
        # PyTorch takes seconds to import, which --help and wrong options need not wait for.
        from builder.mitigate.training import train as run_training  # noqa: PLC0415

        with loader_errors_as_sentences():
            trained = run_training(training, reporter, stop)
        reporter.say(f"Done. Give evaluate --checkpoint {trained.weights}.")
