"""Models by name: what a user asks to be evaluated."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from torchvision.transforms import InterpolationMode

from builder.errors import BuildError, first_line
from builder.evaluate.classifier import Classifier, View
from builder.evaluate.hugging_face import load_hugging_face
from builder.evaluate.zero_shot import load_zero_shot
from builder.network.architectures import (
    EFFICIENTNETS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Architecture,
    load_architecture,
    new_architecture,
)
from builder.network.checkpoint import load_weights, read_state_dict
from builder.network.head import put_head
from builder.settings.evaluation import Evaluation

FAMILIES = ("timm", "torchvision")
"""Libraries whose models are named ``LIBRARY:NAME``."""


class Entry(NamedTuple):
    """A model to evaluate: its name, the files of its weights and head, its family, and its title.

    The title is what reports call it: its name, and a file too where a name is asked for with
    several, or with another head.
    """

    name: str
    weights: Path | None = None
    family: str = ""
    title: str = ""
    head: Path | None = None


def model_list(settings: Evaluation) -> list[Entry]:
    """Return the models that a user asks for, one by one and by list.

    Raises
    ------
    BuildError
        If that is none, or the list is no list, or heads are given for other than one model.
    """
    entries = [Entry(*parse_model(text)) for text in settings.model or ()]
    if settings.checkpoint:
        entries = [entries[0]._replace(weights=settings.checkpoint)]
    if settings.models:
        entries += _read_list(settings.models)
    if not entries:
        raise BuildError("No model is named: use --model NAME or --models papers.")
    if settings.head and len(entries) > 1:
        raise BuildError(
            f"--head is of one model, and {len(entries)} are named: name that alone, or write "
            "head = in a list of --models."
        )
    entries += [entries[0]._replace(head=head) for head in settings.head or ()]
    counts = Counter(entry.name for entry in entries if not entry.head)
    return [_titled(entry, is_alone=counts[entry.name] <= 1) for entry in entries]


def parse_model(text: str) -> tuple[str, Path | None]:
    """Return the name and the file of the weights of ``NAME=FILE``, or of a name alone."""
    name, _, file = text.partition("=")
    return name, Path(file) if file else None


def _titled(entry: Entry, is_alone: bool) -> Entry:
    title = entry.name if is_alone or not entry.weights else f"{entry.name}={entry.weights}"
    return entry._replace(title=f"{title} with {entry.head}" if entry.head else title)


def _read_list(name: str) -> list[Entry]:
    path = Path(__file__).with_name("papers.toml") if name == "papers" else Path(name)
    try:
        models = tomllib.loads(path.read_text("utf-8"))["model"]
        return [
            Entry(
                str(model["name"]),
                Path(model["weights"]) if "weights" in model else None,
                str(model.get("family", "")),
                head=Path(model["head"]) if "head" in model else None,
            )
            for model in models
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(
            f"{name} is no list of models ({first_line(error)}): write [[model]] and below it name "
            '= "timm:resnet50" and family = "ResNets" for each.'
        ) from error


def load_classifier(
    name: str,
    checkpoint: Path | None = None,
    family: str = "",
    title: str = "",
    head: Path | None = None,
) -> Classifier:
    """Make a classifier by name and load its weights.

    Parameters
    ----------
    name : str
        ``timm:NAME``, ``torchvision:NAME``, ``clip:ARCHITECTURE/WEIGHTS``, ``hf:ID``, a network of
        ``build`` such as ``madry-resnet50``, or ``MODULE:FUNCTION``, a function of the user's that
        returns a torch Module or a Module and its transform.
    checkpoint : Path, optional
        The file of its weights, in place of the library's own.
    family : str
        What reports colour the model by.
    title : str
        What reports call it; its name where that is empty.
    head : Path, optional
        The file of a head, in place of the model's own.

    Returns
    -------
    Classifier

    Raises
    ------
    BuildError
        If there is no such model, or its weights cannot be had, or the head is of another.
    """
    classifier = replace(_load(name, checkpoint), name=title or name, family=family)
    if head:
        put_head(name, classifier.model, classifier.view.size, head)
    return classifier


def _load(name: str, checkpoint: Path | None) -> Classifier:
    library, colon, variant = name.partition(":")
    if library == "clip":
        tower, _, weights = variant.partition("/")
        return load_zero_shot(name, tower, str(checkpoint or weights))
    if library == "hf":
        return load_hugging_face(name, variant)
    if colon and library not in FAMILIES:
        return _by_function(name, library, variant, checkpoint)
    if library == "timm":
        _check_timm(name, variant)
    if library == "torchvision":
        _check_torchvision(name, variant)
    return _as_classifier(load_architecture(name, checkpoint))


def new_classifier(name: str, classes: int) -> Classifier:
    """Make a classifier by name, its weights drawn at random.

    Parameters
    ----------
    name : str
        As for `load_classifier`, but for models that come with their weights.
    classes : int
        Of the data set; a function of the user's knows them itself.

    Returns
    -------
    Classifier

    Raises
    ------
    BuildError
        If there is no such model.
    """
    library, colon, variant = name.partition(":")
    if library in ("clip", "hf"):
        raise BuildError(f"{name} comes with its weights: train a timm or torchvision model.")
    if colon and library not in FAMILIES:
        return _by_function(name, library, variant, None)
    if library == "timm":
        _check_timm(name, variant)
    if library == "torchvision":
        _check_torchvision(name, variant)
    return replace(_as_classifier(new_architecture(name, classes)), wnids=None)


def _as_classifier(architecture: Architecture) -> Classifier:
    name, model = architecture.name, architecture.model
    library, _, variant = name.partition(":")
    view, wnids = View(), None
    if library == "timm" or name in EFFICIENTNETS:  # Those are timm's, too.
        view, wnids = _timm_view(model), _timm_wnids(model)
    if library == "torchvision":
        view = _torchvision_view(variant)
    return Classifier(name, model, view, architecture.mean, architecture.std, wnids)


def _check_timm(name: str, variant: str) -> None:
    import timm  # noqa: PLC0415 (takes seconds, and not every model needs it)

    if not timm.is_model(variant):
        _unknown(name, variant, timm.list_models() + timm.list_pretrained())


def _check_torchvision(name: str, variant: str) -> None:
    from torchvision.models import list_models  # noqa: PLC0415

    if variant not in list_models():
        _unknown(name, variant, list_models())


def _unknown(name: str, variant: str, known: list[str]) -> None:
    library = name.partition(":")[0]
    near = get_close_matches(variant, known, n=3) or known[:3]
    raise BuildError(
        f"{library} has no model {variant}: use one that it has, as {', '.join(near)}."
    )


def _timm_view(model: nn.Module) -> View:
    from timm.data import resolve_data_config  # noqa: PLC0415

    config = resolve_data_config(model=model)
    return View(config["input_size"][-1], config["interpolation"])


def _timm_wnids(model: nn.Module) -> list[str] | None:
    from timm.data import ImageNetInfo, infer_imagenet_subset  # noqa: PLC0415

    subset = infer_imagenet_subset(model)
    return ImageNetInfo(subset).label_names() if subset else None


def _torchvision_view(variant: str) -> View:
    from torchvision.models import get_model_weights  # noqa: PLC0415

    preset: Any = get_model_weights(variant).DEFAULT.transforms()
    return View(preset.crop_size[0], preset.interpolation.value)


def _by_function(name: str, module: str, function: str, checkpoint: Path | None) -> Classifier:
    made = _call(name, module, function)
    model, transform = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise BuildError(
            f"{name} returned {type(model).__name__}: let it return a torch Module, or a Module "
            "and its transform."
        )
    if checkpoint is not None:
        load_weights(model, read_state_dict(checkpoint), name, checkpoint)
    view, mean, std = _parts_of(name, transform)
    return Classifier(name, model, view, mean, std)


def _call(name: str, module: str, function: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as of `python -m`: the user's module lies where he calls
    try:
        found: Callable[[], Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise BuildError(
            f"There is no model {name} ({first_line(error)}): use timm:NAME, torchvision:NAME, a "
            "network of build, or MODULE:FUNCTION of a module that Python finds."
        ) from error
    try:
        return found()
    except Exception as error:  # It is the user's.
        raise BuildError(
            f"{name}() failed ({type(error).__name__}: {first_line(error)}): mend the function."
        ) from error


def _parts_of(name: str, transform: Any) -> tuple[View, Any, Any]:
    """Return the view, mean and std that a transform has; corruption comes between the two."""
    if transform is None:
        return View(), IMAGENET_MEAN, IMAGENET_STD
    if all(hasattr(transform, name) for name in ("crop_size", "interpolation", "mean", "std")):
        view = View(transform.crop_size[0], transform.interpolation.value)
        return view, transform.mean, transform.std
    steps = {type(step).__name__: step for step in getattr(transform, "transforms", [transform])}
    sized: Any = steps.get("CenterCrop") or steps.get("Resize")
    if sized is None or "Normalize" not in steps:
        raise BuildError(
            f"The transform of {name} cannot be taken apart: let it be a torchvision Compose of "
            "Resize, CenterCrop, ToTensor and Normalize."
        )
    interpolation = getattr(steps.get("Resize"), "interpolation", InterpolationMode.BILINEAR)
    size = sized.size if isinstance(sized.size, int) else sized.size[0]
    normalise: Any = steps["Normalize"]
    mean, std = ([float(value) for value in values] for values in (normalise.mean, normalise.std))
    return View(size, interpolation.value), mean, std
