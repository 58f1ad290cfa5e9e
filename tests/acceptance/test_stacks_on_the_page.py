"""A stack from the form to its end, in a real browser: the dispatcher, the page and the runs are the real ones; the
server is the stateful fake.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.acceptance.test_desktops_on_the_page import enter, page, patiently, press, says
from tests.acceptance.test_stack_story import SUFFIX, Ground, fake_ground, scene_with
from tests.servers.bao import Bao
from tests.servers.browser import browser
from tests.support.serving import Served

pytestmark = [
    pytest.mark.needs("bao", "bwrap", "chromium"),
    pytest.mark.thorough,  # a minute; in part: tests/integration/test_page_stacks.py
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        Path(sys.prefix).is_relative_to("/tmp"),
        reason="NOT RUN: this Python is below /tmp, and a formula sees a /tmp of its own",
    ),
]

STACK = "stack-alice"


@patiently
def named(chrome: Chrome, words: str) -> None:
    """What is said about the name that is typed."""
    assert words in chrome.find_element(By.ID, "name-state").text


@patiently
def go_to_stacks(chrome: Chrome) -> None:
    chrome.find_element(By.LINK_TEXT, "Stacks").click()


def test_from_the_form_to_the_end(bao_server: Bao, tmp_path: Path) -> None:
    with ExitStack() as stack:
        ground = stack.enter_context(fake_ground(tmp_path))
        assert ground.fake is not None
        root = tmp_path / "scene"
        root.mkdir()
        scene = scene_with(stack, root, bao_server, ground)
        served = Served(scene)
        try:
            link = stack.enter_context(page(scene, bao_server))
            chrome = stack.enter_context(browser(tmp_path / "profile"))
            chrome.get(link)
            go_to_stacks(chrome)
            says(chrome, "You have no stacks.")
            deployed(chrome, ground)
            updated(chrome, ground)
            failed(chrome)
            destroyed(chrome)
            errors = [e for e in chrome.get_log("browser") if e["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
            assert [e for e in errors if "422" not in e["message"]] == []
            assert (ground.fake.projects, ground.fake.services) == ({}, {})
            assert ground.key.encode() not in (scene.root / "web.log").read_bytes()
        finally:
            served.end()


def deployed(chrome: Chrome, ground: Ground) -> None:
    press(chrome, "New stack")
    enter(chrome, "params.name", "admin")
    named(chrome, "This name is reserved.")
    enter(chrome, "params.name", "A b")
    named(chrome, "A name is 3 to 20")
    enter(chrome, "params.name", "alice")
    named(chrome, f"This name is free: alice.{SUFFIX}")
    press(chrome, "Deploy it")
    says(chrome, "nothing was sent", "neither a tag nor a digest")
    enter(chrome, "params.image", ground.one)
    enter(chrome, "params.environment", "A=1")
    enter(chrome, "params.environment_secrets", "MODEL_KEY")
    press(chrome, "Deploy it")
    says(chrome, f"{STACK} is pushed as")
    says(chrome, "running", f"https://alice.{SUFFIX}/", "self-signed", "GET /")
    assert ground.page("alice")
    go_to_stacks(chrome)
    says(chrome, "alice", "running", ground.one)
    press(chrome, "New stack")
    enter(chrome, "params.name", "alice")
    named(chrome, "This name is taken.")


def updated(chrome: Chrome, ground: Ground) -> None:
    go_to_stacks(chrome)
    press(chrome, "Update")
    enter(chrome, "params.image", ground.two)
    press(chrome, "Update it")
    says(chrome, f"update-{STACK} is pushed as")
    says(chrome, "running", ground.two)


def failed(chrome: Chrome) -> None:
    """An image that the server does not have, and what is said about it."""
    go_to_stacks(chrome)
    press(chrome, "New stack")
    enter(chrome, "params.name", "bob")
    enter(chrome, "params.image", "registry.example/none:1")
    press(chrome, "Deploy it")
    says(chrome, "not deployed", "The server could not fetch the image.", "manifest unknown")
    press(chrome, "Try again")
    says(chrome, "It was not deployed.")
    value = chrome.find_element(By.NAME, "params.name").get_attribute("value")
    assert value == "bob"


def destroyed(chrome: Chrome) -> None:
    go_to_stacks(chrome)
    press(chrome, "Destroy")
    says(chrome, "Destroy this stack?", "workspace-alice")
    press(chrome, "Destroy it")
    says(chrome, "destroyed", "Destroyed by")
    go_to_stacks(chrome)
    says(chrome, "You have no stacks.", "Not deployed")
