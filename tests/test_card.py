from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import DatasetCard


@pytest.fixture
def card(planted: Path) -> str:
    return (planted / "README.md").read_text()


def test_the_hub_s_own_classes_read_its_header(card: str) -> None:
    data = DatasetCard(card).data.to_dict()  # type: ignore[no-untyped-call]
    assert data["license"] == "other"
    assert data["size_categories"] == ["n<1K"]


def test_every_config_names_the_files_of_every_split(card: str) -> None:
    header = yaml.safe_load(card.split("---")[1])
    assert header["configs"] == [
        {
            "config_name": config,
            **({"default": True} if config == "masks" else {}),
            "data_files": [
                {"split": split, "path": f"{config}/{split}-*.parquet"}
                for split in ("train", "validation")
            ],
        }
        for config in ("masks", "rankings", "features")
    ]


def test_its_numbers_are_the_data_s(card: str) -> None:
    assert "| train | 36 | 3 | 108 | 72 | 24 |" in card
    assert "| validation | 15 | 3 | 45 | 30 | 10 |" in card
    assert "of 3 classes with votes 1 have no core feature and 1 no spurious one" in card


def test_no_placeholder_is_left(card: str) -> None:
    assert "$" not in card


def test_its_code_runs(card: str, planted: Path) -> None:
    namespace: dict[str, object] = {}
    for block in card.split("```python\n")[1:]:
        code = block.split("```")[0].replace("PATH_OR_REPOSITORY", str(planted))
        exec(compile(code, "README.md", "exec"), namespace)
    maps, row = namespace["maps"], namespace["row"]
    assert isinstance(maps, np.ndarray)
    assert isinstance(row, dict)
    assert maps.mean(axis=(1, 2)) == pytest.approx(row["activations"], rel=0.02, abs=1e-3)
