"""Stacks on the page and its API, with a dispatcher over a fake engine: checked, deployed, followed, updated,
destroyed; and whose they are."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dispatcher import assembly
from dispatcher.cli.web import open_live
from dispatcher.errors import Dependency, Unavailable
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.submission_client import SubmissionClient
from dispatcher.page import streams
from dispatcher.page.protection import FORM_TOKEN
from dispatcher.page.rates import Buckets, Rate
from dispatcher.page.sessions import Person as Visitor
from dispatcher.page.site import Site
from dispatcher.page.stack_reading import open_view
from dispatcher.page.stacks import open_board
from dispatcher.status.overview import OpenAction, State
from tests.servers.bao import Bao
from tests.support.desktop_stage import finish, submitted
from tests.support.event_reader import Event, events, serving_site
from tests.support.page_client import HTML, JSON, a_client, a_site, live_markup
from tests.support.stack_scene import stack_scene
from tests.support.stage import Stage, eventually
from tests.unit.test_page_overview import _overview, _write

pytestmark = pytest.mark.needs("bao", "git")

STACK = "stack-alice"
MARKUP = "<script>alert(1)</script>"
ADA = Visitor(login="ada", name="Ada", email="Ada@Example.org", token="forge-token")
EVE = Visitor(login="eve", name="Eve", email="eve@example.org", token="forge-token")
OPERATOR = Visitor(login="op", name="Op", operator=True)


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    suffix = {"STACK_DOMAIN_SUFFIX": "stacks.example"}
    with stack_scene(tmp_path, bao_server, **suffix) as stage:
        yield stage


@pytest.fixture
def site(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name, value in stage.scene.environ.items():
        monkeypatch.setenv(name, value)
    settings = stage.scene.open_settings()

    def client_of(person: Visitor) -> SubmissionClient:
        author = person.author or ("Ada", "ada@example.org")
        return assembly.open_client(settings, stage.scene.environ, author=author)

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


@pytest.fixture
def ada(site: Site) -> Program:
    return Program(site, "ada-token")


@pytest.fixture
def eve(site: Site) -> Program:
    return Program(site, "eve-token")


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


def until(stream: Iterator[Event], **facts: object) -> Event:
    """The first state that is as wanted."""
    for event in stream:
        if event.name == "status" and {name: event.data[name] for name in facts} == facts:
            return event
    raise AssertionError(f"the stream ended before {facts}")


def ended(stream: Iterator[Event]) -> Event:
    """The last event, after which there is nothing."""
    *_, last = stream
    return last


def test_a_name_and_a_deployment_by_the_api(
    stage: Stage, site: Site, ada: Program, eve: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, state in (("alice", "free"), ("admin", "reserved"), ("No", "malformed")):
        status, found = ada("GET", f"/api/check/{name}")
        assert (status, found["state"], found["free"]) == (200, state, state == "free"), found
        assert bool(found["remedy"]) == (state != "free")
    assert ada("GET", "/api/check/alice")[1]["host"] == "alice.stacks.example"
    status, sent = ada("POST", "/api/deploy", {"name": "alice", "image": "a/b:1"})
    assert (status, sent["id"], sent["action"], sent["state"]) == (200, STACK, STACK, "waiting")
    status, found = ada("GET", "/api/check/alice")
    assert (found["state"], f"by {STACK}" in found["reason"]) == ("taken", True)
    assert eve("GET", f"/stacks/{STACK}.json")[0] == 404
    assert eve("GET", f"/api/status/{STACK}")[0] == 404

    with ada.events(STACK) as stream:
        reported(stage, STACK, "creating-project", 15)
        first = until(stream, state="DEPLOYING", stage="creating-project", percent=15)
        assert first.data["owner"] == "Ada"
    monkeypatch.setattr(streams, "BEAT_S", 0.2)
    with ada.events(STACK, last=first.id) as stream:
        # Nothing has changed for whoever has the last state, so there is a heartbeat, and then a change.
        assert next(stream).comment == "still here"
        key = reported(stage, STACK, "deploying", 75)
        event = next(e for e in stream if e.name)
        assert (event.data["stage"], event.data["percent"]) == ("deploying", 75)
        finish(stage, key, entry_of(key))
        last = ended(stream)
    assert (last.name, last.data) == (
        "end", {"state": "RUNNING", "url": "https://alice.stacks.example/"}
    )  # fmt: skip
    with ada.events(STACK, last=last.id) as stream:
        assert [event.name for event in stream] == ["end"]
    vault_down(site, ada)
    updated_and_destroyed(stage, ada, eve)


def vault_down(site: Site, ada: Program) -> None:
    """Nobody's stack is said to be gone; the operator sees it, unverified."""
    view = site.once(open_view)
    with pytest.MonkeyPatch.context() as without:
        down = Unavailable(Dependency.VAULT, "no answer")
        without.setattr(view.verifier, "keys_digest", lambda: (_ for _ in ()).throw(down))
        site.opened.pop(open_board)
        for method, path in (
            ("GET", f"/stacks/{STACK}.json"),
            ("GET", f"/api/status/{STACK}"),
            ("DELETE", "/api/stack/alice"),
            ("POST", f"/stacks/{STACK}/destroy"),
        ):
            status, problem = ada(method, path)
            assert (status, "cannot be verified" in problem["detail"]) == (503, True), path
        assert "You have no stacks" not in browser_of(site, ADA).get("/stacks").text
        assert browser_of(site, OPERATOR).get(f"/stacks/{STACK}").status_code == 200
    assert ada("GET", f"/stacks/{STACK}.json")[0] == 200


