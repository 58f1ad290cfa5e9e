"""Stacks on the page without scripts, with a dispatcher over a fake engine: the forms, and a failure in plain words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dispatcher.model.run import Outcome, RunKey
from dispatcher.model.verdicts import Verdict
from dispatcher.page.protection import FORM_TOKEN
from dispatcher.page.site import Site
from tests.servers.bao import Bao
from tests.support.desktop_stage import finish, submitted
from tests.support.page_client import HTML, JSON, live_markup
from tests.support.stack_page import (
    ADA,
    EVE,
    MARKUP,
    OPERATOR,
    STACK,
    Program,
    browser_of,
    entry_of,
    pressed,
    reported,
    stack_site,
)
from tests.support.stack_scene import stack_scene
from tests.support.stage import Stage, eventually

pytestmark = pytest.mark.needs("bao", "git")


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    suffix = {"STACK_DOMAIN_SUFFIX": "stacks.example"}
    with stack_scene(tmp_path, bao_server, **suffix) as stage:
        yield stage


@pytest.fixture
def site(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with stack_site(stage.scene, monkeypatch) as site:
        yield site


def test_the_pages_without_scripts(stage: Stage, site: Site) -> None:
    browser = browser_of(site, ADA)
    # Nothing was signed yet, so there is no key; but there is nothing to verify either.
    assert "You have no stacks." in browser.get("/stacks").text
    html = browser.get("/new-stack").text
    assert "ends with" in html
    assert ".stacks.example" in html
    refused_forms(site, browser, html)
    form = {
        "params.name": "alice", "params.image": "a/b:1", "params.environment": "A=1\nB=x=y",
        "params.environment_secrets": "MODEL_KEY", "params.port": "8080", "params.volume": "true",
        "params.https": "true", "params.mount_path": "/workspace", "params.certificate": "letsencrypt",
        "params.health": "http", "params.expected_path": "/",
    }  # fmt: skip
    file = pressed(browser, site, html, "/new-stack", **form, step="check")
    assert "None is needed" in file.text
    back = pressed(browser, site, file.text, "/new-stack", step="back")
    assert "B=x=y" in back.text
    sent = pressed(browser, site, file.text, "/new-stack", step="send")
    assert (sent.status_code, sent.headers["location"]) == (303, f"/stacks/{STACK}")
    spec = submitted(stage, STACK)
    assert spec.params == {
        "name": "alice", "image": "a/b:1", "environment": {"A": "1", "B": "x=y"},
        "environment_secrets": ["MODEL_KEY"],
    }  # fmt: skip
    again = pressed(browser, site, html, "/new-stack", **form)
    assert (again.status_code, "is taken, by" in again.text) == (422, True)
    shown = browser.get(f"/stacks/{STACK}").text
    assert f"{STACK} is pushed as" in shown
    assert "No dispatcher runs here" in shown
    reported(stage, STACK, "configuring", 45)

    @eventually
    def at_its_stage() -> None:
        html = browser.get(f"/stacks/{STACK}").text
        assert '<li class="now" aria-current="step"><span class="word">setting image' in html
        assert html.count('<li class="done">') == 3

    at_its_stage()
    assert browser_of(site, EVE).get(f"/stacks/{STACK}").status_code == 404
    assert browser_of(site, OPERATOR).get(f"/stacks/{STACK}").status_code == 200

    changed_and_destroyed(stage, site, browser, spec.key)


def refused_forms(site: Site, browser: TestClient, html: str) -> None:
    """Each error is at its field, and what was entered is dead text."""
    bad = pressed(browser, site, html, "/new-stack", **{
        "params.name": MARKUP, "params.image": MARKUP, "params.environment": f"no sign {MARKUP}",
    })  # fmt: skip
    assert bad.status_code == 422
    for field in ("params.environment",):
        assert f'id="{field}-error"' in bad.text
    assert live_markup(bad.text) == []
    form = {"params.name": "Alice", "params.image": MARKUP, "params.port": "0"}
    bad = pressed(browser, site, html, "/new-stack", **form)
    for field in ("params.name", "params.image", "params.port"):
        assert f'id="{field}-error"' in bad.text, field
    assert '<details class="more" open>' in bad.text
    assert live_markup(bad.text) == []


def changed_and_destroyed(stage: Stage, site: Site, browser: TestClient, key: RunKey) -> None:
    """One whose entry has markup wherever there is text."""
    hostile = {
        "certificate": MARKUP,
        "answered": MARKUP,
        "image": MARKUP,
        "url": "javascript:alert(1)",
    }
    finish(stage, key, entry_of(key, **hostile))

    @eventually
    def running() -> None:
        assert browser.get(f"/stacks/{STACK}.json").json()["state"] == "RUNNING"

    running()
    for path in (
        "/stacks",
        f"/stacks/{STACK}",
        f"/stacks/{STACK}/update",
        f"/stacks/{STACK}/destroy",
    ):
        html = browser.get(path).text
        assert live_markup(html) == []
        assert MARKUP not in html
        assert "javascript:" not in html
    assert browser.get(f"/stacks/{STACK}.json").json()["url"] == ""
    nothing = pressed(browser, site, f"/stacks/{STACK}/update")
    assert (nothing.status_code, "nothing would change" in nothing.text) == (422, True)
    done = pressed(browser, site, f"/stacks/{STACK}/update", **{"params.image": "a/b:2"})
    assert (done.status_code, done.headers["location"]) == (303, f"/stacks/{STACK}")
    assert submitted(stage, f"update-{STACK}").params == {"id": STACK, "image": "a/b:2"}
    assert "workspace-alice" in browser.get(f"/stacks/{STACK}/destroy").text
    assert pressed(browser, site, f"/stacks/{STACK}/destroy").status_code == 303
    assert submitted(stage, f"destroy-{STACK}").params == {"id": STACK}


def test_a_failure_in_plain_words(stage: Stage, site: Site) -> None:
    browser = browser_of(site, ADA)
    program = Program(site, "ada-token")
    body = {"name": "alice", "image": "a/b:1", "environment": {"A": "1"}, "volume": False}
    assert program("POST", "/api/deploy", body)[0] == 200
    key = submitted(stage, STACK).key
    said = f"health-check took more than 60 seconds: the container ends by itself ({MARKUP})"
    failed = Outcome(verdict=Verdict.FAILED, exit_code=1, formula_started=True, logs=said)
    with program.events(STACK) as stream:
        stage.scheduler.end(key, failed)
        stage.result(STACK)
        *_, last = stream
        assert last.data == {"state": "FAILED", "url": ""}
    found = program("GET", f"/stacks/{STACK}.json")[1]
    assert (found["state"], found["failure"], found["said"]) == ("FAILED", "crash", said)
    for path in ("/stacks", f"/stacks/{STACK}", f"/new-stack?from={STACK}"):
        html = browser.get(path, headers=HTML).text
        assert "The image was started, and its program ended at once." in html
        assert live_markup(html) == []
        assert MARKUP not in html
    again = browser.get(f"/new-stack?from={STACK}").text
    assert 'value="alice"' in again
    assert "A=1" in again
    assert browser_of(site, EVE).get("/stacks.json", headers=JSON).json()["failed"] == []
    assert program("GET", "/api/check/alice")[1]["state"] == "free"


def test_a_form_names_the_token_of_its_session(site: Site) -> None:
    """By the header of a program with a cookie, as docs/web.md has it."""
    browser = browser_of(site, ADA)
    token = re.search(rf'name="{FORM_TOKEN}" value="([^"]+)"', browser.get("/stacks").text)
    assert token is not None
    headers = {"Origin": site.origin, "X-Form-Token": token[1], **JSON}
    body = json.dumps({"name": "alice", "image": "a/b:1", "step": "check"})
    answer = browser.post(
        "/api/deploy", content=body, headers={**headers, "Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["id"]) == (200, STACK)
