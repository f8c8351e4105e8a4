from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from datasets import Features, load_dataset
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from builder.dataset.dataset import DataSet
from builder.dataset.manifest import Manifest
from builder.pages.header import make_header

CONFIGS = ("masks", "rankings", "features", "preview", "contents")
SPLITS = ("train", "validation")


@pytest.fixture
def card(planted: Path) -> str:
    return (planted / "README.md").read_text()


@pytest.fixture
def header(card: str) -> DatasetCardData:
    data = DatasetCard(card).data
    assert isinstance(data, DatasetCardData)
    return data


def test_the_hub_s_own_classes_read_its_header(card: str) -> None:
    loaded = DatasetCard(card)
    data = loaded.data.to_dict()  # type: ignore[no-untyped-call]
    assert data["license"] == "other"
    assert data["size_categories"] == ["n<1K"]
    assert data["task_categories"] == ["image-classification", "image-segmentation"]
    assert "arxiv:2110.04301" in data["tags"]
    # Written again by the Hub's classes, it is the same card.
    assert yaml.safe_load(loaded.data.to_yaml()) == yaml.safe_load(card.split("---\n")[1])
    assert str(loaded) == card


def test_every_config_names_the_files_of_every_split(header: DatasetCardData) -> None:
    assert header["configs"] == [
        {
            "config_name": config,
            **({"default": True} if config == "masks" else {}),
            "data_files": [
                {"split": split, "path": f"{config}/{split}-*.parquet"} for split in SPLITS
            ],
        }
        for config in CONFIGS
    ]
    configs = MetadataConfigs.from_dataset_card_data(header)
    assert configs.get_default_config_name() == "masks"


@pytest.mark.parametrize("config", CONFIGS)
def test_datasets_reads_columns_and_sizes_from_it(
    planted: Path, header: DatasetCardData, config: str
) -> None:
    info = DatasetInfosDict.from_dataset_card_data(header)[config]
    for split in SPLITS:
        rows = load_dataset(
            "parquet", data_files=str(planted / config / f"{split}-*.parquet"), streaming=True
        )["train"]
        assert info.features == rows.features == Features(info.features)
        assert info.splits[split].num_examples == sum(1 for _ in rows)
        assert info.splits[split].num_bytes > 0
    files = list((planted / config).iterdir())
    assert info.download_size == sum(path.stat().st_size for path in files)
    assert info.dataset_size == sum(info.splits[split].num_bytes for split in SPLITS)


def test_the_card_begins_with_it(planted: Path, card: str) -> None:
    manifest = Manifest.load(planted)
    assert manifest
    assert card.startswith(f"---\n{make_header(DataSet(manifest, planted))}\n---\n")


def test_images_are_named_by_it_and_all_else_is_the_same(planted: Path) -> None:
    manifest = Manifest.load(planted)
    assert manifest
    data = DataSet(manifest, planted)
    public = yaml.safe_load(make_header(data))
    manifest.files["images/train-00000-000.parquet"] = {"bytes": 1, "sha256": "0"}
    private = yaml.safe_load(make_header(data))
    assert private["configs"].pop(0) == {
        "config_name": "images",
        "data_files": [{"split": "train", "path": "images/train-*.parquet"}],
    }
    assert private == public
