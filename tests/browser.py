"""A browser that looks at pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

PHONE, DESKTOP = 390, 1280
"""Widths of windows, in pixels."""


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Open a browser without a window; a test skips where there is none."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("there is no Chromium with its chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def resize(browser: webdriver.Chrome, width: int, height: int = 900) -> None:
    """Give pages so many pixels, and a finger where they are few."""
    is_phone = width < 600
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": is_phone})


def log(browser: webdriver.Chrome, name: str) -> list[dict[str, Any]]:
    """Return what came into a log since it was last read."""
    entries: list[dict[str, Any]] = browser.get_log(name)
    return entries


def requests(browser: webdriver.Chrome) -> set[str]:
    """Return what was loaded since the log was last read, but for what pages hold themselves."""
    urls = {
        entry["message"].partition('"request":{')[2].partition('"url":"')[2].partition('"')[0]
        for entry in log(browser, "performance")
        if '"Network.requestWillBeSent"' in entry["message"]
    }
    return {url for url in urls if not url.startswith("data:")}
