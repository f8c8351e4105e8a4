"""An independent scanner of dataset repositories looks at the published directory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def scan(directory: Path) -> dict[str, Any]:
    """Return what hf-dataset-guard reports: code, templates, secrets, pickles."""
    ran = subprocess.run(
        [sys.executable, "-m", "hf_dataset_guard.cli", "scan", directory, "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def test_it_finds_nothing(planted: Path) -> None:
    report = scan(planted)
    assert report["findings"] == []
    # It reads all that is text; of Parquet it knows that no code runs when it is read.
    assert sorted(report["incomplete_reasons"]) == [
        f"Skipped unsupported data file: {path.relative_to(planted)}"
        for path in sorted(planted.rglob("*.parquet"))
    ]


def test_it_would_have_found_something(planted: Path, tmp_path: Path) -> None:
    spoilt = shutil.copytree(planted, tmp_path / "data")
    (spoilt / "data.py").write_text("import os\nos.system('id')\n")
    assert [finding["file"] for finding in scan(spoilt)["findings"]] == ["data.py"]
