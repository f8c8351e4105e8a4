"""The card: README.md of the data set, from its template, its manifest and its Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetInfo, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCardData

from builder.dataset.dataset import DataSet, columns_of
from builder.dataset.layout import IMAGES, PUBLISHED_CONFIGS, file_pattern
from builder.dataset.statistics import split_statistics, vote_statistics
from builder.network.importance import TOPS
from builder.pages.plots import KINDS_PLOT, MASKS_PLOT, SPURIOSITY_PLOT
from builder.pages.preview import example_rows
from builder.pages.templates import environment
from builder.storage.parquet import parquet_source
from salient_imagenet_1m import VALIDATED_FRACTION

TERMS = (
    "ImageNet's terms: its images are for non-commercial research and education, by people who "
    "have accepted these terms at https://www.image-net.org/download.php, and may not be passed on "
    "to others. Keep the repository private, and let only such people in."
)
"""What who publishes ImageNet's images to a private repository undertakes."""

_ROWS = {
    "masks": "image",
    "rankings": "image of a class with a spurious feature, sorted",
    "features": "class-feature pair",
    "preview": "image, a few of each split",
    "embeddings": "image: the activations of all features, as float16",
}
"""What has a row in each config."""

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
_VERSIONS = ("python", "torch", "torchvision", "timm", "pillow", "numpy", "pyarrow", "datasets")


def make_card(data: DataSet) -> str:
    """Fill the card's template; every number in it comes from the data.

    Parameters
    ----------
    data : DataSet
        With at least one split, and the preview of each. Where its manifest lists images as well,
        the card is that of a private repository, and says what that obliges to.

    Returns
    -------
    str
        Markdown with a YAML header that names the configs, their files, columns and sizes.
    """
    splits = {name: data.manifest.splits[name] for name in data.splits}
    schemas = {config: data.schema(config) for config in data.configs}
    with_images = any(data.files(IMAGES, split) for split in splits)
    configs = [*([IMAGES] if with_images else []), *schemas]
    return _template().render(
        metadata=_metadata(data, schemas, configs).to_yaml(),
        with_images=with_images,
        terms=TERMS,
        statistics=_statistics(splits),
        splits=splits,
        split=data.splits[0],
        origin=data.manifest.origin,
        examples=example_rows(data),
        names=data.names,
        configs=[
            {
                "name": name,
                "row": _ROWS[name],
                "columns": [f"`{column}`" for column in schema.names],
            }
            for name, schema in schemas.items()
        ],
        votes=data.votes,
        of_votes=vote_statistics(data.votes),
        of_splits={name: split_statistics(data, name) for name in splits},
        set_aside=_set_aside(splits),
        zone=round(100 * VALIDATED_FRACTION),
        plots={"masks": MASKS_PLOT, "kinds": KINDS_PLOT, "spuriosity": SPURIOSITY_PLOT},
    )


def template_path() -> Path:
    """Return where the template is, in an installed package or else in the project itself."""
    installed = Path(__file__).parents[1] / "dataset_card.md"
    return installed if installed.exists() else installed.parents[1] / "dataset_card.md"


def _template() -> jinja2.Template:
    cards = environment(escape=False)  # It is no HTML; names are escaped as cells.
    cards.filters |= {
        "count": "{:,}".format,
        "number": _number,
        "cell": _cell,
        "versions": lambda inputs: ", ".join(
            f"{name} {inputs[name]}" for name in _VERSIONS if name in inputs
        ),
        "agreement": _agreement,
    }
    return cards.from_string(template_path().read_text("utf-8"))


def _cell(name: str) -> str:
    """Return the first of a class's names, fit for a table."""
    return " ".join(name.split(",", maxsplit=1)[0].split()).replace("|", "\\|")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _metadata(data: DataSet, schemas: dict[str, pa.Schema], configs: list[str]) -> DatasetCardData:
    """Return what stands in the card's header: all configs, and the columns of those given."""
    rows = sum(split["counts"]["rows"] for split in data.manifest.splits.values())
    metadata = DatasetCardData(
        pretty_name="Salient ImageNet-1M",
        license="other",
        license_name="non-commercial-research",
        license_link="https://www.image-net.org/download.php",
        language=["en"],
        annotations_creators=["crowdsourced", "machine-generated"],
        source_datasets=["extended|imagenet-1k"],
        task_categories=["image-classification", "image-segmentation"],
        size_categories=[next((name for limit, name in _SIZES if rows < limit), "1M<n<10M")],
        tags=[
            "imagenet",
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
    return metadata


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


def _statistics(splits: dict[str, Any]) -> str:
    lines = [
        "| split | images | classes | core masks | spurious masks | ranked images | bytes a mask |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, split in splits.items():
        counts = split["counts"]
        cells = [
            f"{counts[key]:,}"
            for key in ("rows", "classes", "core_masks", "spurious_masks", "ranked_rows")
        ]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {counts['grid_bytes'] / counts['masks']:.1f} |"
        )
    return "\n".join(lines)


def _agreement(found: dict[str, Any]) -> str:
    if not found["pairs"]:
        return "too few images to compare"
    shares = ", ".join(f"{found[f'in_top_{top}']:,} in the top {top}" for top in TOPS)
    return (
        f"of {found['pairs']:,} voted features of {found['classes']:,} classes, by the network's "
        f"own ranking of features, {shares}"
    )


def _set_aside(splits: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"split": name, "reason": reason, "images": count}
        for name, split in splits.items()
        for reason, count in split["counts"]["set_aside"].items()
    ]
