"""Guacamole's page in a browser: what its display shows, and what it says when there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tenacity
from selenium.webdriver import Chrome

from tests.support.rfb import Picture

GRID = 24
"""Points in each direction that are compared."""

_DISPLAY = """
    const canvas = document.querySelector('.display canvas');
    if (!canvas) return null;
    const context = canvas.getContext('2d');
    return {
        width: canvas.parentElement.clientWidth, height: canvas.parentElement.clientHeight,
        pixels: arguments[0].map(([x, y]) => Array.from(context.getImageData(x, y, 1, 1).data).slice(0, 3)),
    };
"""
_TEXT = "return document.body ? document.body.innerText : ''"

_T = TypeVar("_T")
_Pixel = tuple[int, int, int]


def points(width: int, height: int) -> list[tuple[int, int]]:
    """A grid over a display."""
    return [
        (width * (2 * column + 1) // (2 * GRID), height * (2 * row + 1) // (2 * GRID))
        for row in range(GRID)
        for column in range(GRID)
    ]


def eventually(condition: Callable[[], _T], *, seconds: float = 40) -> _T:
    """What it returns as soon as it raises nothing; then what it raised."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(seconds), wait=tenacity.wait_fixed(0.3), reraise=True
    )
    return retrying(condition)


def shows(browser: Chrome, picture: Picture) -> None:
    """Assert that the display in the page is this picture, as far as its compression is faithful."""
    grid = points(picture.width, picture.height)
    shown: Any = browser.execute_script(_DISPLAY, grid)
    assert shown is not None, f"the page has no display: {text(browser)!r}"
    assert (shown["width"], shown["height"]) == (picture.width, picture.height)
    expected = [picture.pixel(x, y) for x, y in grid]
    assert len(set(expected)) > 2, "a picture of one colour proves nothing"
    pairs = list(zip(map(tuple, shown["pixels"]), expected, strict=True))
    alike = sum(_alike(one, other) for one, other in pairs)
    assert alike > 0.95 * len(grid), f"{alike} of {len(grid)} points are as the VNC server has them"


def text(browser: Chrome) -> str:
    """What there is to read on the page."""
    return str(browser.execute_script(_TEXT))


def _alike(one: tuple[int, ...], other: _Pixel) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 24
