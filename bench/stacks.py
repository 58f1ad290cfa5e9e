"""50 stacks deployed at once, beside the bare API: calls and time.

The server is the fake on the loopback, which deploys one application at a time, as Dokploy does;
``stacks_on_dokploy`` has the same for a real one. Runs, grants, engine and probes are real. As many runs are in flight
as a dispatcher has by default, because ten at a moment can stop a real server. The bare loop makes the
requests of one deployment with nothing around them, in as many threads: it looks for no name,
and asks for nothing but the state of its deployment.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import httpx

from bench.arrivals import Arrivals
from bench.commanded import commanded, settle
from bench.figures import Figure
from bench.stage import QUIET_POLL_S, ROOT, Stage, push
from dispatcher.devservers.scene import Scene
from dispatcher.settings.models import STACKS_AT_ONCE
from dispatcher.stack.converge import POLL_S
from dispatcher.stack.lifecycle import TOTAL_S
from dispatcher.stack.params import SETTINGS_FILE
from dispatcher.stack.probes import NetworkProber
from tests.servers.dokploy import KEY, FakeDokploy
from tests.servers.dokploy_http import serving
from tests.servers.dokploy_rules import Image

STACKS = 50
PULL_S, START_S = 1.0, 0.5
"""Seconds for which the server is at one deployment, and until its container runs."""

LONGEST_S = 900.0
IMAGE = "127.0.0.1:1/one:1"
SUFFIX = "stacks.example"
FORMULAS = ROOT / "actions" / "stack" / "formulas"


@dataclass(frozen=True, kw_only=True)
class Server:
    """One that stacks are deployed to, with nothing on it.

    Attributes:
        url: to which requests are sent, and where they are counted.
        port: where the pages of stacks are, on the loopback.
        image: one that answers.
        calls: requests by procedure.
        services: how many there are.
    """

    url: str
    port: int
    key: str
    image: str
    calls: Callable[[], Counter[str]]
    services: Callable[[], int]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A scene whose formula ``stack`` deploys to this server."""

    scene: Scene
    server: Server


def measure(stage: Stage, *, stacks: int = STACKS) -> list[Figure]:
    """By actions, then bare, each on a server of its own."""
    what = f"a server that needs {PULL_S:g} s for each and deploys one at a time"
    return [compared("stacks_at_once", what, stage, fake, stacks=stacks)]


def compared(
    name: str,
    what: str,
    stage: Stage,
    empty: Callable[[], AbstractContextManager[Server]],
    *,
    stacks: int,
    limit_s: float = TOTAL_S,
) -> Figure:
    """Deploy by actions, then bare.

    Args:
        empty: gives a server with nothing on it, until its block ends.
    """
    with empty() as server, ground(stage, server, stacks, limit_s) as here:
        took_s, made = _deployed(here, stacks)
        calls, services = server.calls(), server.services()
    with empty() as server:
        bare_s = _bare(server, stacks)
        bare_calls = server.calls()
    total, bare_total = calls.total(), bare_calls.total()
    changes = _changes(calls)
    return Figure(
        name=name,
        what=f"{stacks} stacks deployed in one push to {what}, {STACKS_AT_ONCE} at a time, beside a bare loop that makes "
        "the same changes in as many threads",
        goal="each made, and once; no more changes than the bare loop",
        measured=f"{made} of {stacks} made in {took_s:.0f} s, {took_s / bare_s:.2f} times as long; "
        f"{total / stacks:.0f} calls each beside {bare_total / stacks:.0f}, of which "
        f"{changes / stacks:.0f} change something",
        reached=made == services == stacks and changes == _changes(bare_calls),
        values={
            "s": took_s,
            "bare_s": bare_s,
            "ratio": took_s / bare_s,
            "calls": total,
            "bare_calls": bare_total,
            "changes": changes,
        },
    )


_CHANGES = frozenset({
    "project.create", "application.create", "application.saveDockerProvider",
    "application.saveEnvironment", "mounts.create", "domain.create", "application.deploy",
})  # fmt: skip


def _changes(calls: Counter[str]) -> int:
    return sum(n for name, n in calls.items() if name in _CHANGES)


@contextmanager
def fake() -> Iterator[Server]:
    """The fake."""
    server = FakeDokploy(
        now=time.time, queue_s=0, pull_s=PULL_S, start_s=START_S, images={IMAGE: Image.GOOD}
    )
    with serving(server) as (url, port):
        yield Server(
            url=url, port=port, key=KEY, image=IMAGE,
            calls=lambda: Counter(server.requests), services=lambda: len(server.services),
        )  # fmt: skip


