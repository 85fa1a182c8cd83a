"""The paths of the browsers for tests, benchmarks and the screenshots of the documentation."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def find_chromium() -> Path | None:
    return _find("LLAVA_GATEWAY_TEST_CHROMIUM", ("chromium", "chromium-browser", "google-chrome"))


def find_firefox() -> Path | None:
    return _find("LLAVA_GATEWAY_TEST_FIREFOX", ("firefox-esr", "firefox"))


def _find(variable: str, names: tuple[str, ...]) -> Path | None:
    found = os.environ.get(variable) or next(filter(None, map(shutil.which, names)), None)
    return Path(found) if found else None
