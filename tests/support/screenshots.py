"""Screenshots of the page in both themes, all languages and two widths.

``python -m tests.support.screenshots LINK [PATH…]`` logs in by a one-time link and writes
``page-<path>-<language>-<theme>-<width>.png`` into the current directory. It needs ``chromium``.
"""

from __future__ import annotations

import base64
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dispatcher.page.language import NAMES
from tests.servers.browser import browser

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

THEMES = ("light", "dark")
WIDTHS = {"wide": 1440, "phone": 390}
HIGHEST = 4_000
"""Pixels of a picture."""


def shoot(
    link: str,
    paths: Sequence[str],
    *,
    languages: Sequence[str] = tuple(NAMES),
    into: Path = Path(),
) -> list[Path]:
    """Take the screenshots, each of a whole page; the files that were written."""
    parts = urlsplit(link)
    origin, written = f"{parts.scheme}://{parts.netloc}", []
    with (
        tempfile.TemporaryDirectory(
            prefix="disinto-chromium-", ignore_cleanup_errors=True
        ) as profile,
        browser(Path(profile)) as chrome,
    ):
        chrome.get(link)
        for path in paths:
            for code in languages:
                for theme in THEMES:
                    for name, width in WIDTHS.items():
                        show_as(chrome, theme=theme, width=width)
                        mark = "&" if "?" in path else "?"
                        chrome.get(f"{origin}{path}{mark}lang={code}")
                        file = into / f"page-{_named(path)}-{code}-{theme}-{name}.png"
                        file.write_bytes(_picture(chrome, width))
                        written.append(file.resolve())
    return written


def show_as(chrome: Chrome, *, theme: str, width: int, height: int = 900) -> None:
    """Have a browser be as wide as this, also narrower than any window, and prefer this theme."""
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def _picture(chrome: Chrome, width: int) -> bytes:
    height = chrome.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, HIGHEST), "scale": 1}
    wanted = {"clip": clip, "captureBeyondViewport": True}
    return base64.b64decode(chrome.execute_cdp_cmd("Page.captureScreenshot", wanted)["data"])


def _named(path: str) -> str:
    return path.strip("/").replace("/", "-").replace("?", "-") or "overview"


if __name__ == "__main__":
    for each in shoot(sys.argv[1], sys.argv[2:] or ["/"]):
        print(each)
