"""A job: all inputs of a build opened and found to fit together, before anything is written."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from builder.dataset.classes import IMAGENET_CLASSES
from builder.dataset.subject import default_source
from builder.dataset.votes import Votes, read_votes
from builder.errors import BuildError
from builder.images.extent import CENTRAL_CROP, Extent, WholeImage
from builder.images.labels import imagenet_labels
from builder.images.loader import Batch, batches_of
from builder.images.plan import require_rows
from builder.network.analysis import Analyser, Analysis
from builder.network.devices import find_devices
from builder.network.inference import Inference, open_inference, open_network
from builder.network.network import Network
from builder.reporter import Reporter
from builder.settings.build import Settings
from builder.stages import Occupancy
from builder.storage.remote import is_remote
from salient_imagenet_1m import CROP_SIZE, FORMAT_VERSION, RESIZE_SIZE

PREPROCESSING = CENTRAL_CROP.preprocessing
GPU_PREPROCESSING = f"JPEG decode and resize on the GPU by torchvision, else: {PREPROCESSING}"
_LIBRARIES = ("datasets", "numpy", "pillow", "pyarrow", "timm", "torch", "torchvision")


@dataclass(frozen=True, kw_only=True)
class Job(Inference):
    """The opened inputs of a build: an inference over images of classes with votes.

    Attributes
    ----------
    settings : Settings
    votes : Votes
    runs_on : str
        The kind of device, ``cpu`` or ``cuda``, that computes the shards, here or elsewhere.
    extent : Extent
        How much of each image the network sees.
    """

    settings: Settings
    votes: Votes
    runs_on: str
    extent: Extent = CENTRAL_CROP

    @property
    def is_whole(self) -> bool:
        """Whether it is of whole images, which come beside those of the crops."""
        return self.extent.name == "image"

    def of(self, extent: str) -> Job:
        """Return the job of the same inputs that is of an extent, ``crop`` or ``image``.

        Raises
        ------
        BuildError
            If the network takes images of one size only.
        """
        if extent == CENTRAL_CROP.name:
            return replace(self, extent=CENTRAL_CROP)
        return replace(self, extent=WholeImage(self.network.stride(), self.settings.longest))

    def batches(self, shard: int) -> list[Batch]:
        """Return the batches of a shard; no batch holds images of two shards."""
        return batches_of(self.plan.members(shard), self.batch_size, shard)

    def analyse(self, batches: Iterable[Batch]) -> Iterator[Analysis]:
        """Load and analyse batches; see `run`."""
        is_one_place = self.workers and self.network.device.type != "cpu"
        occupancy = Occupancy(1 if is_one_place else torch.get_num_threads())
        analyser = Analyser(self.network, self.votes, self.plan, occupancy)
        # Only crops, all of one size, are decoded there.
        gpu_decode = self.settings.gpu_decode and not self.is_whole
        return self.run(analyser, batches, gpu_decode=gpu_decode, extent=self.extent)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that the bytes of a shard depend on."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    def identity(self) -> dict[str, Any]:
        """Return all that the bytes of a shard depend on."""
        return {**self.origin(), **self.inputs()}

    def origin(self) -> dict[str, Any]:
        """Return what all splits of a data set have in common."""
        network = self.network
        return {
            "format_version": FORMAT_VERSION,
            "network": network.name,
            "precision": network.precision,
            "keep_embeddings": self.settings.keep_embeddings,
            "weights_sha256": network.weights_sha256,
            "mean": network.mean,
            "std": network.std,
            "classes": network.classes,
            "channels": network.channels,
            "votes_sha256": self.votes.sha256,
            "pairs": len(self.votes.pairs),
            "features_per_class": self.votes.features_per_class,
            "preprocessing": GPU_PREPROCESSING if self.settings.gpu_decode else PREPROCESSING,
            "resize": RESIZE_SIZE,
            "crop": CROP_SIZE,
            "grid": [network.grid_height, network.grid_width],
            **({"names_sha256": _sha256_of(self.names)} if self.settings.classes else {}),
            **self._subject(),
        }

    def _subject(self) -> dict[str, str]:
        """Return what the user says of the data set, only that: ImageNet's need no words."""
        source = self.settings.source
        if source is None:
            source = default_source(self.votes)
        said = {"title": self.settings.title, "source": source, "licence": self.settings.licence}
        return {name: text for name, text in said.items() if text is not None}

    def _whole(self) -> dict[str, Any]:
        """Return what masks of whole images depend on besides."""
        if not isinstance(self.extent, WholeImage):
            return {}
        return {**asdict(self.extent), "preprocessing_of_whole": self.extent.preprocessing}

    def inputs(self) -> dict[str, Any]:
        """Return all that the bytes of this split depend on, besides `origin`."""
        return {
            "split": self.plan.split,
            "seed": self.settings.seed,
            "limit": self.settings.limit,
            "images": self.plan.images,
            "images_sha256": self.plan.sha256,
            "batch_size": self.batch_size,
            "shard_size": self.plan.shard_size,
            **self._whole(),
            "device": self.runs_on,
            "python": platform.python_version(),
            **_versions(),
        }


