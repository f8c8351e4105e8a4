"""The columns of the published files, config by config."""

from __future__ import annotations

import pyarrow as pa
from datasets import ClassLabel, Features, Image, Sequence, Value


def mask_features(names: list[str], features_per_class: int) -> Features:
    """Return the columns of the config ``masks``, a row per image.

    Parameters
    ----------
    names : list of str
        The name of each class, by label.
    features_per_class : int

    Returns
    -------
    datasets.Features
    """

    def per_feature(dtype: str) -> Sequence:
        return Sequence(Value(dtype), length=features_per_class)

    return Features(
        {
            "image_id": Value("string"),
            "label": ClassLabel(names=names),
            "width": Value("int32"),
            "height": Value("int32"),
            "features": per_feature("int32"),
            "kinds": per_feature("string"),
            "activations": per_feature("float32"),
            "peaks": per_feature("float32"),
            "activation_ranks": per_feature("int32"),
            "grids": Value("binary"),
            "grid_height": Value("int32"),
            "grid_width": Value("int32"),
            "core_mask": Image(),
            "spurious_mask": Image(),
            "spuriosity": Value("float64"),
            "spuriosity_rank": Value("int32"),
            "predicted": ClassLabel(names=names),
        }
    )


def whole_features(names: list[str], features_per_class: int) -> Features:
    """Return the columns of the config ``whole``, a row per row of ``masks``.

    ``box`` is what the grids cover: left, top, right and bottom in pixels of the original image.
    """
    masks = mask_features(names, features_per_class)
    own = ("image_id", "label", "width", "height", "features", "kinds", "peaks", "grids")
    return Features(
        {
            **{name: masks[name] for name in own},
            "grid_height": Value("int32"),
            "grid_width": Value("int32"),
            "box": Sequence(Value("float64"), length=4),
            "core_mask": Image(),
            "spurious_mask": Image(),
        }
    )


def ranking_features(names: list[str]) -> Features:
    """Return the columns of the config ``rankings``, sorted by label and spuriosity rank."""
    return Features(
        {
            "label": ClassLabel(names=names),
            "spuriosity_rank": Value("int32"),
            "image_id": Value("string"),
            "spuriosity": Value("float64"),
        }
    )


def pair_features(names: list[str], *, are_validated: bool = False) -> Features:
    """Return the columns of the config ``features``, a row per class-feature pair.

    Parameters
    ----------
    names : list of str
        The name of each class, by label.
    are_validated : bool
        Whether there was a validation study; of pairs that were not part of it both are null.
    """
    study = {"validated": Value("bool"), "same": Value("float64")}
    return Features(
        {
            "label": ClassLabel(names=names),
            "wnid": Value("string"),
            "name": Value("string"),
            "feature": Value("int32"),
            "rank": Value("int32"),
            "kind": Value("string"),
            "sub_kind": Value("string"),
            "main_object": Value("int32"),
            "separate_object": Value("int32"),
            "background": Value("int32"),
            "confidence": Value("float64"),
            "weight": Value("float32"),
            "activation_mean": Value("float64"),
            "activation_std": Value("float64"),
            **(study if are_validated else {}),
        }
    )


def embedding_features(channels: int) -> Features:
    """Return the columns of the config ``embeddings``: the activations of all neural features."""
    return Features(
        {"image_id": Value("string"), "embedding": Sequence(Value("float16"), length=channels)}
    )


def content_features() -> Features:
    """Return the columns of the config ``contents``: what the file of each image of masks was."""
    return Features(
        {"image_id": Value("string"), "bytes": Value("int64"), "content": Value("string")}
    )


def segmentation_features(names: list[str]) -> Features:
    """Return the columns of the config ``segmentations``: objects that people drew, image by image.

    Parameters
    ----------
    names : list of str
        The name of each class, by label.
    """
    return Features(
        {
            "image_id": Value("string"),
            "label": ClassLabel(names=names),
            "object_mask": Image(),
            "area": Value("float64"),
            "distance": Value("float64"),
            "release_rank": Value("int32"),
        }
    )


def preview_features(names: list[str], features_per_class: int) -> Features:
    """Return the columns of the config ``preview``.

    Parameters
    ----------
    names : list of str
        The name of each class, by label.
    features_per_class : int
    """
    return Features(
        {
            "image_id": Value("string"),
            "label": ClassLabel(names=names),
            "core_mask": Image(),
            "spurious_mask": Image(),
            "kinds": Sequence(Value("string"), length=features_per_class),
            "activations": Sequence(Value("float32"), length=features_per_class),
            "spuriosity": Value("float64"),
            "spuriosity_rank": Value("int32"),
            "predicted": ClassLabel(names=names),
        }
    )


def whole_preview_features(names: list[str], features_per_class: int) -> Features:
    """Return the columns of the config ``preview_whole``, a row per row of ``preview``."""
    columns = preview_features(names, features_per_class)
    shown = ("image_id", "label", "core_mask", "spurious_mask", "kinds")
    return Features({name: columns[name] for name in shown})


def parquet_schema(features: Features) -> pa.Schema:
    """Return the Arrow schema of published files, readable by `datasets` before release 4 too.

    Release 4 renamed the type ``Sequence`` to ``List`` and still reads the old name.
    """
    schema = features.arrow_schema
    metadata = schema.metadata[b"huggingface"].replace(b'"_type": "List"', b'"_type": "Sequence"')
    return schema.with_metadata({b"huggingface": metadata})
