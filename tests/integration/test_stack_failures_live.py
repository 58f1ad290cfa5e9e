"""Rows of docs/stacks.md on how a deploy fails, on a real Dokploy: those that the page says were seen there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from dispatcher.devservers.ports import free_port
from dispatcher.errors import DisintoError
from dispatcher.provision.waiting import SystemClock
from dispatcher.stack.converge import Tools
from dispatcher.stack.deploy import Creation, destroy
from dispatcher.stack.dokploy import Connection, Dokploy
from dispatcher.stack.environment import marked
from dispatcher.stack.lifecycle import Wanted
from dispatcher.stack.marks import Mark
from dispatcher.stack.probes import NetworkProber
from tests.servers import dokploy_live
from tests.support.desktops import Recorder, Steps
from tests.support.stacks import BLOB
from tests.unit.test_stack_failures import is_told, rows

pytestmark = [pytest.mark.needs("dokploy"), pytest.mark.thorough, pytest.mark.timeout(1200)]

SLOW_S = 150.0
"""Longer than a deployment may wait in a queue that does not move."""


@dataclass
class Server:
    """The real one, and what a person reads of a run.

    Attributes:
        name: of the stack, new in each test.
    """

    name: str
    tools: Tools
    said: Recorder

    def wanted(self, *, stack_id: str = "", image: str = "one", **more: str) -> Wanted:
        key = f"{stack_id or f'stack-{self.name}'}.{BLOB}"
        wanted = Wanted(
            mark=Mark.of_run(f"rows-{self.name}", key), key=key, name=self.name,
            image=dokploy_live.image(image), environment=marked("", key),
            volume=f"workspace-{self.name}", path="/workspace", port=8080, https=False,
            host=f"{self.name}.stacks.example", certificate="none",
        )  # fmt: skip
        return replace(wanted, **more)

    def deploy(self, tools: Tools | None = None, **given: str) -> None:
        Creation(self.wanted(**given), tools or self.tools).run()

    def failing(self, tools: Tools | None = None, **given: str) -> list[str]:
        """Deploy it; the lines of the run, and its error."""
        with pytest.raises(DisintoError) as caught:
            self.deploy(tools, **given)
        return [*self.said.said, f"{caught.value} {caught.value.remedy}"]

    def remove(self) -> None:
        for stack_id in (f"stack-{self.name}", f"stack-{self.name}-other"):
            destroy(stack_id, f"rows-{self.name}", self.tools)


@pytest.fixture
def server() -> Iterator[Server]:
    name = f"f{secrets.token_hex(4)}"
    with ExitStack() as stack:
        port = stack.enter_context(dokploy_live.pages())
        said = Recorder(steps=Steps())
        tools = Tools(
            platform=platform(os.environ["DOKPLOY_API_TOKEN"]),
            clock=SystemClock(),
            reporter=said,
            prober=NetworkProber(address="127.0.0.1", http_port=port),
        )
        server = Server(name, tools, said)
        stack.callback(dokploy_live.remove_volume, f"workspace-{name}")
        stack.callback(server.remove)
        yield server


def platform(key: str) -> Dokploy:
    return Dokploy(Connection(key, url=dokploy_live.url(), timeout_s=120))


def taken_by_a_stack(server: Server) -> list[str]:
    server.deploy(stack_id=f"stack-{server.name}-other")
    return server.failing()


def taken_by_a_project(server: Server) -> list[str]:
    hand = platform(os.environ["DOKPLOY_API_TOKEN"])
    hand.create_project(server.name, "by hand")
    (made,) = [each for each in hand.projects() if each.name == server.name]
    try:
        return server.failing()
    finally:
        hand.remove_project(made.id)


def queue_stands_still(server: Server) -> list[str]:
    """Somebody else's deployment is in front, and does not end."""
    with dokploy_live.slow_registry(SLOW_S) as registry, ExitStack() as stack:
        _, _, path = dokploy_live.image("one").partition("/")
        hand = platform(os.environ["DOKPLOY_API_TOKEN"])
        hand.create_project(f"{server.name}-slow", "by hand")
        (made,) = [each for each in hand.projects() if each.name == f"{server.name}-slow"]
        stack.callback(hand.remove_project, made.id)
        hand.create_application(made, f"{server.name}-slow", "by hand")
        (made,) = [each for each in hand.projects() if each.name == f"{server.name}-slow"]
        (slow,) = made.application_ids
        hand.save_image(slow, f"{registry}/{path}")
        hand.deploy(slow, "slow")
        stack.callback(without_its_service, hand, slow)
        return server.failing()


