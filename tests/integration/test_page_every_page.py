"""Every page in a real browser: markup that strangers wrote is dead, and axe finds nothing serious."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import tenacity

from dispatcher.engines.base import Stream
from dispatcher.page import run_log, run_output
from dispatcher.page.language import NAMES
from dispatcher.page.routing import all_pages
from dispatcher.page.run_log import PIECE
from dispatcher.page.run_output import TAIL_BYTES
from tests.servers.axe import source, violations
from tests.servers.browser import browser
from tests.support.page_gallery import PLANTED, Gallery, gallery
from tests.support.screenshots import show_as
from tests.unit.test_page_run_log import Engine, Ledger

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.needs("chromium", "git")

LISTED = sorted(
    page.path
    for page in all_pages()
    if page.method == "GET" and not page.stream and not page.public and "{" not in page.path
)
"""Every page that has one address."""

PATHS = [
    *LISTED,
    "/?state=finished&text=%3Cb+class%3Dplanted%3E",
    "/actions/run-1",
    "/actions/run-2",
    "/actions/run-3",
    "/new/trap",
    "/inventory/volume/vol-1",
    "/stacks/stack-1",
    "/stacks/stack-2",
    "/stacks/stack-3",
    "/stacks/stack-3/update",
    "/stacks/stack-3/destroy",
    "/new-stack?from=stack-2",
    "/nothing-here",
    "/actions/%3Cb%20class=planted%3E",
    "/inventory/%3Cb%20class=planted%3E/x",
]
PLANTED_ON = {"/", "/actions/run-1", "/actions/run-3", "/new/trap", "/inventory", "/audit", "/doctor",
              "/sidecars", "/inventory/volume/vol-1", "/stacks", "/stacks/stack-1", "/stacks/stack-2",
              "/new-stack?from=stack-2"}  # fmt: skip
"""Where the payload must be seen as text, or else the test sees nothing."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    with gallery(tmp_path_factory.mktemp("gallery")) as made:
        yield made


@pytest.fixture(scope="module")
def chrome(shown: Gallery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile"), size=(1280, 1000)) as driver:
        driver.get(shown.link())
        yield driver


def _alive(chrome: Chrome) -> dict[str, object]:
    """What of the payload has become more than text."""
    script = """
      const own = [...document.scripts].filter((s) => !s.src.startsWith(location.origin + "/static/"));
      const handlers = [...document.querySelectorAll("*")].flatMap((e) =>
        [...e.attributes].filter((a) => a.name.startsWith("on") || a.name === "style"));
      const links = [...document.links].filter((a) => !/^https?:$/.test(a.protocol));
      return {
        ran: window.planted ?? null,
        elements: document.querySelectorAll(".planted, main svg [onload], main img, iframe, object").length,
        scripts: own.length, handlers: handlers.length, links: links.length,
        evaluated: document.body.innerText.includes("\\"'49"),
      };"""
    return dict(chrome.execute_script(script))


DEAD = {"ran": None, "elements": 0, "scripts": 0, "handlers": 0, "links": 0, "evaluated": False}


@pytest.mark.parametrize("path", PATHS)
def test_markup_is_dead_in_a_browser(shown: Gallery, chrome: Chrome, path: str) -> None:
    chrome.get(f"{shown.origin}{path}")
    if path in PLANTED_ON:

        @tenacity.retry(
            stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.1), reraise=True
        )
        def seen() -> None:
            text = chrome.execute_script(
                "return document.querySelector('main').textContent + "
                "[...document.querySelectorAll('input, textarea')].map((e) => e.value).join()"
            )
            assert PLANTED in text

        seen()
    assert _alive(chrome) == DEAD


def test_what_is_sent_back_into_a_form_is_dead(shown: Gallery, chrome: Chrome) -> None:
    """An id that is refused, and fields of the form with markup, come back with their errors."""
    chrome.get(f"{shown.origin}/new/trap")
    payload = "</textarea><b class=planted><script>window.planted=9</script>"
    chrome.execute_script(
        "for (const e of document.querySelectorAll('main input:not([type=hidden], [type=checkbox]), "
        "main textarea')) e.value = arguments[0];"
        "document.querySelector('main form[method=post] button').click()",
        payload,
    )

    @tenacity.retry(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.1), reraise=True)
    def refused() -> None:
        assert chrome.find_elements("css selector", "[aria-invalid=true], .error")

    refused()
    assert _alive(chrome) == DEAD


@pytest.mark.parametrize("code", list(NAMES))
def test_no_page_is_wider_than_a_phone(shown: Gallery, chrome: Chrome, code: str) -> None:
    """What is wide scrolls in a frame of its own."""
    show_as(chrome, theme="light", width=390)
    try:
        wide = []
        for path in PATHS:
            chrome.get(f"{shown.origin}{path}{'&' if '?' in path else '?'}lang={code}")
            script = "return document.documentElement.scrollWidth"
            if (found := chrome.execute_script(script)) > 390:
                wide.append(f"{path}: {found}")
        assert wide == []
    finally:
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.thorough
def test_a_log_of_100_mb_does_not_fill_the_browser(
    shown: Gallery, chrome: Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is shown, then what is written, and what is far above is forgotten."""
    line = b"x" * 63 + b"\n"
    engine = Engine(stdout=line * (100 * 2**20 // len(line)) + b"line 0\n")
    monkeypatch.setattr(run_output, "_ledger", lambda _: Ledger())
    monkeypatch.setattr(run_output, "_scheduler", lambda _: engine)
    monkeypatch.setattr(run_log, "POLL_S", 0.05)
    chrome.get(f"{shown.origin}/actions/run-1")

    @tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True)
    def ends_with(text: str) -> int:
        script = "const said = document.getElementById('stdout').textContent; return [said.length, said.slice(-9)]"
        size, end = chrome.execute_script(script)
        assert end.endswith(f"{text}\n")
        return int(size)

    sizes = [ends_with("line 0")]
    for number in range(1, 9):
        engine.data[Stream.STDOUT] += line * 3_500 + f"line {number}\n".encode()
        sizes.append(ends_with(f"line {number}"))
    assert sizes[0] < 2 * TAIL_BYTES
    assert sum(b - a for a, b in pairwise(sizes)) < 8 * 3_500 * len(line), "it did forget"
    assert max(sizes) < 1_500_000 + PIECE


@pytest.mark.needs("axe")
def test_axe_notices_what_is_wrong(shown: Gallery, chrome: Chrome) -> None:
    chrome.get(f"{shown.origin}/nothing-here")
    assert violations(chrome, source()) == []
    chrome.execute_script("document.querySelector('main').append(document.createElement('button'))")
    assert [each["id"] for each in violations(chrome, source())] == ["button-name"]


@pytest.mark.needs("axe")
@pytest.mark.thorough
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("code", list(NAMES))
def test_axe_finds_nothing_serious(shown: Gallery, chrome: Chrome, code: str, theme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    found = {}
    for path in PATHS:
        chrome.get(f"{shown.origin}{path}{'&' if '?' in path else '?'}lang={code}")
        serious = violations(chrome, source())
        if serious:
            found[path] = serious
    assert not found, json.dumps(found, indent=2, ensure_ascii=False)
