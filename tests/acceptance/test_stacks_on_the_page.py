"""A stack from the form to its end, in a real browser: the dispatcher, the page and the runs are the real ones; the
server is the stateful fake.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.test_desktops_on_the_page import page
from tests.servers.bao import Bao
from tests.servers.browser import browser
from tests.support.page_visitor import Visitor, patiently
from tests.support.serving import Served
from tests.support.stack_stage import SUFFIX, Ground, fake_ground, scene_with

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
def named(reader: Visitor, words: str) -> None:
    """What is said about the name that is typed."""
    assert words in reader.text("#name-state")


def enter(reader: Visitor, name: str, text: str) -> None:
    reader.fill(f'[name="{name}"]', text)


def says(reader: Visitor, *words: str) -> None:
    reader.reads(exactly=words)


def go_to_stacks(reader: Visitor) -> None:
    reader.opens("/stacks")


def test_from_the_form_to_the_end(bao_server: Bao, tmp_path: Path) -> None:
    with ExitStack() as stack:
        ground = stack.enter_context(fake_ground(tmp_path))
        assert ground.fake is not None
        root = tmp_path / "scene"
        root.mkdir()
        scene = scene_with(stack, root, bao_server, ground, {"MODEL_KEY": "value-of-a-key"})
        served = Served(scene)
        try:
            link = stack.enter_context(page(scene, bao_server))
            chrome = stack.enter_context(browser(tmp_path / "profile"))
            chrome.get(link)
            reader = Visitor(chrome, link.partition("/enter/")[0])
            go_to_stacks(reader)
            says(reader, "You have no stacks.")
            deployed(reader, ground)
            updated(reader, ground)
            failed(reader)
            destroyed(reader)
            errors = [e for e in chrome.get_log("browser") if e["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
            assert [e for e in errors if "422" not in e["message"]] == []
            assert (ground.fake.projects, ground.fake.services) == ({}, {})
            assert ground.key.encode() not in (scene.root / "web.log").read_bytes()
        finally:
            served.end()


def deployed(reader: Visitor, ground: Ground) -> None:
    reader.press("New stack")
    enter(reader, "params.name", "admin")
    named(reader, "This name is reserved.")
    enter(reader, "params.name", "A b")
    named(reader, "A name is 3 to 20")
    enter(reader, "params.name", "alice")
    named(reader, f"This name is free: alice.{SUFFIX}")
    reader.press("Deploy it")
    says(reader, "nothing was sent", "neither a tag nor a digest")
    enter(reader, "params.image", ground.one)
    enter(reader, "params.environment", "A=1")
    enter(reader, "params.environment_secrets", "MODEL_KEY")
    reader.press("Deploy it")
    says(reader, f"{STACK} is pushed as")
    says(reader, "running", f"https://alice.{SUFFIX}/", "self-signed", "GET /")
    assert ground.page("alice")
    go_to_stacks(reader)
    says(reader, "alice", "running", ground.one)
    reader.press("New stack")
    enter(reader, "params.name", "alice")
    named(reader, "This name is taken.")


def updated(reader: Visitor, ground: Ground) -> None:
    go_to_stacks(reader)
    reader.press("Update")
    enter(reader, "params.image", ground.two)
    reader.press("Update it")
    says(reader, f"update-{STACK} is pushed as")
    says(reader, "running", ground.two)


def failed(reader: Visitor) -> None:
    """An image that the server does not have, and what is said about it."""
    go_to_stacks(reader)
    reader.press("New stack")
    enter(reader, "params.name", "bob")
    enter(reader, "params.image", "registry.example/none:1")
    reader.press("Deploy it")
    says(reader, "not deployed", "The server could not fetch the image.", "manifest unknown")
    reader.press("Try again")
    says(reader, "It was not deployed.")
    value = reader.chrome.find_element("name", "params.name").get_attribute("value")
    assert value == "bob"


def destroyed(reader: Visitor) -> None:
    go_to_stacks(reader)
    reader.press("Destroy")
    says(reader, "Destroy this stack?", "workspace-alice")
    reader.press("Destroy it")
    says(reader, "destroyed", "Destroyed by")
    go_to_stacks(reader)
    says(reader, "You have no stacks.", "Not deployed")
