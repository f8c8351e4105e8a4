"""A network and the images to run it on, opened together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from builder.dataset.classes import class_names, read_classes
from builder.images.extent import CENTRAL_CROP, Extent
from builder.images.gpu_decode import DeviceDecoder
from builder.images.labels import check_labels, label_classes
from builder.images.loader import Batch, LoadedBatch, Loader, batches_of
from builder.images.pipeline import process
from builder.images.plan import Plan, make_plan
from builder.images.sources import Images, open_images
from builder.network.architectures import load_architecture
from builder.network.devices import BATCH_SIZES, WORKERS
from builder.network.network import Network
from builder.reporter import Reporter
from builder.settings.network import NetworkSettings
from builder.threads import Result


@dataclass(frozen=True, kw_only=True)
class Inference:
    """A network and the images to run it on.

    Attributes
    ----------
    network : Network
    images : Images
    labels : dict of str to int
        The label of each wnid.
    names : list of str
        The name of each class, by label.
    plan : Plan
        Which of the images, and in which order.
    batch_size : int
    workers : int
        Processes that load ahead of the network.
    """

    network: Network
    images: Images
    labels: dict[str, int]
    names: list[str]
    plan: Plan
    batch_size: int
    workers: int

    def run(
        self,
        work: Callable[[LoadedBatch], Result],
        batches: Iterable[Batch] | None = None,
        *,
        gpu_decode: bool = False,
        extent: Extent = CENTRAL_CROP,
    ) -> Iterator[Result]:
        """Load batches and work on them, and yield the results in the order of the batches.

        Parameters
        ----------
        work : callable
            Runs the network; may be called from several threads.
        batches : iterable of Batch, optional
            Of `batch_size` images at most, taken up as there is room; by default all images in the
            order of the plan.
        gpu_decode : bool
            Whether the network's device decodes JPEGs.
        extent : Extent, optional
            How much of each image the network sees; by default its central crop.
        """
        if batches is None:
            batches = batches_of(self.plan.order, self.batch_size)
        loader = Loader(self.images, self.plan, for_device=gpu_decode, extent=extent)
        decode = DeviceDecoder(self.network.device)
        return process(
            batches,
            loader,
            (lambda batch: work(decode(batch))) if gpu_decode else work,
            self.workers,
            self.batch_size,
            on_cpu=self.network.device.type == "cpu",
        )


def open_network(settings: NetworkSettings, device: torch.device) -> Network:
    """Open the network that the settings name.

    Raises
    ------
    BuildError
        If there is none, or it has no activation maps.
    """
    architecture = load_architecture(settings.network, settings.checkpoint)
    return Network(architecture, device, settings.precision)


def open_inference(
    settings: NetworkSettings,
    network: Network,
    reporter: Reporter,
    labels: dict[str, int] | None = None,
    shard_size: int | None = None,
    runs_on: str | None = None,
) -> Inference:
    """List the images that the settings name, and plan how the network runs over them.

    Parameters
    ----------
    settings : NetworkSettings
    network : Network
        From `open_network`: what does not fit it can be refused before images are listed.
    reporter : Reporter
    labels : dict of str to int, optional
        The label of each wnid that is wanted; by default as the source of the images has them.
    shard_size : int, optional
        Images in a shard.
    runs_on : str, optional
        The kind of device that runs the network, if that is not the one that it was opened on.

    Raises
    ------
    BuildError
        If the images cannot be opened, or their classes cannot be the network's.
    """
    outputs = read_classes(settings.classes, network.classes) if settings.classes else []
    if settings.classes and labels:
        check_labels(labels, outputs, settings.classes)
    with reporter.track("listing images") as advance:
        images = open_images(settings.images, settings.split, advance)
    with reporter.track("planning"):
        if labels is None:
            labels = label_classes(images, network.classes, outputs)
        plan = make_plan(images, labels, settings.split, settings.seed, settings.limit, shard_size)
    runs_on = runs_on or network.device.type
    return Inference(
        network=network,
        images=images,
        labels=labels,
        names=class_names(labels, network.classes, outputs),
        plan=plan,
        batch_size=settings.batch_size or BATCH_SIZES[runs_on],
        workers=WORKERS[runs_on] if settings.workers is None else settings.workers,
    )
