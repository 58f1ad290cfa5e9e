"""A stack from its deployment to its destruction by the HTTP API: the dispatcher, the page and the runs are the real
ones; the server is the stateful fake, or a real Dokploy if there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dispatcher.page.site import Site
from tests.servers.bao import Bao
from tests.support.event_reader import Event
from tests.support.serving import serving
from tests.support.stack_page import Program, stack_site
from tests.support.stack_stage import SUFFIX, Ground, ground_of, no_secret_is_left, scene_with

pytestmark = [
    pytest.mark.needs("bao", "bwrap"),
    pytest.mark.thorough,  # with a fake engine: tests/integration/test_page_stacks.py
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        Path(sys.prefix).is_relative_to("/tmp"),
        reason="NOT RUN: this Python is below /tmp, and a formula sees a /tmp of its own",
    ),
]

SECRET = "canary-50b7e2"
STAGES = [
    "initializing", "creating-project", "creating-application", "configuring", "creating-domain",
    "deploying", "health-check",
]  # fmt: skip


@pytest.mark.parametrize(
    "server", ["fake", pytest.param("live", marks=pytest.mark.needs("dokploy"))]
)
def test_from_the_deployment_to_the_end(
    bao_server: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    root = tmp_path / "scene"
    root.mkdir()
    with ground_of(server, tmp_path) as (ground, name), ExitStack() as stack:
        if ground.fake is not None:
            ground.fake.pull_s = 10.0  # stages are read every four seconds
        scene = scene_with(stack, root, bao_server, ground, {"MODEL_KEY": SECRET})
        with serving(scene), stack_site(scene, monkeypatch) as site:
            play(site, ground, name)
        assert (ground.services(name), ground.page(name)) == ([], "")
        no_secret_is_left(scene, ground.key, SECRET)


def play(site: Site, ground: Ground, name: str) -> None:
    ada, eve = Program(site, "ada-token"), Program(site, "eve-token")
    stack_id = f"stack-{name}"
    assert ada("GET", f"/api/check/{name}")[1]["state"] == "free"
    wanted = {"name": name, "image": ground.one, "environment_secrets": ["MODEL_KEY"]}
    status, shown = ada("POST", "/api/deploy", {**wanted, "step": "check"})
    assert (status, shown["tier"]) == (200, "low")
    status, sent = ada("POST", "/api/deploy", wanted)
    assert (status, sent["id"], sent["action"]) == (200, stack_id, stack_id)

    end = followed(ada, stack_id)
    assert end == {"state": "RUNNING", "url": f"https://{name}.{SUFFIX}/"}
    assert ground.page(name)
    assert ada("GET", f"/api/check/{name}")[1]["state"] == "taken"
    assert ada("GET", f"/stacks/{stack_id}.json")[1]["image"] == ground.one
    assert eve("GET", f"/api/status/{stack_id}")[0] == 404
    assert eve("DELETE", f"/api/stack/{name}")[0] == 404

    status, sent = ada("POST", f"/stacks/{stack_id}/update", {"image": ground.two})
    assert (status, sent["action"]) == (200, f"update-{stack_id}")
    assert ended(ada, stack_id) == "RUNNING"
    assert ada("GET", f"/stacks/{stack_id}.json")[1]["image"] == ground.two

    status, sent = ada("DELETE", f"/api/stack/{name}")
    assert (status, sent["action"]) == (200, f"destroy-{stack_id}")
    assert ended(ada, stack_id) == "DESTROYED"
    assert ada("DELETE", f"/api/stack/{name}")[0] == 404
    assert ada("GET", f"/api/check/{name}")[1]["state"] == "free"


def ended(ada: Program, stack_id: str) -> str:
    """The state at the end of a stream."""
    with ada.events(stack_id) as stream:
        *_, last = (event for event in stream if event.name)
    assert last.name == "end"
    return str(last.data["state"])


def followed(ada: Program, stack_id: str) -> dict[str, str]:
    """Follow a deployment to its end, by a client that comes back after each event; what the end says."""
    last, seen = "", list[str]()
    while True:
        with ada.events(stack_id, last=last) as stream:
            event = next_event(stream)
        if event.name == "end":
            # Whoever has missed stages in between has still seen them in their order.
            assert seen == [stage for stage in STAGES if stage in seen]
            assert seen
            return dict(event.data)
        assert event.id != last, "what the client has was sent again"
        last = event.id
        stage = event.data["stage"]
        if stage in STAGES and stage not in seen:
            seen.append(stage)


def next_event(stream: Iterator[Event]) -> Event:
    """The next one, past heartbeats."""
    return next(event for event in stream if event.name)
