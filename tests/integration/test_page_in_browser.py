"""The page in a real browser: it renews itself when something changes, and its policy breaks nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tenacity

from dispatcher.page.app import build_app
from dispatcher.page.index import Index
from dispatcher.page.live import Live
from dispatcher.page.operator_link import OperatorLink
from dispatcher.page.serving import listening, server
from dispatcher.status.overview import OpenAction, State
from tests.servers.browser import browser
from tests.support.page_client import a_site
from tests.unit.test_page_overview import MARKUP, NoRepo, _overview, _write

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


def test_it_renews_itself(tmp_path: Path) -> None:
    with served(tmp_path) as (link, live), browser(tmp_path / "profile") as chrome:
        _write(tmp_path, _overview())
        live.look()
        chrome.get(link)
        assert "Nothing runs." in chrome.page_source
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
