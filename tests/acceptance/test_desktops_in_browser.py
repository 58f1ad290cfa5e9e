"""A person's two desktops, from the printed link to destruction, in one real browser.

Machines are containers that booted from their user data, with the real guacd and Guacamole; the gateway is
nginx with the shipped configuration; the browser trusts the gateway's certificate and those of no machine.
Only provider and engine are fakes.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver import Chrome

from dispatcher.desktop.certificate import Certificate, make_certificate
from dispatcher.desktop.credentials import Credentials
from dispatcher.desktop.machine import Machine, user_data
from dispatcher.errors import Exit
from tests.servers import desktop_container
from tests.servers import gateway as gateways
from tests.servers.bao import Bao
from tests.servers.browser import browser as started_browser
from tests.servers.desktop_container import DesktopContainer
from tests.servers.gateway import Gateway
from tests.support import guacamole_page, rfb
from tests.support.desktop_stage import Person, credentials, desktop_stage, finish, submitted
from tests.support.guacamole_page import eventually
from tests.support.stage import Stage

pytestmark = [
    pytest.mark.needs("bao", "git", "docker", "desktop", "guacamole", "chromium", "nginx"),
    pytest.mark.thorough,  # minutes; in part: test_desktop_in_browser.py and test_desktop_gateway.py
    pytest.mark.timeout(1200),
]

WINDOW = (1280, 800)


@dataclass(frozen=True, kw_only=True)
class Desktop:
    """One desktop, its machine and the window that shows it."""

    id: str
    machine: DesktopContainer
    credentials: Credentials
    certificate: Certificate
    window: str = ""

    def shown_in(self, browser: Chrome) -> None:
        """Wait until the browser shows what the VNC server shows."""

        eventually(lambda: guacamole_page.shows(browser, self.picture()), seconds=90)

    def picture(self) -> rfb.Picture:
        """What its VNC server shows."""
        with self.machine.dial(5901) as connection:
            return rfb.picture(connection, self.credentials.vnc_password)

    def work(self, words: str, place: str) -> None:
        """Somebody works there, so that it looks like no other."""
        shell = f"echo {words}; cd /; PS1='$ '; ls; exec sh"
        display = "DISPLAY=:1 XAUTHORITY=/run/disinto-desktop/Xauthority"
        terminal = f'xfce4-terminal --disable-server --geometry {place} -x sh -c "{shell}"'
        command = f"{display} setsid {terminal} >/dev/null 2>&1 &"
        self.machine.run("sh", "-c", command, user="desktop")


class Story:
    """What there is in it."""

    def __init__(self, stack: ExitStack, person: Person, directory: Path) -> None:
        self.stack, self.person, self.directory = stack, person, directory
        (directory / "gateway").mkdir()
        self.gateway: Gateway = stack.enter_context(gateways.gateway(directory / "gateway"))
        stack.enter_context(self.gateway.resolving())

    def create(self, name: str) -> Desktop:
        """As the formula does: the machine boots from its user data, and becomes an entry."""
        made = self.person("create", name, "--no-follow", "--json")
        assert made.code == Exit.OK, made.err
        desktop_id = made.json["id"]
        spec = submitted(self.person.stage, desktop_id)
        own = credentials(self.person, spec.key)
        certificate = make_certificate(desktop_id, now=time.time())
        machine = Machine(
            desktop_id=desktop_id,
            run_key=spec.key.token,
            name=name,
            credentials=own,
            certificate=certificate,
        )
        real = Path(os.environ["GUACAMOLE_DIST"]).resolve()
        booted = self.stack.enter_context(
            desktop_container.boot(user_data(machine), guacamole=real)
        )
        booted.await_ready()
        entry = {
            "name": name,
            "state": "ACTIVE",
            "address": booted.ip,
            "fingerprint": certificate.fingerprint,
            "run_key": spec.key.token,
            "key_version": own.key_version,
            "gateway_host": self.gateway.host,
        }
        finish(self.person.stage, spec.key, entry)
        return Desktop(id=desktop_id, machine=booted, credentials=own, certificate=certificate)

    def lead_there(self) -> Any:
        """The gateway learns of the desktops."""
        reload = " ".join([*self.gateway.command, "-s", "reload"])
        done = self.person("gateway", str(self.gateway.directory), "--reload", reload, "--json")
        assert done.code == Exit.OK, done.err
        return done.json

    def open(self, desktop: Desktop, browser: Chrome, *words: str) -> str:
        """``disinto desktop open``, and its link in the browser; what the link was."""
        with self.person.opening(desktop.id, "--print", *words) as said:
            link = said.out.strip()
            browser.get(link)
            desktop.shown_in(browser)
        assert said.code == Exit.OK, said.err
        assert f"opened {desktop.id} at https://" in said.err
        secrets = (desktop.credentials.vnc_password, desktop.credentials.guacamole_key.hex())
        printed = said.out + said.err + browser.current_url
        assert not [secret for secret in secrets if secret in printed]
        return link


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    with desktop_stage(tmp_path, bao_server) as stage:
        yield stage


@pytest.fixture
def story(
    stage: Stage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Story]:
    with ExitStack() as stack:
        yield Story(stack, Person(stage, monkeypatch, capsys), tmp_path)


def test_two_desktops_of_one_person_behind_a_gateway(story: Story, tmp_path: Path) -> None:
    alice, bob = story.create("alice"), story.create("bob")
    alice.work("This is the desktop of Alice.", "90x24+180+90")
    bob.work("This is the desktop of Bob.", "60x30+700+60")
    early = story.person("open", alice.id)
    assert early.code == Exit.UNAVAILABLE
    assert "is not at its gateway yet" in early.err
    made = story.lead_there()
    assert [site["id"] for site in made["desktops"]] == [alice.id, bob.id]
    with started_browser(
        tmp_path / "profile",
        size=WINDOW,
        trusted=[story.gateway.certificate.pem],
        hosts=story.gateway.resolver_rules,
    ) as browser:
        windows = side_by_side(story, browser, alice, bob)
        browser.switch_to.window(windows[1])
        destroyed(story, browser, bob)
        browser.switch_to.window(windows[0])
        alice.shown_in(browser)
        guacamole_is_down(story, browser, alice)
    past_the_gateway(story, alice)


def side_by_side(story: Story, browser: Chrome, *desktops: Desktop) -> list[str]:
    """Both stay what they are, whichever is opened, reloaded or left; windows of each."""
    windows = []
    for desktop in desktops:
        eventually(lambda: _is(story.person.open_and_click(desktop.id)[0].code == Exit.OK))  # noqa: B023
        story.open(desktop, browser)
        windows.append(browser.current_window_handle)
        browser.switch_to.new_window("window")
    browser.close()
    for _ in range(2):
        for window, desktop in zip(windows, desktops, strict=True):
            browser.switch_to.window(window)
            desktop.shown_in(browser)
            assert f"//{desktop.id}.{gateways.DOMAIN}:" in browser.current_url
            browser.refresh()
            desktop.shown_in(browser)
            browser.save_screenshot(str(story.directory / f"{desktop.id}.png"))
    last, other = desktops[-1], desktops[0]
    with pytest.raises(AssertionError, match="points are as the VNC server has them"):
        guacamole_page.shows(browser, other.picture())
    last.shown_in(browser)
    return windows


def guacamole_is_down(story: Story, browser: Chrome, desktop: Desktop) -> None:
    """Plain words, on the terminal and in the browser; then it is back."""
    desktop.machine.run("systemctl", "stop", "disinto-desktop-guacamole.service")
    said = story.person("open", desktop.id)
    assert said.code == Exit.UNAVAILABLE
    assert "Guacamole may be starting; try again in a minute" in said.err
    browser.refresh()
    eventually(lambda: _says(browser, "Guacamole does not answer: it may be starting"))
    desktop.machine.run("systemctl", "start", "disinto-desktop-guacamole.service")
    eventually(lambda: _is(story.person.open_and_click(desktop.id)[0].code == Exit.OK), seconds=120)
    story.open(desktop, browser)


def destroyed(story: Story, browser: Chrome, desktop: Desktop) -> None:
    """An open stream ends with its machine, and nothing leads there any more."""
    desktop.shown_in(browser)
    done = story.person("destroy", desktop.id, "--yes", "--no-follow", "--json")
    assert done.code == Exit.OK, done.err
    spec = submitted(story.person.stage, done.json["id"])
    subprocess.run(["docker", "rm", "--force", desktop.machine.name], check=True)
    finish(story.person.stage, spec.key, {"id": desktop.id})
    eventually(lambda: _ended(browser), seconds=90)
    assert story.lead_there()["changed"]
    page = f"https://{desktop.id}.{story.gateway.host}/guacamole/"
    eventually(lambda: _visited(browser, page, "There is no desktop of this name here"))
    closed = story.person("open", desktop.id)
    assert closed.code == Exit.NOINPUT
    assert "was destroyed by" in closed.err


def past_the_gateway(story: Story, desktop: Desktop) -> None:
    """By the machine's own address, with the certificate of the inventory; the link works once."""
    trusted = [desktop.certificate.pem]
    profile = story.directory / "another-profile"
    with started_browser(profile, size=WINDOW, trusted=trusted) as browser:
        link = story.open(desktop, browser, "--target", "ip")
        assert browser.current_url.startswith(f"https://{desktop.machine.ip}/guacamole/#/client/")
        with pytest.raises(httpx.ConnectError):
            httpx.get(link)


def _visited(browser: Chrome, page: str, words: str) -> None:
    browser.get(page)
    _says(browser, words)


def _ended(browser: Chrome) -> None:
    """Guacamole says that it was disconnected, or, if it tried to connect again, that this failed."""
    text = guacamole_page.text(browser)
    assert "DISCONNECTED" in text or "An error has occurred" in text, text


def _says(browser: Chrome, words: str) -> None:
    assert words in guacamole_page.text(browser)


def _is(condition: bool) -> None:
    assert condition
