"""CLIP models as classifiers: an image's nearest class name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from builder.dataset.classes import imagenet_info
from builder.errors import BuildError, first_line
from builder.evaluate.classifier import Classifier, View

_SCALE = 100
"""Over cosines, as all CLIP models learn it."""


class ZeroShot(nn.Module):
    """An image tower before the directions of classes.

    Parameters
    ----------
    model : nn.Module
        From open_clip.
    directions : Tensor of float32, shape (features, classes)
        Unit vectors.
    """

    directions: Tensor

    def __init__(self, model: nn.Module, directions: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("directions", directions)

    def forward(self, images: Tensor) -> Tensor:
        """Return 100 times the cosine of images and classes, shape (n, classes)."""
        features = functional.normalize(self.model.encode_image(images), dim=-1)  # type: ignore[operator]
        logits: Tensor = _SCALE * features @ self.directions
        return logits


class ClipModel(NamedTuple):
    """A CLIP model with what it wants.

    Attributes
    ----------
    model : nn.Module
        From open_clip.
    tokenizer : callable
        From texts to what it takes of them.
    view : View
    mean, std : sequence of float
        Its normalisation of images, per channel.
    """

    model: nn.Module
    tokenizer: Callable[[Sequence[str]], Tensor]
    view: View
    mean: Sequence[float]
    std: Sequence[float]


def load_clip(name: str, architecture: str, weights: str) -> ClipModel:
    """Load a CLIP model.

    Parameters
    ----------
    name : str
        ``clip:ARCHITECTURE/WEIGHTS``.
    architecture : str
        As open_clip names it.
    weights : str
        A tag of open_clip, or a file.

    Raises
    ------
    BuildError
        If open_clip is missing, or has no such model, or its weights cannot be had.
    """
    try:
        import open_clip  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise BuildError(f"{name} needs open_clip: run pip install -e '.[clip]'.") from error
    if architecture not in open_clip.list_models() or not weights:
        near = get_close_matches(architecture, open_clip.list_models(), n=3) or ["ViT-B-32"]
        raise BuildError(
            f"There is no model {name}: write clip:ARCHITECTURE/WEIGHTS with an architecture such "
            f"as {', '.join(near)} and weights such as openai, or the file of some."
        )
    try:
        model = open_clip.create_model(architecture, pretrained=weights, weights_only=True).eval()
        tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # Whatever a download or a file can raise.
        raise BuildError(
            f"The weights of {name} cannot be had ({first_line(error)}): check the name, or give "
            f"clip:{architecture}/FILE{_tags(open_clip.list_pretrained_tags_by_model(architecture))}."
        ) from error
    shown = model.visual.preprocess_cfg
    size = shown["size"] if isinstance(shown["size"], int) else shown["size"][0]
    view = View(size, shown["interpolation"])
    return ClipModel(model, tokenizer, view, shown["mean"], shown["std"])


def load_zero_shot(name: str, architecture: str, weights: str) -> Classifier:
    """Make a zero-shot classifier of ImageNet's classes from a CLIP model.

    The direction of a class is the mean over seven templates ("a photo of the large {}.") of its
    name's embedding, names and templates being open_clip's.

    Parameters
    ----------
    name, architecture, weights : str
        As for `load_clip`.

    Raises
    ------
    BuildError
        As `load_clip`.
    """
    loaded = load_clip(name, architecture, weights)
    import open_clip  # noqa: PLC0415 (an extra)

    directions = open_clip.build_zero_shot_classifier(
        loaded.model,
        loaded.tokenizer,
        open_clip.IMAGENET_CLASSNAMES,
        open_clip.SIMPLE_IMAGENET_TEMPLATES,
    )
    return Classifier(
        name,
        ZeroShot(loaded.model, torch.as_tensor(directions).float()),
        loaded.view,
        loaded.mean,
        loaded.std,
        imagenet_info().label_names(),
    )


def _tags(known: Sequence[str]) -> str:
    return f"; open_clip has weights called {', '.join(known)}" if known else ""
