"""Image classifiers of the library transformers."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor, nn

from builder.errors import BuildError, first_line
from builder.evaluate.classifier import Classifier, View
from builder.network.architectures import IMAGENET_MEAN, IMAGENET_STD
from salient_imagenet_1m import CROP_SIZE


class Logits(nn.Module):
    """A model of transformers that gives a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of images."""
        logits: Tensor = self.model(pixel_values=images).logits
        return logits


def load_hugging_face(name: str, identifier: str) -> Classifier:
    """Open an image classifier and its processor.

    Parameters
    ----------
    name : str
        ``hf:ID``.
    identifier : str
        On the Hub, or a directory.

    Raises
    ------
    BuildError
        If transformers is missing, or there is no such model.
    """
    try:
        import transformers  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise BuildError(
            f"{name} needs transformers: run pip install -e '.[transformers]'."
        ) from error
    try:
        model = transformers.AutoModelForImageClassification.from_pretrained(identifier)
        processor = transformers.AutoImageProcessor.from_pretrained(identifier)
    except Exception as error:  # Whatever a download or a directory can raise.
        raise BuildError(
            f"The model {name} cannot be opened ({first_line(error)}): give the id of an image "
            "classifier on the Hub, or its directory."
        ) from error
    return Classifier(
        name,
        Logits(model),
        _view(processor),
        processor.image_mean or IMAGENET_MEAN,
        processor.image_std or IMAGENET_STD,
    )


def _view(processor: Any) -> View:
    crops = getattr(processor, "do_center_crop", False)
    size = dict(getattr(processor, "crop_size" if crops else "size", None) or {})
    side = size.get("height") or size.get("shortest_edge") or CROP_SIZE
    resampling = Image.Resampling(int(getattr(processor, "resample", None) or 2))
    return View(int(side), resampling.name.lower())