def without_its_service(hand: Dokploy, application_id: str) -> None:
    """Delete an application once its deployment has ended: before, its service would be nobody's."""
    clock = SystemClock()
    while any(job.application_id == application_id for job in hand.queue() or ()):
        clock.sleep(1.0)
    hand.delete_application(application_id)


def api(**headers: str) -> httpx.Client:
    return httpx.Client(base_url=f"{dokploy_live.url()}/api/", headers=headers, timeout=120)


def owner() -> httpx.Client:
    return api(**{"x-api-key": os.environ["DOKPLOY_API_TOKEN"]})


@contextmanager
def another_key(http: httpx.Client, **more: Any) -> Iterator[str]:
    """A key of the person who is logged in."""
    organization = asked(http.get("organization.all"))[0]["id"]
    given = {"name": "rows", "metadata": {"organizationId": organization}, **more}
    made = asked(http.post("user.createApiKey", json=given))
    try:
        yield made["key"]
    finally:
        asked(http.post("user.deleteApiKey", json={"apiKeyId": made["id"]}))


def asked(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.content else None


def quota_spent(server: Server) -> list[str]:
    spare = {"rateLimitEnabled": True, "rateLimitMax": 8, "rateLimitTimeWindow": 86_400_000}
    with owner() as http, another_key(http, **spare) as key:
        return server.failing(replace(server.tools, platform=platform(key)))


def without_rights(server: Server) -> list[str]:
    """With the key of a member who may do nothing."""
    password = secrets.token_urlsafe(12)
    person = {"email": f"{server.name}@example.test", "password": password}
    with owner() as admin, api(origin=dokploy_live.url()) as member:
        created = admin.post("user.createUserWithCredentials", json={**person, "role": "member"})
        user = asked(created)
        try:
            asked(member.post("auth/sign-in/email", json=person))
            with another_key(member, rateLimitEnabled=False) as key:
                return server.failing(replace(server.tools, platform=platform(key)))
        finally:
            asked(admin.post("user.remove", json={"userId": user["userId"]}))


ON_THE_SERVER: dict[str, Callable[[Server], list[str]]] = {
    "name is taken by a stack": taken_by_a_stack,
    "name is taken by somebody else's project": taken_by_a_project,
    "API key invalid": lambda server: server.failing(
        replace(server.tools, platform=platform("dokploy-none"))
    ),
    "API key's quota spent on the way": quota_spent,
    "key without rights": without_rights,
    "server refuses a value": lambda server: server.failing(host="al_ice.stacks.example"),
    "image cannot be pulled": lambda server: server.failing(image="gone"),
    "the server's queue stands still": queue_stands_still,
    "container ends at once": lambda server: server.failing(image="bad"),
    "container answers nothing": lambda server: server.failing(image="silent"),
    "the host name leads nowhere": lambda server: server.failing(
        replace(server.tools, prober=NetworkProber(address="127.0.0.1", http_port=free_port()))
    ),
}


def test_the_page_names_what_was_seen() -> None:
    assert {wrong for wrong, row in rows().items() if row.seen == "real"} == set(ON_THE_SERVER)


@pytest.mark.parametrize("wrong", ON_THE_SERVER)
def test_what_fails_at_a_real_server(server: Server, wrong: str) -> None:
    row = rows()[wrong]
    texts = ON_THE_SERVER[wrong](server)
    messages = [each.replace("alice", server.name) for each in row.messages]
    other = messages[-1].replace("stack other", f"stack stack-{server.name}-other")
    assert is_told([*messages[:-1], other], texts), texts
    kept = {
        "its volume": {f"workspace-{server.name}"},
        "the other stack": {f"workspace-{server.name}"},
    }
    volumes = {each for each in dokploy_live.volumes() if each == f"workspace-{server.name}"}
    assert volumes == kept.get(row.left, set())
    server.remove()
    assert dokploy_live.remains(server.name) == set()
