"""The page in a real browser: it renews itself when something changes, and its policy breaks nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tenacity
from selenium.webdriver import ActionChains, Keys

from dispatcher.page.app import build_app
from dispatcher.page.board import board
from dispatcher.page.index import Index
from dispatcher.page.live import Live
from dispatcher.page.operator_link import OperatorLink
from dispatcher.page.pages import overview
from dispatcher.page.serving import listening, server
from dispatcher.status.overview import OpenAction, State
from tests.servers.browser import browser
from tests.support.page_client import a_site
from tests.unit.test_page_overview import MARKUP, NoRepo, _overview, _write

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.needs("chromium")

patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.1), reraise=True
)


@contextmanager
def served(tmp_path: Path) -> Iterator[tuple[str, Live]]:
    """A page, and what it follows; its link."""
    opened = listening(0)
    origin = f"http://127.0.0.1:{opened.getsockname()[1]}"
    site = a_site(tmp_path, origin=origin)
    live = Live(tmp_path, NoRepo(), Index(tmp_path / "web", now=time.time), poll_s=60)  # type: ignore[arg-type]
    site.live, site.link = live, OperatorLink(origin, lambda _url: None)
    running = server(build_app(site))
    thread = threading.Thread(target=running.run, args=([opened],))
    thread.start()
    try:
        yield site.link.renew(), live
    finally:
        running.should_exit = True
        thread.join(20)
        opened.close()


WATCHED = """
  window.setInterval = () => 0;  // nothing is renewed because time passes
  window.timers = 0;
  window.fetched = 0;
  const later = window.setTimeout;
  window.setTimeout = (task, ms) => later(() => { task(); window.timers += 1; }, ms);
  const send = XMLHttpRequest.prototype.send;
  XMLHttpRequest.prototype.send = function () {
    this.addEventListener("loadend", () => (window.fetched += 1));
    return send.call(this);
  };
"""
"""Counts in the browser how many timers have run, and how many pages were fetched."""


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCHED})
        yield driver


@pytest.fixture
def live(tmp_path: Path, chrome: Chrome) -> Iterator[Live]:
    """What the overview follows, which the browser shows; nothing runs."""
    with served(tmp_path) as (link, live):
        announce(tmp_path, live)
        chrome.get(link)
        assert "Nothing runs." in chrome.page_source
        yield live
        chrome.get("about:blank")


def announce(tmp_path: Path, live: Live, *names: str) -> None:
    """Have these run."""
    _write(tmp_path, _overview(open=tuple(OpenAction(id=n, state=State.RUNNING) for n in names)))
    live.look()


@patiently
def lists(chrome: Chrome, *names: str) -> None:
    """Wait until these are shown as running."""
    text = chrome.find_element("id", "open").text
    assert [name for name in ("first", "second") if name in text] == list(names)


@patiently
def counts(chrome: Chrome, what: str, more_than: int) -> None:
    """Wait until the browser has counted more than so many."""
    assert chrome.execute_script(f"return window.{what}") > more_than


def test_a_change_while_the_page_is_on_its_way_is_shown(
    tmp_path: Path, live: Live, chrome: Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on its way is older than the change."""
    asked, goes_on = threading.Event(), threading.Event()

    def held(*given: Any, **named: Any) -> Any:
        shown = board(*given, **named)
        if shown.running.actions and not asked.is_set():
            asked.set()
            goes_on.wait(60)
        return shown

    monkeypatch.setattr(overview, "board", held)
    announce(tmp_path, live, "first")
    try:
        assert asked.wait(60)
        timers = chrome.execute_script("return window.timers")
        announce(tmp_path, live, "first", "second")
        counts(chrome, "timers", timers)  # it would have asked again now
    finally:
        goes_on.set()
    lists(chrome, "first", "second")


def test_what_is_pressed_stays_until_it_is_released(
    tmp_path: Path, live: Live, chrome: Chrome
) -> None:
    announce(tmp_path, live, "first")
    lists(chrome, "first")
    link = chrome.find_element("css selector", "#open tbody a")
    ActionChains(chrome).click_and_hold(link).perform()
    fetched = chrome.execute_script("return window.fetched")
    announce(tmp_path, live, "first", "second")
    counts(chrome, "fetched", fetched)
    ActionChains(chrome).release().perform()

    @patiently
    def followed() -> None:
        assert chrome.current_url.endswith("/actions/first")

    followed()


def test_the_keyboard_stays_where_it_is(tmp_path: Path, live: Live, chrome: Chrome) -> None:
    """It gets to the content at once, to a run, and is still there when the page has renewed itself."""
    announce(tmp_path, live, "first")
    lists(chrome, "first")
    chrome.execute_script("document.activeElement.blur(); document.body.focus()")
    ActionChains(chrome).send_keys(Keys.TAB, Keys.ENTER).perform()
    assert chrome.switch_to.active_element.get_attribute("id") == "main"
    for _ in range(20):
        ActionChains(chrome).send_keys(Keys.TAB).perform()
        if chrome.switch_to.active_element.text == "first":
            break
    announce(tmp_path, live, "first", "second")
    lists(chrome, "first", "second")
    assert chrome.switch_to.active_element.text == "first"
    ActionChains(chrome).send_keys(Keys.ENTER).perform()

    @patiently
    def followed() -> None:
        assert chrome.current_url.endswith("/actions/first")

    followed()


def test_it_renews_itself(tmp_path: Path, live: Live, chrome: Chrome) -> None:
    chrome.get_log("browser")  # type: ignore[no-untyped-call]  # what it said before
    hostile = OpenAction(id="new-run", state=State.RUNNING, reason=MARKUP, formula=MARKUP)
    _write(tmp_path, _overview(open=(hostile,)))
    live.look()

    @patiently
    def shown() -> None:
        row = chrome.find_element("css selector", "#open tbody tr")
        assert "new-run" in row.text
        assert "<script>alert(1)</script>" in row.text

    shown()
    assert not chrome.find_elements("css selector", "#open script, #open img")
    errors = [each for each in chrome.get_log("browser") if each["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
    assert errors == []
