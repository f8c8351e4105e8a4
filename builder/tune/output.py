"""What the tuning of a head writes for its readers: the head, its numbers, and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from builder.network.head import write_head
from builder.storage.files import atomic_write
from builder.storage.objects import saved_object
from builder.tune.page import make_page
from builder.tune.report import HeadReport

HEAD_FILE = "head.safetensors"
PAGE_FILE = "report.html"

_REPORT_FILE = "report.json"


def read_summary(out: Path) -> dict[str, Any] | None:
    """Return the numbers of a finished report, None where there is none."""
    if not (out / PAGE_FILE).exists():
        return None
    return saved_object(out / _REPORT_FILE)


def write_report(out: Path, report: HeadReport) -> None:
    """Write the head, its numbers, and a page, which comes last."""
    write_head(out / HEAD_FILE, report.head)
    texts = {
        _REPORT_FILE: json.dumps(report.summary(), indent=2) + "\n",
        PAGE_FILE: make_page(report),
    }
    for name, text in texts.items():
        with atomic_write(out / name) as file:
            file.write(text.encode())
