"""A person's browser follows our link to a real Guacamole, and shows what the VNC server shows."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from selenium.webdriver import Chrome

from dispatcher.desktop.credentials import Credentials
from dispatcher.desktop.guacamole import stream_url
from dispatcher.operate.desktop_access import (
    SESSION_S,
    Place,
    Session,
    begin_session,
    end_session,
)
from dispatcher.operate.desktop_link import serve_link
from tests.servers import guacamole
from tests.servers.browser import browser as started_browser
from tests.support import drawing, guacamole_page, rfb
from tests.support.guacamole_page import eventually

pytestmark = [pytest.mark.needs("guacamole", "chromium"), pytest.mark.slow]


class Desktop:
    """One machine, with something to see."""

    def __init__(self, server: guacamole.Guacamole, credentials: Credentials) -> None:
        self.server, self.credentials = server, credentials

    def begin(self, *, ago_s: float = 0) -> Session:
        """What ``disinto desktop open`` did so many seconds ago, at the port that the VNC server of
        the test has.
        """
        return begin_session(
            Place(base=self.server.base, fingerprint=self.server.fingerprint),
            self.credentials,
            username="ann",
            now=time.time() - ago_s,
            until_s=None,
            vnc_port=self.server.vnc_port,
        )

    def shown_in(self, browser: Chrome) -> None:
        """Wait until the browser shows what the VNC server shows, in the size of the window."""

        def shown() -> None:
            with rfb.dial(self.server.vnc_port) as connection:
                picture = rfb.picture(connection, self.credentials.vnc_password)
            guacamole_page.shows(browser, picture)

        eventually(shown)


def credentials(number: int) -> Credentials:
    answer = base64.b64encode(bytes([number] * 32)).decode()
    return Credentials.from_hmac(f"vault:v1:{answer}")


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def desktop(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Desktop:
    home = tmp_path_factory.mktemp("first")
    server = stack.enter_context(guacamole.serve(credentials(1), home))
    stack.enter_context(drawing.on(server.display, "first"))
    return Desktop(server, credentials(1))


@pytest.fixture
def browser(desktop: Desktop, tmp_path: Path) -> Iterator[Chrome]:
    trusted = [desktop.server.certificate.pem]
    with started_browser(tmp_path / "profile", trusted=trusted) as browser:
        yield browser


def opened(browser: Chrome, desktop: Desktop, *, ago_s: float = 0) -> Session:
    """A session that the browser shows, by our link."""
    session = desktop.begin(ago_s=ago_s)
    with serve_link(session.url) as link:
        browser.get(link.url)
        assert link.wait(20)
    desktop.shown_in(browser)
    return session


def test_the_link_shows_the_desktop_once(desktop: Desktop, browser: Chrome) -> None:
    session = desktop.begin()
    with serve_link(session.url) as link:
        browser.get(link.url)
        desktop.shown_in(browser)
        browser.get(link.url)
        assert "This link was used" in guacamole_page.text(browser)
        browser.back()
        desktop.shown_in(browser)
        browser.refresh()
        desktop.shown_in(browser)
    browser.forward()  # to the link, which nobody serves any more
    browser.back()
    desktop.shown_in(browser)
    address = urlsplit(browser.current_url)
    assert f"{address.scheme}://{address.netloc}{address.path}" == desktop.server.base
    assert not address.query
    secrets = (desktop.credentials.vnc_password, desktop.credentials.guacamole_key.hex())
    assert not [secret for secret in secrets if secret in browser.current_url]
    end_session(session)
    eventually(lambda: _logged_out(browser))


def test_it_can_be_reloaded_after_six_minutes_and_not_after_its_session(
    desktop: Desktop, browser: Chrome
) -> None:
    """The link lived for five. Guacamole's clock is the real one; the sessions began before."""
    opened(browser, desktop, ago_s=6 * 60)
    browser.refresh()
    desktop.shown_in(browser)
    end = time.time() + 12
    opened(browser, desktop, ago_s=SESSION_S - 12)
    eventually(lambda: _over(end))
    desktop.shown_in(browser)  # what is open goes on
    browser.refresh()
    eventually(lambda: _says(browser, "The requested connection does not exist"))


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_it_can_be_reloaded_after_six_real_minutes(desktop: Desktop, browser: Chrome) -> None:
    opened(browser, desktop)
    time.sleep(6 * 60)
    browser.refresh()
    desktop.shown_in(browser)


def test_opening_it_again_in_the_same_browser_ends_the_first_session(
    desktop: Desktop, browser: Chrome
) -> None:
    """Guacamole's page does that, per host name: hence one host name per desktop."""
    first = opened(browser, desktop)
    second = opened(browser, desktop)
    eventually(lambda: _revoked(desktop, first))
    assert desktop.server.connections(second.token)


def test_two_desktops_are_side_by_side_and_each_ends_alone(
    desktop: Desktop, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    with ExitStack() as stack:
        machine = stack.enter_context(ExitStack())
        server = machine.enter_context(guacamole.serve(credentials(2), tmp_path / "second"))
        machine.enter_context(drawing.on(server.display, "second"))
        other = Desktop(server, credentials(2))
        trusted = [each.server.certificate.pem for each in (desktop, other)]
        browser = stack.enter_context(started_browser(tmp_path / "profile", trusted=trusted))
        session = opened(browser, desktop)
        first = browser.current_window_handle
        browser.switch_to.new_window("window")
        opened(browser, other)
        second = browser.current_window_handle
        for _ in range(2):
            for window, shown in ((first, desktop), (second, other)):
                browser.switch_to.window(window)
                shown.shown_in(browser)
                browser.refresh()
                shown.shown_in(browser)
        _is_refused_elsewhere(session, other)
        machine.close()  # the machine is gone
        eventually(lambda: _ended(browser))
        browser.switch_to.window(first)
        desktop.shown_in(browser)


def _revoked(desktop: Desktop, session: Session) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        desktop.server.connections(session.token)


def _is_refused_elsewhere(session: Session, other: Desktop) -> None:
    """A session of one desktop is none of another."""
    with pytest.raises(httpx.HTTPStatusError):
        other.server.connections(session.token)
    assert stream_url(other.server.base, session.token) != session.url


def _over(end: float) -> None:
    assert time.time() > end


def _ended(browser: Chrome) -> None:
    """Guacamole says that it was disconnected, or, if it could end its sessions first, that one has to log in."""
    text = guacamole_page.text(browser)
    assert "DISCONNECTED" in text or "APACHE GUACAMOLE" in text, text


def _logged_out(browser: Chrome) -> None:
    assert browser.find_elements("css selector", ".login-ui"), guacamole_page.text(browser)


def _says(browser: Chrome, words: str) -> None:
    assert words in guacamole_page.text(browser)
