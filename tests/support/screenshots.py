"""Screenshots of the page in both themes, all languages and two widths.

``python -m tests.support.screenshots LINK [PATH…]`` logs in by a one-time link and writes
``page-<path>-<language>-<theme>-<width>.png`` into the current directory. It needs ``chromium``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dispatcher.page.language import NAMES

THEMES = {"light": "1", "dark": "0"}
WIDTHS = {"wide": (1280, 1400), "phone": (500, 1400)}
"""Headless Chromium makes no window narrower than 500."""


def shoot(
    link: str,
    paths: Sequence[str],
    *,
    languages: Sequence[str] = tuple(NAMES),
    into: Path = Path(),
) -> list[Path]:
    """Take the screenshots; the files that were written."""
    parts = urlsplit(link)
    origin, written = f"{parts.scheme}://{parts.netloc}", []
    with tempfile.TemporaryDirectory(prefix="disinto-chromium-") as profile:
        _chromium(profile, link, "--dump-dom")
        for path in paths:
            for code in languages:
                for theme, number in THEMES.items():
                    for width, size in WIDTHS.items():
                        name = path.strip("/").replace("/", "-") or "overview"
                        file = (into / f"page-{name}-{code}-{theme}-{width}.png").resolve()
                        _chromium(
                            profile,
                            f"{origin}{path}{'&' if '?' in path else '?'}lang={code}",
                            f"--screenshot={file}",
                            f"--window-size={size[0]},{size[1]}",
                            f"--blink-settings=preferredColorScheme={number}",
                        )
                        written.append(file)
    return written


def _chromium(profile: str, url: str, *options: str) -> None:
    program = shutil.which("chromium") or "chromium"
    subprocess.run(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            *options,
            url,
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )


if __name__ == "__main__":
    for each in shoot(sys.argv[1], sys.argv[2:] or ["/"]):
        print(each)
