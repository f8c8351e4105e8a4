"""Croissant: the data set described for machines, with the fields of responsible AI.

Versions 1.0 of https://docs.mlcommons.org/croissant/docs/croissant-spec.html and
https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html.
"""

from __future__ import annotations

from typing import Any

from datasets import ClassLabel, Image, Value

from builder.dataset.configs import WHOLE_IMAGES
from builder.dataset.dataset import DataSet, columns_of
from builder.dataset.statistics import vote_statistics
from builder.dataset.subject import Subject

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The one that the specification asks for, word for word."""

_CITATION = (
    "Sahil Singla and Soheil Feizi. Salient ImageNet: How to discover spurious features in Deep "
    "Learning? ICLR 2022. Sahil Singla, Mazda Moayeri and Soheil Feizi. Core Risk Minimization "
    "using Salient ImageNet. arXiv:2203.15566, 2022. Mazda Moayeri, Wenxiao Wang, Sahil Singla and "
    "Soheil Feizi. Spuriosity Rankings: Sorting Data to Measure and Mitigate Biases. NeurIPS 2023."
)


def make_croissant(data: DataSet) -> dict[str, Any]:
    """Describe a data set.

    Parameters
    ----------
    data : DataSet
        With at least one split.

    Returns
    -------
    dict
        JSON-LD. Files are named relative to it.
    """
    configs = {
        config: [name for split in data.splits for name in data.files(config, split)]
        for config in data.configs
    }
    about = Subject.of(data.manifest)
    of_source = "" if about.source == "" else f" of {about.images}"
    terms = "https://www.image-net.org/download.php" if about.is_imagenet else None
    licence, named = about.licence or terms, ["ImageNet"] if about.is_imagenet else []
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.0",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": about.slug,
        "description": (
            f"Soft masks of where a {'robust ' if about.is_imagenet else ''}network sees the core "
            f"and the spurious features of each image{of_source}, how strong they are, and images "
            "ranked by how spurious they are. It holds no image."
        ),
        "version": f"{data.manifest.format_version}.0.0",
        "url": "https://arxiv.org/abs/2203.15566",
        **({"license": licence} if licence else {}),
        "keywords": [*named, "spurious correlations", "interpretability", "robustness"],
        "citeAs": _CITATION,
        **_responsible_ai(data, about),
        "distribution": [
            *(_file_object(data, name) for names in configs.values() for name in names),
            *(_file_set(config) for config in configs),
        ],
        "recordSet": [_record_set(data, config) for config in configs],
    }


def _responsible_ai(data: DataSet, about: Subject) -> dict[str, Any]:
    votes, origin = vote_statistics(data.votes), data.manifest.origin
    owner = "ImageNet's" if about.is_imagenet else "the"
    pictures = "images of ImageNet" if about.is_imagenet else "the images"
    classes, has_whole = len(data.votes.by_label), bool(data.splits_of(WHOLE_IMAGES))
    counts = [part["counts"] for part in data.manifest.splits.values()]
    aside = sum(sum(part["set_aside"].values()) for part in counts)
    per_pair = {
        pair.main_object + pair.separate_object + pair.background for pair in data.votes.pairs
    }
    fewest_to_most = " to ".join(map(str, sorted({min(per_pair), max(per_pair)})))
    return {
        "rai:dataCollection": (
            "Computed from ImageNet's images (ILSVRC 2012), which were collected from the web by "
            "others. No image was collected for this data set."
            if about.is_imagenet
            else f"Computed from {about.images}."
        ),
        "rai:dataCollectionType": ["Secondary data analysis", "Software collection"],
        "rai:dataCollectionMissingData": (
            f"{aside:,} of {sum(part['images'] for part in counts):,} images could not be used; "
            "set_aside.parquet, where there is one, names each and why."
        ),
        "rai:dataPreprocessingProtocol": _preprocessing(data),
        "rai:dataAnnotationProtocol": [
            "Workers saw the images that activate a neural feature most, with its activation maps, "
            "and answered whether it is on the main object, on a separate object or on the "
            "background. A majority for the latter two makes the feature spurious for its class.",
            f"Masks are the network's own ({origin['network']}); no person drew or checked each.",
        ],
        "rai:dataAnnotationPlatform": [
            "Amazon Mechanical Turk, for the published votes"
            if about.is_imagenet
            else "What the votes file does not tell"
        ],
        "rai:annotationsPerItem": f"{fewest_to_most} votes on each class-feature pair",
        "rai:machineAnnotationTools": [
            f"{origin['network']}, SHA-256 of its tensors {origin['weights_sha256']}"
        ],
        "rai:dataUseCases": [
            "Measuring how far a model relies on spurious features",
            "Training with masks, or on images that lack the spurious cue",
            "Finding minority subpopulations of classes",
        ],
        "rai:dataLimitations": [
            "Maps were validated only on the images that activate a feature most, the top fifth of "
            "a class."
            if about.is_imagenet or votes.studied
            else "Nobody validated the maps.",
            f"{votes.classes_by_spurious[-1]:,} of {classes:,} classes have no core feature, "
            f"{votes.classes_by_spurious[0]:,} no spurious one.",
            "The features are one network's; pixels outside the square that it saw are unknown"
            f"{', but in the config whole' if has_whole else ''}.",
        ],
        "rai:dataBiases": [
            f"Inherits the biases of {owner} images and labels, of one network's features, and of "
            "a few voters per feature.",
        ],
        "rai:dataSocialImpact": (
            "Meant to make models depend less on accompanying cues. Spuriosity is a statement on a "
            "network's features, not on the people or things in an image."
        ),
        "rai:personalSensitiveInformation": [
            f"No image is in it. Image ids refer to {pictures}, in some of which people "
            f"{'can' if about.is_imagenet else 'may'} be seen."
        ],
        "rai:dataReleaseMaintenancePlan": (
            "Versions are tags of the repository; manifest.json has the hash of every file and "
            "what it was made from."
        ),
    }


def _preprocessing(data: DataSet) -> list[str]:
    whole = (part.get(WHOLE_IMAGES) for part in data.manifest.splits.values())
    ways = {
        f"Whole images: {part['inputs']['preprocessing_of_whole']}": None for part in whole if part
    }
    return [data.manifest.origin["preprocessing"], *ways]


def _file_object(data: DataSet, name: str) -> dict[str, Any]:
    file = data.manifest.files[name]
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{file['bytes']} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file["sha256"],
    }


def _file_set(config: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{config}-files",
        "name": f"{config}-files",
        "encodingFormat": "application/x-parquet",
        "includes": f"{config}/*.parquet",
    }


def _record_set(data: DataSet, config: str) -> dict[str, Any]:
    features = columns_of(data.schema(config))
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "field": [_field(config, name, feature) for name, feature in features.items()],
    }


def _field(config: str, name: str, feature: Any) -> dict[str, Any]:
    is_list = not isinstance(feature, (ClassLabel, Image, Value))
    source: dict[str, Any] = {
        "fileSet": {"@id": f"{config}-files"},
        "extract": {"column": name},
    }
    if isinstance(feature, Image):
        source["transform"] = {"jsonPath": "bytes"}
    return {
        "@type": "cr:Field",
        "@id": f"{config}/{name}",
        "name": name,
        "dataType": _data_type(feature.feature if is_list else feature),
        **({"repeated": True} if is_list else {}),
        "source": source,
    }


def _data_type(feature: Any) -> str:
    if isinstance(feature, Image):
        return "sc:ImageObject"
    if isinstance(feature, ClassLabel) or feature.dtype.startswith("int"):
        return "sc:Integer"
    return "sc:Float" if feature.dtype.startswith("float") else "sc:Text"
