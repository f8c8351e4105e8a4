"""The command line: ``salient-imagenet``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from builder.errors import BuildError, Stopped
from builder.reporter import ConsoleReporter
from builder.run.stop import DROPPED, INTERRUPTED, STOPPED, Stop
from builder.settings import Settings, Task
from builder.storage.files import disk_errors_as_sentences
from builder.storage.remote import is_remote, parse_location

app = typer.Typer(
    name="salient-imagenet",
    help="Soft masks of core and spurious features for all of ImageNet.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)

_EPILOG = f"""
[bold]Examples[/bold]

The real run, on all of ImageNet's training images:

  salient-imagenet build --images /data/ILSVRC2012 \\
  --votes discover_spurious_features.csv \\
  --checkpoint imagenet_l2_3_0.pt --out ./salient-imagenet-1m

What would it come to? Add [bold]--dry-run[/bold]. The validation images into the same data set?
Add [bold]--split validation[/bold]. Stopped in the middle? Run the same command again.

[bold]Exit status[/bold]

0 done; 2 an input, or the disk, that the last line names; {STOPPED} stopped by SIGTERM, after the \
shards under way; {DROPPED} stopped by a second SIGTERM, which drops them; {INTERRUPTED} \
interrupted. After all but 0, the same command goes on.
"""


@app.callback()
def _root() -> None:
    """Soft masks of core and spurious features for all of ImageNet."""


# What build and discover have in common.
_Checkpoint = Annotated[Path | None, typer.Option(help="The network's weights.")]
_Split = Annotated[str, typer.Option(help="train or validation.")]
_Limit = Annotated[int | None, typer.Option(min=1, help="Take that many images, drawn at random.")]
_Precision = Annotated[str, typer.Option(help="float32 or bfloat16 (faster on a GPU, less exact).")]
_BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Images per forward pass: 16 on a CPU, 256 on CUDA.")
]
_Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Processes that load ahead of the network: one per core on CUDA; 0 on a CPU, where "
        "each core loads and runs batches of its own.",
    ),
]


@app.command(epilog=_EPILOG)
def build(
    images: Annotated[
        str,
        typer.Option(
            help="An ImageFolder root (ROOT/<split>/<wnid>/* or ROOT/<wnid>/*), "
            "ILSVRC2012_img_train.tar, or a dataset that `datasets` opens: a directory or Hub id."
        ),
    ],
    votes: Annotated[Path, typer.Option(help="The votes, a CSV.")],
    out: Annotated[
        Path,
        typer.Option(
            parser=parse_location,
            metavar="PATH",
            help="The data set, made or added to: a directory, or a URL such as s3://bucket/name.",
        ),
    ],
    checkpoint: _Checkpoint = None,
    network: Annotated[
        str,
        typer.Option(
            help="madry-resnet50, efficientnet-lite0, small-convnet, timm:NAME or torchvision:NAME."
        ),
    ] = Settings.network,
    split: _Split = Settings.split,
    limit: _Limit = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda (all GPUs), cuda:INDEX, or several with commas.")
    ] = Settings.device,
    precision: _Precision = Settings.precision,
    batch_size: _BatchSize = None,
    workers: _Workers = None,
    shard_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images per shard, the unit of resume: 16 to 1,024 by default."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of the images' order.")
    ] = Settings.seed,
    keep_embeddings: Annotated[
        bool, typer.Option("--keep-embeddings", help="Also write all pooled features, as float16.")
    ] = False,
    allow_mismatch: Annotated[
        bool,
        typer.Option("--allow-mismatch", help="Go on where votes and network do not agree."),
    ] = False,
    gpu_decode: Annotated[
        bool,
        typer.Option(
            "--gpu-decode", help="Decode JPEGs on the GPU: other last bits, told in the manifest."
        ),
    ] = False,
    engine: Annotated[
        str,
        typer.Option(help="local, a process per GPU of this machine, or ray, an actor per GPU."),
    ] = Settings.engine,
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster; by default that of the environment.")
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            help="I/N: run only every N-th shard, from I on (0 to N - 1), and do not finalise.",
            metavar="I/N",
        ),
    ] = str(Settings.task),
    finalise_only: Annotated[
        bool, typer.Option("--finalise-only", help="After all tasks: write what is published.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell counts, time and size; write nothing.")
    ] = False,
) -> None:
    """Run the network over a split of ImageNet and write the data set.

    The directory is a whole dataset repository: load_dataset streams it with none of this code.
    Images that cannot be used are set aside, each with its reason. A run that was stopped goes on
    when the same command is given again, and gives the same bytes.
    """
    settings = Settings(
        images=images,
        votes=votes,
        out=out,
        network=network,
        checkpoint=checkpoint,
        split=split,
        limit=limit,
        device=device,
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        shard_size=shard_size,
        seed=seed,
        keep_embeddings=keep_embeddings,
        allow_mismatch=allow_mismatch,
        gpu_decode=gpu_decode,
        engine=engine,
        address=address,
        task=Task.parse(task),
        finalise_only=finalise_only,
    )
    # PyTorch takes seconds to import, which --help and wrong options need not wait for.
    from builder.cli.report import (  # noqa: PLC0415
        estimate_table,
        outcome_table,
        shards_left,
    )
    from builder.run.build import build as run_build  # noqa: PLC0415
    from builder.run.build import run_task  # noqa: PLC0415
    from builder.run.estimate import estimate  # noqa: PLC0415

    console = Console(stderr=True)
    reporter = ConsoleReporter(console)
    if dry_run:
        console.print(estimate_table(estimate(settings, reporter)))
        return
    stop = Stop()
    with _stoppable(), stop.on_signal():
        if not settings.task.is_whole:
            done = run_task(settings, reporter, stop)
            reporter.say(f"Task {task} is done: {shards_left(done.left)}")
            return
        outcome = run_build(settings, reporter, stop)
    console.print(outcome_table(outcome))
    look = f"{str(out)!r}, 'masks', split={split!r}"
    if is_remote(out):  # Which load_dataset takes for the name of a local directory.
        look = f"'parquet', data_files='{out}/masks/{split}-*.parquet', split='train'"
    reporter.say(f"Done. Look: load_dataset({look})")


@app.command()
def status(
    data: Annotated[
        Path,
        typer.Argument(
            help="The data set's directory or URL.", metavar="DIR", parser=parse_location
        ),
    ],
) -> None:
    """Tell how far the builds of a data set are; reads only, and may be called while they run.

    Shards done, running, left and failed, images set aside so far, rate and time left, and when
    each build or task of one last gave a sign of life.
    """
    from builder.cli.status_report import status_tables  # noqa: PLC0415
    from builder.run.status import read_status  # noqa: PLC0415

    console = Console()
    with disk_errors_as_sentences(data):
        found = read_status(data)
    for table in status_tables(found):
        console.print(table)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="A new directory, or one of an earlier demo.")],
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of the world, the networks and the workers.")
    ] = 0,
) -> None:
    """Build a data set whose truth is known, and see what was recovered: no download, two minutes.

    Draws images of objects and of the cues that accompany them, trains two small networks, finds
    each class's features, lets simulated workers vote, builds, and compares with what was drawn.
    """
    from builder.demo.demo import Folder, run_demo  # noqa: PLC0415
    from builder.demo.summary import next_steps, recovery_table  # noqa: PLC0415
    from builder.demo.world import World  # noqa: PLC0415

    with _stoppable():
        report = run_demo(out, World(seed=seed), ConsoleReporter(Console(stderr=True)))
    console = Console()
    console.print(recovery_table(report))
    console.print(next_steps(Folder(out), report), highlight=False, markup=False, soft_wrap=True)


@app.command()
def discover(
    images: Annotated[
        str, typer.Option(help="As for build; the labels are the sorted wnids, or the source's.")
    ],
    network: Annotated[str, typer.Option(help="As for build.")],
    out: Annotated[Path, typer.Option(help="The table, a new CSV.")],
    checkpoint: _Checkpoint = None,
    split: _Split = Settings.split,
    limit: _Limit = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:INDEX.")] = Settings.device,
    precision: _Precision = Settings.precision,
    batch_size: _BatchSize = None,
    workers: _Workers = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of --limit.")] = Settings.seed,
) -> None:
    """Find each class's five most important features: the table that annotation starts from.

    A row per class-feature pair: label, wnid, name, rank, feature, importance (mean of activation
    times weight over the images predicted as the class), weight (of the classifier head), and
    image_1 to image_5, the images of the class that activate the feature most.
    """
    from builder.annotate.discover import Search  # noqa: PLC0415
    from builder.annotate.discover import discover as run_discover  # noqa: PLC0415

    search = Search(
        images=images,
        out=out,
        network=network,
        checkpoint=checkpoint,
        split=split,
        limit=limit,
        device=device,
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
    )
    reporter = ConsoleReporter(Console(stderr=True))
    pairs = run_discover(search, reporter)
    reporter.say(f"Done. {out} has {len(pairs):,} class-feature pairs to vote on.")


@app.command()
def gallery(
    data: Annotated[Path, typer.Argument(help="A data set that build made.", metavar="DIR")],
    images: Annotated[str, typer.Option(help="Its images; as for build.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="A new directory for an index and a page per class, or a file ending in .html for "
            "all on one page; DIR-gallery by default."
        ),
    ] = None,
    split: _Split = Settings.split,
    votes: Annotated[
        Path | None, typer.Option(help="The votes of the build, to show what people wrote.")
    ] = None,
) -> None:
    """Make pages to look at: images, masks and votes of a data set, class by class."""
    from builder.pages.gallery import GallerySettings, make_gallery  # noqa: PLC0415

    target = out or data.resolve().with_name(f"{data.resolve().name}-gallery")
    reporter = ConsoleReporter(Console(stderr=True))
    page = make_gallery(GallerySettings(data, images, target, split, votes), reporter)
    reporter.say(f"Done. Open {page} in a browser.")


@app.command()
def verify(
    data: Annotated[
        Path,
        typer.Argument(
            parser=parse_location,
            metavar="DIR",
            help="A data set that build made: a directory or a URL.",
        ),
    ],
    images: Annotated[
        str | None, typer.Option(help="Its images, as for build: a sample of them is looked up.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split that the images are of; all, by default.")
    ] = None,
) -> None:
    """See whether a data set is what it says it is: a line per check, exit status 1 if it is not.

    Hashes every file against the manifest, and recomputes from the rows what other columns, other
    files and the card say of them. Hashes tell damage, and numbers that contradict each other tell
    mistakes; neither tells who wrote them.
    """
    from builder.checks.verify import checks  # noqa: PLC0415
    from builder.cli.report import print_check  # noqa: PLC0415

    console = Console()
    wrong = 0
    with disk_errors_as_sentences(data):
        for check in checks(data, images, split):
            print_check(console, check)
            wrong += not check.passed
    if wrong:
        typer.secho(f"{data} is not what it says it is.", fg=typer.colors.RED, err=True)
        sys.exit(1)


_PUBLISH_EPILOG = """
[bold]Examples[/bold]

