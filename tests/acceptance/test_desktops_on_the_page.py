"""A desktop from the page's wizard to its end, in a real browser: the dispatcher, the page and the run are
the real ones; the provider is the stateful cloud, and the machine serves what a desktop's does.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import tenacity
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from dispatcher.desktop.credentials import VARIABLE
from dispatcher.devservers.scene import Scene
from dispatcher.vault.names import derive_policy
from tests.acceptance.test_desktop_story import TOKEN, scene_with
from tests.servers.bao import Bao
from tests.servers.browser import browser
from tests.servers.cloud import FakeCloud, FakeDroplet
from tests.servers.desktop_machine import DesktopMachine
from tests.support.serving import ROOT, Served

pytestmark = [
    pytest.mark.needs("bao", "bwrap", "chromium"),
    pytest.mark.thorough,  # a minute; in part: tests/integration/test_page_desktops.py
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        Path(sys.prefix).is_relative_to("/tmp"),
        reason="NOT RUN: this Python is below /tmp, and a formula sees a /tmp of its own",
    ),
]

DESK = "desktop-alice"

patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True
)


@contextmanager
def page(scene: Scene, bao: Bao) -> Iterator[str]:
    """The link of a ``disinto web``, whose operator may open desktops."""
    policy = derive_policy(scene.open_settings().vault, VARIABLE)
    made = bao.client().auth.token.create(policies=[policy], ttl="1h", no_parent=True)
    environ = {**scene.environ, "VAULT_TOKEN": made["auth"]["client_token"]}
    words = ("--config", str(scene.config), "web", "--port", "0", "--print")
    with (scene.root / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", *words],
            env={**environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@patiently
def says(chrome: Chrome, *words: str) -> None:
    text = chrome.find_element(By.TAG_NAME, "main").text
    assert all(word in text for word in words), text


@patiently
def press(chrome: Chrome, label: str) -> None:
    """A link or a button of the page; it may just be renewing itself."""
    labelled = f"starts-with(normalize-space(), '{label}')"
    chrome.find_element(By.XPATH, f"//main//*[self::a or self::button][{labelled}]").click()


@patiently
def choose(chrome: Chrome, name: str) -> None:
    chrome.find_element(By.NAME, name).click()


@patiently
def enter(chrome: Chrome, name: str, text: str, *, then: str = "") -> None:
    field = chrome.find_element(By.NAME, name)
    field.clear()
    field.send_keys(text + then)


@patiently
def go_to_desktops(chrome: Chrome) -> None:
    chrome.find_element(By.LINK_TEXT, "Desktops").click()


def test_from_the_wizard_to_the_end(bao_server: Bao, tmp_path: Path) -> None:
    cloud = FakeCloud(address=lambda _: "127.0.0.1")
    with ExitStack() as stack:
        scene, machine = scene_with(stack, tmp_path, bao_server, cloud, None)
        cloud.made = lambda droplet: booting(machine, droplet)
        served = Served(scene)
        try:
            link = stack.enter_context(page(scene, bao_server))
            accepting = ("--ignore-certificate-errors",)  # of the machine, as a person would
            chrome = stack.enter_context(browser(tmp_path / "profile", more=accepting))
            chrome.get(link)
            go_to_desktops(chrome)
            says(chrome, "There are no desktops.")
            wizard(chrome, "alice")
            says(chrome, "being set up", "installing packages", "48%")
            served.kill()
            says(chrome, "No dispatcher runs here")
            served.end()
            served = Served(scene)
            says(chrome, "being set up")
            machine.up = True
            machine.report = {"stage": "final-health-check", "vnc": True, "guacamole": True}
            says(chrome, "active", "HTTPS\nanswers")
            opened(chrome, machine)
            full(chrome, cloud)
            destroyed(chrome, cloud)
            assert TOKEN.encode() not in (scene.root / "web.log").read_bytes()
        finally:
            served.end()


def booting(machine: DesktopMachine, droplet: FakeDroplet) -> None:
    machine.boot(droplet.user_data, up=False)
    machine.report = {"stage": "installing-packages"}


def wizard(chrome: Chrome, name: str) -> None:
    press(chrome, "New desktop")
    press(chrome, "Continue")
    enter(chrome, "params.name", "No", then=Keys.ENTER)
    says(chrome, "nothing was sent")
    enter(chrome, "params.lifetime", "8h")
    enter(chrome, "params.name", name, then=Keys.ENTER)
    choose(chrome, "app.git")
    press(chrome, "Continue")
    says(chrome, f'name = "{name}"', 'lifetime = "8h"', "git", "None is needed")
    press(chrome, "Create it")
    says(chrome, f"desktop-{name} is pushed as")


def opened(chrome: Chrome, machine: DesktopMachine) -> None:
    """In a tab of its own, with a session; the page stays."""
    here = chrome.current_window_handle
    press(chrome, "Open it")
    (there,) = patiently(lambda: _others(chrome, here))()
    chrome.switch_to.window(there)
    patiently(lambda: _titled(chrome, "Guacamole"))()
    assert chrome.current_url.startswith(
        f"https://127.0.0.1:{machine.https_port}/guacamole/#/client/"
    )
    assert machine.guacamole is not None
    (session,) = machine.guacamole.sessions
    assert chrome.current_url.endswith(f"?token={session}")
    chrome.close()
    chrome.switch_to.window(here)


def full(chrome: Chrome, cloud: FakeCloud) -> None:
    """The provider refuses a second one: its words are on the page, and in the wizard."""
    cloud.limit = 1
    go_to_desktops(chrome)
    wizard(chrome, "bob")
    says(chrome, "not created", "droplet limit of 1 is reached")
    press(chrome, "Try again")
    says(chrome, "It was not created", "droplet limit of 1 is reached")
    press(chrome, "Continue")
    prefilled(chrome, "params.name", "bob")
    assert len(cloud.running()) == 1


@patiently
def prefilled(chrome: Chrome, name: str, value: str) -> None:
    assert chrome.find_element(By.NAME, name).get_attribute("value") == value


def destroyed(chrome: Chrome, cloud: FakeCloud) -> None:
    go_to_desktops(chrome)
    press(chrome, "Destroy")
    says(chrome, "Destroy this desktop?", "Everything on it is lost")
    press(chrome, "Destroy it")
    says(chrome, "destroyed", "Destroyed by")
    assert cloud.running() == []
    go_to_desktops(chrome)
    says(chrome, "There are no desktops.")


def _others(chrome: Chrome, here: str) -> list[str]:
    found = [each for each in chrome.window_handles if each != here]
    assert found
    return found


def _titled(chrome: Chrome, title: str) -> None:
    assert chrome.title == title