@contextmanager
def ground(stage: Stage, server: Server, stacks: int, limit_s: float) -> Iterator[Ground]:
    """A scene."""
    own = {
        "DOKPLOY_URL": server.url, "STACK_DOMAIN_SUFFIX": SUFFIX, "STACK_IMAGE": server.image,
        "probe_address": "127.0.0.1", "http_port": server.port, "limit_s": limit_s,
    }  # fmt: skip
    texts = {file.name: file.read_text() for file in FORMULAS.iterdir()}
    bao = stage.server.with_own_mount()
    root = stage.folder / f"stacks-{secrets.token_hex(4)}"
    root.mkdir()
    scene = Scene.set(
        root,
        bao,
        values={"DOKPLOY_API_TOKEN": server.key},
        settings={
            "vault": {"kv_mount": bao.kv_mount, "transit_mount": f"transit-{root.name}"},
            "ops_repo": {"poll_interval_s": QUIET_POLL_S},
            "limits": {"max_in_flight": stacks},
            "local": {"hide_home": False},  # this Python may be in there
            "formulas": {"classes": {"stack": "provision"}},
        },
        tiers={"stack": "low"},
        formulas={**texts, SETTINGS_FILE: json.dumps(own)},
    )
    yield Ground(scene=scene, server=server)


def _deployed(here: Ground, stacks: int) -> tuple[float, int]:
    """Seconds from the push to the last result, and how many succeeded."""
    names = [f"stack-{number:03}" for number in range(stacks)]
    with commanded(here.scene) as service:
        settle(service)
        with Arrivals(here.scene.remote, look_s=0.05) as arrivals:
            begun = time.monotonic()
            push(here.scene.remote, {f"vault/actions/{n}.toml": _action(n) for n in names})
            service.command("look")
            took_s = arrivals.wait(stacks, timeout_s=LONGEST_S) - begun
    results = here.scene.results().values()
    return took_s, sum(result["verdict"] == "succeeded" for result in results)


def _bare(server: Server, stacks: int) -> float:
    """Seconds until the last of them answers."""
    begun = time.monotonic()
    with ThreadPoolExecutor(STACKS_AT_ONCE) as pool:
        list(pool.map(lambda number: _one(server, f"stack-{number:03}"), range(stacks)))
    return time.monotonic() - begun


def _one(server: Server, name: str) -> None:
    prober = NetworkProber(address="127.0.0.1", http_port=server.port)
    with httpx.Client(
        base_url=f"{server.url}/api", headers={"x-api-key": server.key}, trust_env=False, timeout=60
    ) as client:

        def send(procedure: str, **body: object) -> httpx.Response:
            return client.post(f"/{procedure}", json=body).raise_for_status()

        place = send("project.create", name=name).json()["environment"]["environmentId"]
        made = send("application.create", name=name, appName=name, environmentId=place)
        id_ = made.json()["applicationId"]
        send(
            "application.saveDockerProvider", applicationId=id_, dockerImage=server.image,
            username=None, password=None, registryUrl=None,
        )  # fmt: skip
        send(
            "application.saveEnvironment", applicationId=id_, env="", buildArgs="",
            buildSecrets="", createEnvFile=False,
        )  # fmt: skip
        send(
            "mounts.create", type="volume", volumeName=f"workspace-{name}", mountPath="/workspace",
            serviceId=id_, serviceType="application",
        )  # fmt: skip
        send(
            "domain.create", host=f"{name}.{SUFFIX}", applicationId=id_, port=8080, https=False,
            domainType="application", certificateType="none",
        )  # fmt: skip
        send("application.deploy", applicationId=id_)
        while True:
            mine = client.get("/deployment.all", params={"applicationId": id_}).json()
            if mine and mine[0]["status"] == "done":
                break
            time.sleep(POLL_S)
        while not prober.look(f"{name}.{SUFFIX}", https=False).healthy:
            time.sleep(POLL_S)


def _action(action_id: str) -> bytes:
    return (
        f'id = "{action_id}"\nformula = "stack"\ncontext = "bench"\nsecrets = ["DOKPLOY_API_TOKEN"]\n'
        f'[params]\nname = "{action_id}"\nhttps = false\n'
    ).encode()
