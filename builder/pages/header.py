"""The card's header: configs, their files, columns and sizes, as `datasets` and the Hub read it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetInfo, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCardData

from builder.dataset.dataset import DataSet, columns_of
from builder.dataset.layout import IMAGES, PUBLISHED_CONFIGS, file_pattern
from builder.dataset.subject import Subject, slug
from builder.storage.parquet import parquet_source

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def holds_images(data: DataSet) -> bool:
    """Return whether the original images are in it too, as in a private repository."""
    return any(data.files(IMAGES, split) for split in data.splits)


def make_header(data: DataSet) -> str:
    """Return the header as YAML.

    Parameters
    ----------
    data : DataSet
        With at least one split, and the preview of each.
    """
    schemas = {config: data.schema(config) for config in data.configs}
    configs = [*([IMAGES] if holds_images(data) else []), *schemas]
    rows = sum(split["counts"]["rows"] for split in data.manifest.splits.values())
    about = Subject.of(data.manifest)
    metadata = DatasetCardData(
        pretty_name=about.title,
        **_licence(about),
        language=["en"],
        annotations_creators=["crowdsourced", "machine-generated"],
        source_datasets=["extended|imagenet-1k" if about.is_imagenet else "original"],
        task_categories=["image-classification", "image-segmentation"],
        size_categories=[next((name for limit, name in _SIZES if rows < limit), "1M<n<10M")],
        tags=[
            *(["imagenet"] if about.is_imagenet else []),
            "spurious-correlations",
            "interpretability",
            "robustness",
            "saliency",
            "arxiv:2110.04301",
            "arxiv:2203.15566",
            "arxiv:2212.02648",
        ],
        configs=[_files(data, config) for config in configs],
    )
    infos = {config: _info(data, config, schema) for config, schema in schemas.items()}
    DatasetInfosDict(infos).to_dataset_card_data(metadata)
    for info in metadata["dataset_info"]:
        info["features"] = [_as_before_release_4(column) for column in info["features"]]
    header: str = metadata.to_yaml()
    return header


def _licence(about: Subject) -> dict[str, Any]:
    """Return a licence as the Hub knows it: by names of its own, or another by name and link."""
    if about.licence:
        link = {"license_link": about.licence} if "://" in about.licence else {}
        return {"license": "other", "license_name": slug(about.licence), **link}
    if not about.is_imagenet:
        return {}
    return {
        "license": "other",
        "license_name": "non-commercial-research",
        "license_link": "https://www.image-net.org/download.php",
    }


def _files(data: DataSet, config: str) -> dict[str, Any]:
    return {
        "config_name": config,
        **({"default": True} if config == PUBLISHED_CONFIGS[0] else {}),
        "data_files": [
            {"split": split, "path": file_pattern(config, split)} for split in data.splits
        ],
    }


def _info(data: DataSet, config: str, schema: pa.Schema) -> DatasetInfo:
    """Return columns and sizes of a config.

    Bytes are those of the Parquet pages before compression, as the Hub's own viewer counts them.
    """
    splits = SplitDict()
    download = 0
    for split in data.splits:
        paths = [data.path(name) for name in data.files(config, split)]
        download += sum(path.stat().st_size for path in paths)
        files = [pq.read_metadata(parquet_source(path)) for path in paths]
        groups = [file.row_group(group) for file in files for group in range(file.num_row_groups)]
        splits.add(
            SplitInfo(
                split,
                num_bytes=sum(group.total_byte_size for group in groups),
                num_examples=sum(file.num_rows for file in files),
            )
        )
    return DatasetInfo(
        features=columns_of(schema),
        splits=splits,
        download_size=download,
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )


def _as_before_release_4(column: dict[str, Any]) -> dict[str, Any]:
    """Name a list as `datasets` 3 does: it takes ``list`` for one of any length."""
    return {"sequence" if key == "list" else key: value for key, value in column.items()}
