"""Stacks on the page and its API, with a dispatcher over a fake engine: checked, deployed, followed, updated,
destroyed; and whose they are."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.errors import Dependency, Unavailable
from dispatcher.page import streams
from dispatcher.page.rates import Buckets, Rate
from dispatcher.page.site import Site
from dispatcher.page.stack_reading import open_view
from dispatcher.page.stacks import open_board
from tests.servers.bao import Bao
from tests.support.desktop_stage import finish
from tests.support.event_reader import Event
from tests.support.page_client import a_client
from tests.support.stack_page import (
    ADA,
    MARKUP,
    OPERATOR,
    STACK,
    Program,
    browser_of,
    entry_of,
    reported,
    stack_site,
)
from tests.support.stack_scene import stack_scene
from tests.support.stage import Stage

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


@pytest.fixture
def ada(site: Site) -> Program:
    return Program(site, "ada-token")


@pytest.fixture
def eve(site: Site) -> Program:
    return Program(site, "eve-token")


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

    others_and_too_many(site, ada)
    assert stage.scheduler.submitted == []


def others_and_too_many(site: Site, ada: Program) -> None:
    """Nobody, another site, and who asks too often."""
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