@cache
def _versions() -> dict[str, str]:
    # Each is parsed from a file, and inputs are compared several times in a build.
    return {name: version(name) for name in _LIBRARIES}


def open_job(
    settings: Settings,
    reporter: Reporter,
    device: torch.device | None = None,
    runs_on: str | None = None,
) -> Job:
    """Open the inputs of a build.

    Parameters
    ----------
    settings : Settings
    reporter : Reporter
    device : torch.device, optional
        Where to open the network; by default as the settings say.
    runs_on : str, optional
        The kind of device that computes the shards, if that is not `device`.

    Raises
    ------
    BuildError
        If one cannot be used, or they do not fit together.
    """
    _check_places(settings)
    votes = read_votes(settings.votes, settings.min_votes)
    device = device or find_devices(settings.device)[0]
    runs_on = runs_on or device.type
    if settings.gpu_decode and runs_on != "cuda":
        raise BuildError(f"--gpu-decode needs CUDA, and this runs on {runs_on}: leave it out.")
    network = open_network(settings, device)
    _check_fit(votes, network, settings)
    inference = open_inference(
        settings, network, reporter, votes.labels, settings.shard_size, runs_on
    )
    require_rows(
        inference.plan,
        settings.images,
        "check --images and --votes, images need a folder per wnid, and the votes are on classes "
        f"such as {votes.pairs[0].wnid}",
    )
    return Job(settings=settings, votes=votes, runs_on=runs_on, **vars(inference))


def _sha256_of(names: list[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _check_places(settings: Settings) -> None:
    # Unlike Path.resolve, it takes links in a circle, which are refused where they are opened.
    images = Path(os.path.realpath(settings.images))
    out = Path(os.path.realpath(settings.out)) if not is_remote(settings.out) else None
    if out and out.is_relative_to(images) and images.is_dir():
        raise BuildError(
            f"{settings.out} lies in the folder of the images, {settings.images}, among which it "
            "would be found the next time: use an --out elsewhere."
        )


def _check_fit(votes: Votes, network: Network, settings: Settings) -> None:
    for pair in votes.pairs:
        if pair.feature >= network.channels:
            raise BuildError(
                f"{settings.votes} has votes on feature {pair.feature} of class {pair.wnid}, but "
                f"{network.name} has features 0 to {network.channels - 1}: these votes are on "
                "another network, check --votes and --network."
            )
        if pair.label >= network.classes:
            raise BuildError(
                f"{settings.votes} has votes on class index {pair.label}, but {network.name} has "
                f"classes 0 to {network.classes - 1}: check --votes and --network."
            )
    if network.classes == IMAGENET_CLASSES and not settings.classes:
        _check_labels(votes, settings)


def _check_labels(votes: Votes, settings: Settings) -> None:
    """See that votes whose classes are all ImageNet's number them as ImageNet does."""
    imagenet = imagenet_labels()
    if not votes.labels.keys() <= imagenet.keys():
        return
    for wnid, label in votes.labels.items():
        if label != imagenet[wnid]:
            raise BuildError(
                f"{settings.votes} gives class {wnid} the index {label}, ImageNet and a network of "
                f"{IMAGENET_CLASSES:,} classes {imagenet[wnid]}: correct Input.class_index, which "
                "counts the sorted wnids from 0."
            )
