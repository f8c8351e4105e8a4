"""How large the page of an evaluation is, and how fast it opens.

    python -m tests.benchmarks.report [--models 60] [--classes 1000] [--opened 5]

Makes a page of synthetic results whose thumbnails weigh what those of photographs do, opens it in
Chromium without a window, and prints the medians, in seconds: until the page has loaded, until all
its charts are drawn, and the processor time that the page's thread has taken by then.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from builder.evaluate.page import make_page
from tests.browser import DESKTOP, PHONE, chromium, resize
from tests.evaluate.synthetic import synthetic_report

_LOADED = "return performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
_DRAW = "if (!window.Plotly) return false; dispatchEvent(new Event('beforeprint')); return true"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--opened", type=int, default=5)
    options = parser.parse_args()
    report = synthetic_report(options.models, options.classes)
    with tempfile.TemporaryDirectory() as base:
        path = Path(base) / "report.html"
        start = time.perf_counter()
        path.write_text(make_page(report))
        print(f"made in {time.perf_counter() - start:.1f} s, {path.stat().st_size / 1e6:.1f} MB")
        for width in (DESKTOP, PHONE):
            # A browser of its own each time, as compiled scripts are kept.
            found = [_opened(path, width, Path(base) / str(i)) for i in range(options.opened)]
            loaded, drawn, busy = map(statistics.median, zip(*found, strict=True))
            print(f"{width} pixels: loaded {loaded:.2f}, drawn {drawn:.2f}, processor {busy:.2f}")


def _opened(path: Path, width: int, profile: Path) -> tuple[float, float, float]:
    with chromium(profile) as browser:
        resize(browser, width)
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        browser.get("about:blank")
        start = time.perf_counter()
        browser.get(path.as_uri())
        WebDriverWait(browser, 120, 0.05).until(lambda _: browser.execute_script(_DRAW))
        drawn = time.perf_counter() - start
        return float(browser.execute_script(_LOADED)), drawn, _busy(browser)


def _busy(browser: webdriver.Chrome) -> float:
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


if __name__ == "__main__":
    main()
