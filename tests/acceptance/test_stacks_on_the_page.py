"""A stack from the form to its end, in a real browser: the dispatcher, the page and the runs are the real ones; the
server is the stateful fake, or a real Dokploy if there is one.
"""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.test_desktops_on_the_page import page
from tests.servers.bao import Bao
from tests.servers.browser import browser
from tests.support.page_visitor import Visitor, patiently
from tests.support.serving import Served
from tests.support.stack_stage import SUFFIX, Ground, ground_of, scene_with

pytestmark = [
    pytest.mark.needs("bao", "bwrap", "chromium"),
    pytest.mark.thorough,  # a minute; in part: tests/integration/test_page_stacks.py
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        Path(sys.prefix).is_relative_to("/tmp"),
        reason="NOT RUN: this Python is below /tmp, and a formula sees a /tmp of its own",
    ),
]

SERVERS = ["fake", pytest.param("live", marks=pytest.mark.needs("dokploy"))]


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


@pytest.mark.parametrize("server", SERVERS)
def test_from_the_form_to_the_end(bao_server: Bao, tmp_path: Path, server: str) -> None:
    root = tmp_path / "scene"
    root.mkdir()
    with ground_of(server, tmp_path) as (ground, name), ExitStack() as stack:
        scene = scene_with(stack, root, bao_server, ground, {"MODEL_KEY": "value-of-a-key"})
        served = Served(scene)
        try:
            link = stack.enter_context(page(scene, bao_server))
            chrome = stack.enter_context(browser(tmp_path / "profile"))
            chrome.get(link)
            reader = Visitor(chrome, link.partition("/enter/")[0])
            go_to_stacks(reader)
            says(reader, "You have no stacks.")
            deployed(reader, ground, name)
            updated(reader, ground, name)
            failed(reader, ground)
            destroyed(reader, ground, name)
            errors = [e for e in chrome.get_log("browser") if e["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
            assert [e for e in errors if "422" not in e["message"]] == []
            assert ground.key.encode() not in (scene.root / "web.log").read_bytes()
        finally:
            served.end()


def deployed(reader: Visitor, ground: Ground, name: str) -> None:
    reader.press("New stack")
    enter(reader, "params.name", "admin")
    named(reader, "This name is reserved.")
    enter(reader, "params.name", "A b")
    named(reader, "A name is 3 to 20")
    enter(reader, "params.name", name)
    named(reader, f"This name is free: {name}.{SUFFIX}")
    reader.press("Deploy it")
    says(reader, "nothing was sent", "neither a tag nor a digest")
    enter(reader, "params.image", ground.one)
    enter(reader, "params.environment", "A=1")
    enter(reader, "params.environment_secrets", "MODEL_KEY")
    reader.press("Deploy it")
    says(reader, f"stack-{name} is pushed as")
    says(reader, "running", f"https://{name}.{SUFFIX}/", "self-signed", "GET /")
    assert ground.page(name)
    go_to_stacks(reader)
    says(reader, name, "running", ground.one)
    reader.press("New stack")
    enter(reader, "params.name", name)
    named(reader, "This name is taken.")


def updated(reader: Visitor, ground: Ground, name: str) -> None:
    go_to_stacks(reader)
    reader.press("Update")
    enter(reader, "params.image", ground.two)
    reader.press("Update it")
    says(reader, f"update-stack-{name} is pushed as")
    says(reader, "running", ground.two)
    assert ground.page(name)


def failed(reader: Visitor, ground: Ground) -> None:
    """An image that the server does not have, and what is said about it."""
    name = f"b{secrets.token_hex(4)}"
    go_to_stacks(reader)
    reader.press("New stack")
    enter(reader, "params.name", name)
    enter(reader, "params.image", ground.gone)
    reader.press("Deploy it")
    says(reader, "not deployed", "The server could not fetch the image.", "manifest unknown")
    reader.press("Try again")
    says(reader, "It was not deployed.")
    value = reader.chrome.find_element("name", "params.name").get_attribute("value")
    assert value == name
    assert ground.services(name) == []


def destroyed(reader: Visitor, ground: Ground, name: str) -> None:
    go_to_stacks(reader)
    reader.press("Destroy")
    says(reader, "Destroy this stack?", f"workspace-{name}")
    reader.press("Destroy it")
    reader.reads_badge("destroyed")
    says(reader, "Destroyed by")
    go_to_stacks(reader)
    says(reader, "You have no stacks.", "Not deployed")
    assert (ground.services(name), ground.page(name)) == ([], "")
