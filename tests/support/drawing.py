"""Something to see on an X server without a desktop: a background and two windows, by a name."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import tenacity

_PLACES = ("40x12+60+80", "24x20+460+240")


@contextmanager
def on(display: str, name: str) -> Iterator[None]:
    """Draw until the block ends. Colours differ from name to name."""
    background, *windows = _colours(name)
    with ExitStack() as stack:
        _paint(display, background)
        for place, colour in zip(_PLACES, windows, strict=True):
            window = subprocess.Popen(
                ["xterm", "-display", display, "-geometry", place, "-bg", colour,
                 "-e", "sleep", "infinity"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(window.wait)
            stack.callback(window.terminate)
        yield


@tenacity.retry(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.2), reraise=True)
def _paint(display: str, colour: str) -> None:
    command = ["xsetroot", "-display", display, "-solid", colour]
    subprocess.run(command, check=True, capture_output=True, timeout=10)


def _colours(name: str) -> list[str]:
    drawn = hashlib.sha256(name.encode()).hexdigest()
    return [f"#{drawn[at : at + 6]}" for at in (0, 6, 12)]
