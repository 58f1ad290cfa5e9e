"""A real nginx, configured as the shipped example has it, leads to desktops and to nothing else."""

from __future__ import annotations

import base64
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from dispatcher.desktop.credentials import Credentials
from dispatcher.loop.inventory import InventoryEntry
from dispatcher.operate.desktop_access import (
    DesktopUnreachable,
    Session,
    Target,
    begin_session,
    end_session,
    place_of,
)
from dispatcher.operate.desktop_gateway import write_gateway
from tests.fakes.guacamole import FakeGuacamole, serving
from tests.servers import gateway as gateways
from tests.servers.gateway import Gateway
from tests.support.stage import eventually

pytestmark = pytest.mark.needs("nginx")

IDS = ("desk-1", "desk-2")


def credentials(number: int) -> Credentials:
    answer = base64.b64encode(bytes([number] * 32)).decode()
    return Credentials.from_hmac(f"vault:v1:{answer}")


class Scene:
    """A gateway, and two desktops behind it."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.directory = directory
        (directory / "gateway").mkdir()
        self.gateway: Gateway = stack.enter_context(gateways.gateway(directory / "gateway"))
        stack.enter_context(self.gateway.resolving())
        self.machines: dict[str, FakeGuacamole] = {}
        self._stacks: dict[str, ExitStack] = {}
        for name in IDS:
            self._stacks[name] = stack.enter_context(ExitStack())
            self.start(name)

    def start(self, name: str, *, port: int = 0) -> None:
        """A machine with a new certificate."""
        home = self.directory / name
        home.mkdir(exist_ok=True)
        key = credentials(IDS.index(name)).guacamole_key
        made = serving(key, home, desktop_id=name, port=port)
        self.machines[name] = self._stacks[name].enter_context(made)

    def stop(self, name: str) -> None:
        self._stacks[name].close()

    def entry(self, name: str) -> InventoryEntry:
        machine = self.machines[name]
        facts = {
            "state": "ACTIVE",
            "address": f"127.0.0.1:{machine.port}",
            "fingerprint": machine.fingerprint,
            "gateway_host": self.gateway.host,
        }
        return InventoryEntry(kind="desktop", id=name, blob="b" * 40, result=name, entry=facts)

    def write(self, *names: str) -> None:
        """What ``disinto desktop gateway --reload`` does."""
        made = write_gateway(self.gateway.directory, [self.entry(name) for name in names])
        assert made.changed
        self.gateway.reload()

    def begin(self, name: str) -> Session:
        place = place_of(self.entry(name), Target.GATEWAY)
        own = credentials(IDS.index(name))
        return begin_session(place, own, username="ann", now=time.time(), until_s=None)

    def get(self, name: str, path: str = "/guacamole/") -> httpx.Response:
        url = f"https://{name}.{self.gateway.host}{path}"
        context = ssl.create_default_context(cafile=str(self.gateway.trusted))
        return httpx.get(url, verify=context, trust_env=False)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack, tmp_path)


def test_nginx_accepts_the_example(scene: Scene) -> None:
    done = subprocess.run(
        [*scene.gateway.command, "-t"], capture_output=True, text=True, check=True
    )
    assert "[warn]" not in done.stderr
    assert "syntax is ok" in done.stderr


def test_each_host_name_leads_to_its_desktop(scene: Scene) -> None:
    scene.write(*IDS)
    sessions = {name: scene.begin(name) for name in IDS}
    for name, session in sessions.items():
        assert list(scene.machines[name].sessions) == [session.token]
        assert session.url.startswith(f"https://{name}.{scene.gateway.host}/guacamole/#/client/")
        end_session(session)
        assert not scene.machines[name].sessions


def test_people_read_why_there_is_no_desktop(scene: Scene) -> None:
    for name in ("desk-1", "unknown"):
        answer = scene.get(name)
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/plain")
        assert "There is no desktop of this name here" in answer.text
    with pytest.raises(
        DesktopUnreachable, match=r"desk-1\.desks\.example is not at its gateway yet"
    ) as refused:
        scene.begin("desk-1")
    assert "disinto desktop gateway" in str(refused.value.remedy)
    scene.write(*IDS)
    scene.begin("desk-1")
    scene.stop("desk-1")
    silent = scene.get("desk-1")
    assert silent.status_code == 502
    assert "The desktop does not answer" in silent.text
    scene.begin("desk-2")
    scene.write("desk-2")  # the other one was destroyed
    assert scene.get("desk-1").status_code == 404


def test_another_machine_at_the_same_address_gets_nothing(scene: Scene) -> None:
    """The provider gives addresses of destroyed machines to others."""
    scene.write(*IDS)
    scene.begin("desk-1")
    port = scene.machines["desk-1"].port
    before = scene.entry("desk-1")
    scene.stop("desk-1")
    scene.start("desk-1", port=port)
    assert scene.get("desk-1").status_code == 502
    with pytest.raises(DesktopUnreachable, match="HTTP 502"):
        begin_session(
            place_of(before), credentials(0), username="ann", now=time.time(), until_s=None
        )
    assert not scene.machines["desk-1"].requests
    assert "upstream SSL certificate verify error" in scene.gateway.log


def test_no_token_is_in_its_log_nor_goes_where_it_is_not_encrypted(scene: Scene) -> None:
    scene.write(*IDS)
    scene.begin("desk-1")
    scene.get("desk-1", "/guacamole/websocket-tunnel?token=CANARY")
    scene.stop("desk-1")
    assert scene.get("desk-1", "/guacamole/websocket-tunnel?token=CANARY").status_code == 502
    plain = httpx.get(
        f"http://127.0.0.1:{scene.gateway.http_port}/guacamole/?token=CANARY",
        headers={"Host": f"desk-1.{gateways.DOMAIN}"},
        trust_env=False,
    )
    assert plain.headers["Location"] == f"https://desk-1.{gateways.DOMAIN}/guacamole/"
    eventually(lambda: _in("/guacamole/websocket-tunnel", scene.gateway.log))()
    assert "CANARY" not in scene.gateway.log


def _in(part: str, whole: str) -> None:
    assert part in whole