What would go, without sending anything:

  salient-imagenet publish ./salient-imagenet-1m ORG/salient-imagenet-1m --dry-run

Publish it, and call it v1.0:

  salient-imagenet publish ./salient-imagenet-1m ORG/salient-imagenet-1m --tag v1.0

With the images, for a group in which everybody has accepted ImageNet's terms:

  salient-imagenet publish ./salient-imagenet-1m ORG/our-imagenet --private \\
  --with-images /data/ILSVRC2012
"""


@app.command(epilog=_PUBLISH_EPILOG)
def publish(
    data: Annotated[
        Path,
        typer.Argument(parser=parse_location, metavar="DIR", help="A data set that build made."),
    ],
    name: Annotated[
        str, typer.Argument(help="The repository, made where there is none.", metavar="ORG/NAME")
    ],
    private: Annotated[
        bool,
        typer.Option("--private", help="Only for ORG's members; refused if it is public already."),
    ] = False,
    tag: Annotated[
        str | None,
        typer.Option(
            help="A name for this version, such as v1.0: load_dataset takes it as revision."
        ),
    ] = None,
    with_images: Annotated[
        str | None,
        typer.Option(
            metavar="ROOT",
            help="Also publish the images, as the config images; ROOT as for build --images. Only "
            "with --private.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would go; send nothing.")
    ] = False,
) -> None:
    """Publish a data set as a dataset repository on the Hugging Face Hub.

    The data set is verified first. All of it becomes visible in one commit, which is then tagged.
    Given again, the command uploads only what changed, and goes on where it was broken off. It
    takes the token of `hf auth login`, or HF_TOKEN.
    """
    from builder.cli.report import changes_table  # noqa: PLC0415
    from builder.hub.publish import Publication, plan_publication  # noqa: PLC0415
    from builder.hub.publish import publish as run_publish  # noqa: PLC0415

    reporter = ConsoleReporter(Console(stderr=True))
    publication = Publication(data, name, private, tag, with_images)
    if dry_run:
        Console().print(changes_table(plan_publication(publication, reporter)))
        return
    with _stoppable():
        page = run_publish(publication, reporter)
    reporter.say(f"Done. {page}")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Say what SIGTERM and Ctrl-C leave; typer would end with a bare "Aborted."."""
    try:
        yield
    except Stopped as stopped:
        typer.echo(stopped, err=True)
        sys.exit(STOPPED)
    except KeyboardInterrupt:
        typer.echo(
            "Stopped. Run the same command again to go on: what is finished is kept.", err=True
        )
        sys.exit(INTERRUPTED)


def main() -> None:
    """Run the command line; bad input is one sentence and exit status 2."""
    # Pillow warns of odd metadata, which is no news in ImageNet.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        app()
    except BuildError as error:
        # Not by rich, which would break a long path over lines.
        typer.secho(f"Error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(2)