def updated_and_destroyed(stage: Stage, ada: Program, eve: Program) -> None:
    """By their owner; of somebody else's nothing is said, but that there is none."""
    assert [s["id"] for s in ada("GET", "/stacks.json")[1]["stacks"]] == [STACK]
    assert eve("GET", "/stacks.json")[1]["stacks"] == []
    change = {"image": "a/b:2"}
    for method, path, body in (
        ("DELETE", "/api/stack/alice", None),
        ("POST", f"/stacks/{STACK}/update", change),
        ("POST", f"/stacks/{STACK}/destroy", {}),
    ):
        status, problem = eve(method, path, body)
        assert (status, problem["remedy"]) == (404, "A stack is shown to whoever deployed it. "
                                                    "See the list of stacks."), path  # fmt: skip
    assert [s.key.action_id for s in stage.scheduler.submitted] == [STACK]

    status, sent = ada("POST", f"/stacks/{STACK}/update", change)
    assert (status, sent["action"]) == (200, f"update-{STACK}")
    with ada.events(STACK) as stream:
        key = reported(stage, f"update-{STACK}", "health-check", 90)
        until(stream, state="UPDATING", percent=90)
        assert ada("POST", f"/stacks/{STACK}/update", change)[0] == 409
        finish(stage, key, entry_of(key, id=STACK, image="a/b:2"))
        assert ended(stream).data["state"] == "RUNNING"
    assert ada("GET", f"/stacks/{STACK}.json")[1]["image"] == "a/b:2"

    status, sent = ada("DELETE", "/api/stack/alice")
    assert (status, sent["id"], sent["action"]) == (200, STACK, f"destroy-{STACK}")
    with ada.events(STACK) as stream:
        key = reported(stage, f"destroy-{STACK}", "removing-project", 80)
        until(stream, state="DESTROYING")
        assert ada("DELETE", "/api/stack/alice")[0] == 409
        finish(stage, key, {"id": STACK})
        assert ended(stream).data["state"] == "DESTROYED"
    assert ada("DELETE", "/api/stack/alice")[0] == 404
    assert ada("GET", "/api/check/alice")[1]["state"] == "free"
    assert ada("GET", "/stacks.json")[1]["stacks"] == []
    assert [s["state"] for s in ada("GET", "/stacks.json?all=1")[1]["stacks"]] == ["DESTROYED"]


def test_what_programs_are_refused(stage: Stage, site: Site, ada: Program) -> None:
    status, shown = ada("POST", "/api/deploy", {"name": "bob", "image": "a/b:1", "step": "check"})
    assert (status, shown["tier"]) == (200, "low")
    assert tomllib.loads(shown["toml"])["secrets"] == ["DOKPLOY_API_TOKEN"]
    for body, field in (
        ({}, "params.name"),
        ({"name": MARKUP}, "params.name"),
        ({"name": "admin"}, "params.name"),
        ({"name": "bob"}, "params.image"),
        ({"name": "bob", "image": "a/b"}, "params.image"),
        ({"name": "bob", "image": "a/b:1", "id": "../x"}, "id"),
        ({"name": "bob", "image": "a/b:1", "port": 0}, "params.port"),
        ({"name": "bob", "image": "a/b:1", "port": None}, "params"),
        ({"name": "bob", "image": "a/b:1", "environment": {"A": "${{x}}"}}, "params.environment"),
        (
            {"name": "bob", "image": "a/b:1", "environment_secrets": ["DOKPLOY_API_TOKEN"]},
            "params.environment_secrets",
        ),
    ):
        status, problem = ada("POST", "/api/deploy", body)
        found = [e["field"] for e in problem["errors"]]
        assert (status, found) == (422, [field]), (body, problem)
    assert ada("POST", "/api/deploy", {"name": "bob", "image": "a/b:1", "more": 1})[0] == 422
    large = {"name": "bob", "image": "a/b:1", "expected_text": "x" * 10_000_000}
    assert ada("POST", "/api/deploy", large)[0] == 413
    for method, path in (
        ("GET", "/api/nothing"),
        ("GET", "/api/status/NO"),
        ("DELETE", "/api/stack/none"),
    ):
        status, problem = ada(method, path)
        assert (status, problem["status"]) == (404, 404)
    assert ada("GET", "/api/deploy")[0] == 405

    nobody = a_client(site)
    for method, path in (
        ("GET", "/api/check/alice"),
        ("POST", "/api/deploy"),
        ("GET", f"/api/status/{STACK}"),
        ("DELETE", "/api/stack/alice"),
    ):
        answer = nobody.request(method, path)
        assert (answer.status_code, answer.json()["status"]) == (401, 401)
    health = nobody.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")

    session = browser_of(site, ADA)
    assert (
        session.delete("/api/stack/alice", headers={"Origin": "https://evil.example"}).status_code
        == 403
    )
    assert session.post("/api/deploy", json={"name": "bob"}).status_code == 403, (
        "no token of a form"
    )

    site.writing, site.reading = (
        Buckets(Rate(per_s=0.01, burst=2), clock=lambda: 0.0) for _ in "wr"
    )
    assert [ada("POST", "/api/deploy", {})[0] for _ in range(3)] == [422, 422, 429]
    assert [ada("GET", "/api/check/x")[0] for _ in range(3)] == [200, 200, 429]
    assert stage.scheduler.submitted == []


def test_the_pages_without_scripts(stage: Stage, site: Site) -> None:
    browser = browser_of(site, ADA)
    assert "You have no stacks." in browser.get("/stacks").text
    html = browser.get("/new-stack").text
    assert "ends with" in html
    assert ".stacks.example" in html
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

    hostile = {
        "certificate": MARKUP,
        "answered": MARKUP,
        "image": MARKUP,
        "url": "javascript:alert(1)",
    }
    finish(stage, spec.key, entry_of(spec.key, **hostile))

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
        assert ended(stream).data == {"state": "FAILED", "url": ""}
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
