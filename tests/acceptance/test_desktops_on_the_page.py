"""A desktop from the page's wizard to its end, in a real browser and in each language: the dispatcher, the page
and the run are the real ones; the provider is the stateful cloud, and the machine serves what a desktop's does.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from babel.numbers import format_percent
from selenium.webdriver.common.keys import Keys

from dispatcher.desktop.credentials import VARIABLE
from dispatcher.devservers.scene import Scene
from dispatcher.page.desktop_sending import UNREADABLE
from dispatcher.page.language import NAMES
from dispatcher.vault.names import derive_policy
from tests.acceptance.test_desktop_story import TOKEN, scene_with
from tests.servers.bao import Bao
from tests.servers.browser import browser
from tests.servers.cloud import FakeCloud
from tests.servers.cloud_objects import FakeDroplet
from tests.servers.desktop_machine import DesktopMachine
from tests.support.page_visitor import Visitor, patiently
from tests.support.serving import ROOT, Served

pytestmark = [
    pytest.mark.needs("bao", "bwrap", "chromium"),
    pytest.mark.thorough,  # a minute for each language; in part: tests/integration/test_page_desktops.py
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        Path(sys.prefix).is_relative_to("/tmp"),
        reason="NOT RUN: this Python is below /tmp, and a formula sees a /tmp of its own",
    ),
]

NONE = "There are no desktops."


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


@pytest.mark.parametrize("code", list(NAMES))
def test_from_the_wizard_to_the_end(bao_server: Bao, tmp_path: Path, code: str) -> None:
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
            reader = Visitor(chrome, link.partition("/enter/")[0], code)
            reader.opens("/desktops")
            reader.reads(NONE)
            wizard(reader, "alice")
            percent = format_percent(0.48, locale=reader.language.locale)
            reader.reads("being set up", "installing packages", exactly=(percent,))
            served.kill()
            reader.reads("No dispatcher runs here, so nothing starts and no progress is known.")
            served.end()
            served = Served(scene)
            reader.reads("being set up")
            machine.up = True
            machine.report = {"stage": "final-health-check", "vnc": True, "guacamole": True}
            reader.reads("active")
            answers(reader, "HTTPS")
            opened(reader, machine)
            full(reader, cloud)
            destroyed(reader, cloud)
            assert TOKEN.encode() not in (scene.root / "web.log").read_bytes()
        finally:
            served.end()


def booting(machine: DesktopMachine, droplet: FakeDroplet) -> None:
    machine.boot(droplet.user_data, up=False)
    machine.report = {"stage": "installing-packages"}


def goes_to_desktops(reader: Visitor) -> None:
    reader.press_on("header nav a[href='/desktops']")


def wizard(reader: Visitor, name: str) -> None:
    reader.press("New desktop")
    reader.reads("Prepare the machine for Vigilance")
    reader.press("Continue")
    reader.fill("[name='params.name']", "No", then=Keys.ENTER)
    reader.reads(UNREADABLE)
    reader.fill("[name='params.lifetime']", "8h")
    reader.fill("[name='params.name']", name, then=Keys.ENTER)
    reader.press_on("[name='app.git']")
    reader.press("Continue")
    reader.reads(
        "This is the file as it will be merged. Nothing has been sent yet.",
        "None is needed: it starts once its file is merged.",
        exactly=(f'name = "{name}"', 'lifetime = "8h"', "git"),
    )
    reader.press("Create it")
    reader.reads(exactly=(f"desktop-{name} is pushed as",))


@patiently
def answers(reader: Visitor, term: str) -> None:
    """Wait until the page says that this answers."""
    path = f"//dt[normalize-space()='{reader.word(term)}']/following-sibling::dd[1]"
    assert reader.chrome.find_element("xpath", path).text == reader.word("answers")


def opened(reader: Visitor, machine: DesktopMachine) -> None:
    """In a tab of its own, with a session; the page stays."""
    chrome = reader.chrome
    here = chrome.current_window_handle
    reader.press("Open it")
    (there,) = patiently(lambda: _others(reader, here))()
    chrome.switch_to.window(there)
    patiently(lambda: _titled(reader, "Guacamole"))()
    assert chrome.current_url.startswith(
        f"https://127.0.0.1:{machine.https_port}/guacamole/#/client/"
    )
    assert machine.guacamole is not None
    (session,) = machine.guacamole.sessions
    assert chrome.current_url.endswith(f"?token={session}")
    chrome.close()
    chrome.switch_to.window(here)


def full(reader: Visitor, cloud: FakeCloud) -> None:
    """The provider refuses a second one: its words are on the page, and in the wizard."""
    cloud.limit = 1
    goes_to_desktops(reader)
    wizard(reader, "bob")
    refusal = "droplet limit of 1 is reached"
    reader.reads("not created", exactly=(refusal,))
    reader.press("Try again")
    reader.reads("It was not created. The run said:", exactly=(refusal,))
    reader.press("Continue")
    prefilled(reader, "params.name", "bob")
    assert len(cloud.running()) == 1


@patiently
def prefilled(reader: Visitor, name: str, value: str) -> None:
    assert reader.chrome.find_element("name", name).get_attribute("value") == value


def destroyed(reader: Visitor, cloud: FakeCloud) -> None:
    goes_to_desktops(reader)
    reader.press("Destroy")
    reader.reads("Destroy this desktop?")
    reader.press("Destroy it")
    reader.reads_badge("destroyed")  # "to be destroyed by" is said before
    reader.reads("Destroyed by")
    assert cloud.running() == []
    goes_to_desktops(reader)
    reader.reads(NONE)


def _others(reader: Visitor, here: str) -> list[str]:
    found = [each for each in reader.chrome.window_handles if each != here]
    assert found
    return found


def _titled(reader: Visitor, title: str) -> None:
    assert reader.chrome.title == title
