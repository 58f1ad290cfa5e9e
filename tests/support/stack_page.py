"""The page of a dispatcher that can make stacks, and what speaks to it as a person."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from dispatcher import assembly
from dispatcher.cli.web import open_live
from dispatcher.devservers.scene import Scene
from dispatcher.operate.submission_client import SubmissionClient
from dispatcher.page.sessions import Person as Visitor
from dispatcher.page.site import Site
from dispatcher.status.overview import OpenAction, State
from tests.support.desktop_stage import submitted
from tests.support.event_reader import events, serving_site
from tests.support.page_client import JSON, a_client, a_site
from tests.support.stage import Stage
from tests.unit.test_page_overview import _overview, _write

STACK = "stack-alice"
MARKUP = "<script>alert(1)</script>"
ADA = Visitor(login="ada", name="Ada", email="Ada@Example.org", token="forge-token")
EVE = Visitor(login="eve", name="Eve", email="eve@example.org", token="forge-token")
OPERATOR = Visitor(login="op", name="Op", operator=True)


@contextmanager
def stack_site(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name, value in scene.environ.items():
        monkeypatch.setenv(name, value)
    settings = scene.open_settings()

    def client_of(person: Visitor) -> SubmissionClient:
        author = person.author or ("Ada", "ada@example.org")
        return assembly.open_client(settings, scene.environ, author=author)

    site = a_site(settings.state_dir)
    site.settings, site.submissions = settings, client_of
    site.bearer = {"ada-token": ADA, "eve-token": EVE}.get
    with open_live(settings, lambda *_words, **_facts: None) as site.live, serving_site(site):
        yield site


class Program:
    """What speaks to the API as a person, with a token of the forge."""

    def __init__(self, site: Site, token: str) -> None:
        self._site, self._client = site, a_client(site)
        self.headers = {"Authorization": f"Bearer {token}", "Accept": "*/*"}  # as curl sends it

    def __call__(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any]:
        given: dict[str, Any] = {"json": body} if body is not None else {}
        headers = {**self.headers, **({} if path.startswith("/api/") else JSON), **headers}
        answer = self._client.request(method, path, headers=headers, **given)
        assert "json" in answer.headers["content-type"], answer.text
        return answer.status_code, answer.json()

    def events(self, stack_id: str, last: str = "") -> Any:
        more = {"Last-Event-ID": last} if last else {}
        address = f"{self._site.origin}/api/status/{stack_id}"
        return events(address, headers={**self.headers, **more})


def browser_of(site: Site, person: Visitor) -> TestClient:
    client = a_client(site)
    session = site.sessions.begin(person)
    client.cookies.set("disinto_session", site.sessions.cookie(session), domain="127.0.0.1")
    return client


def pressed(browser: TestClient, site: Site, page: str, to: str = "", **fields: str) -> Any:
    """What a form answers: the hidden fields that its page has, and those that a person filled in."""
    html = browser.get(page).text if page.startswith("/") else page
    form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', html))
    form |= dict(
        re.findall(
            r'<textarea class="hidden" name="([^"]+)" hidden>\n(.*?)</textarea>', html, re.DOTALL
        )
    )
    return browser.post(to or page, data={**form, **fields}, headers={"Origin": site.origin})


def reported(stage: Stage, action_id: str, stage_word: str, percent: float) -> Any:
    """The run of an action reports how far it is, and ``serve`` writes it down; the run's key."""
    key = submitted(stage, action_id).key
    progress = {"stage": stage_word, "percent": percent, "detail": "", "at": None}
    row = OpenAction(id=action_id, state=State.RUNNING, progress=progress)
    _write(stage.scene.open_settings().state_dir, _overview(open=(row,)))
    return key


def entry_of(key: Any, **more: Any) -> dict[str, Any]:
    return {
        "name": "alice", "state": "RUNNING", "url": "https://alice.stacks.example/", "image": "a/b:1",
        "run_key": key.token, "answered": "GET /: 200", "certificate": "valid",
        "volume": "workspace-alice", **more,
    }  # fmt: skip
