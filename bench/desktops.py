"""200 desktops followed at once, and what a creation costs over the provider's bare API.

The provider is the fake with DigitalOcean's limits, on the loopback; the machines serve their pages there,
with the certificates of their user data. Runs, grants, engine and probes are real. The bare loop makes the
requests of one creation with nothing around them; the two take turns.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.arrivals import Arrivals
from bench.commanded import Commanded, commanded, settle
from bench.figures import Figure, median
from bench.processes import own_mb, tree
from bench.stage import QUIET_POLL_S, ROOT, Stage, push
from dispatcher.desktop.create import LOOK_S, PROBE_S
from dispatcher.desktop.credentials import VARIABLE
from dispatcher.desktop.machine import user_data
from dispatcher.desktop.params import SETTINGS_FILE
from dispatcher.desktop.probes import NetworkProber
from dispatcher.devservers.scene import Scene
from tests.servers.cloud import TOKEN, FakeCloud
from tests.servers.cloud_connection import serving
from tests.servers.many_machines import ManyMachines, many_machines
from tests.support.machines import machine

DESKTOPS = 200
PER_MINUTE, PER_HOUR = 250, 5_000
ADDRESS_S, READY_S = 40.0, 120.0
"""Seconds until a machine has an address, and its desktop answers, of those followed at once."""

ROUNDS = 3
SOON_S, SOON_READY_S = 3.0, 2.5
"""The same of those made one by one."""

LONGEST_S = 900.0
FORMULAS = ROOT / "actions" / "desktop" / "formulas"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A scene whose formula ``desktop`` makes machines of this account."""

    scene: Scene
    cloud: FakeCloud
    machines: ManyMachines
    url: str


def measure(stage: Stage, *, desktops: int = DESKTOPS) -> list[Figure]:
    """Those that are followed, then one by one."""
    with ground(stage, desktops, address_s=ADDRESS_S, ready_s=READY_S) as followed:
        figures = _followed(followed, desktops)
    with ground(stage, 2 * ROUNDS + 2, address_s=SOON_S, ready_s=SOON_READY_S) as alone:
        return [*figures, *_overhead(alone)]


@contextmanager
def ground(stage: Stage, desktops: int, *, address_s: float, ready_s: float) -> Iterator[Ground]:
    """A scene with its own account."""
    cloud = FakeCloud(
        limit=desktops, active_after_s=address_s, ip_after_s=address_s, listed_after_s=2.0,
        per_minute=PER_MINUTE, per_hour=PER_HOUR,
    )  # fmt: skip
    with many_machines(ready_after_s=ready_s) as machines, serving(cloud) as url:
        cloud.address, cloud.made = machines.address, machines.boot
        own = {
            "DIGITALOCEAN_API_URL": url,
            "DIGITALOCEAN_IMAGE_SLUG": "ubuntu-24-04-x64",
            "http_port": machines.http_port,
            "https_port": machines.https_port,
        }
        texts = {file.name: file.read_text() for file in FORMULAS.iterdir()}
        server = stage.server.with_own_mount()
        root = stage.folder / f"desktops-{secrets.token_hex(4)}"
        root.mkdir()
        scene = Scene.set(
            root,
            server,
            values={"DIGITALOCEAN_API_TOKEN": TOKEN},
            settings={
                "vault": {
                    "kv_mount": server.kv_mount,
                    "transit_mount": f"transit-{root.name}",
                    "derived": {VARIABLE: "disinto-desktops"},
                },
                "ops_repo": {"poll_interval_s": QUIET_POLL_S},
                "limits": {"max_in_flight": desktops},
                "local": {"hide_home": False},  # this Python may be in there
                "formulas": {"classes": {"desktop": "provision"}},
            },
            tiers={"desktop": "low"},
            formulas={**texts, SETTINGS_FILE: json.dumps(own)},
        )
        yield Ground(scene=scene, cloud=cloud, machines=machines, url=url)


class Sampler:
    """Memory of a service and of its runs, every few seconds. Use as a context manager.

    Attributes:
        runs_mb: of one run, with its runner and sandbox, when most were there.
        most: runs at that moment.
        service_mb: the most of the service itself.
    """

    def __init__(self, service: Commanded) -> None:
        self._service = service
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.runs_mb, self.service_mb, self.most = 0.0, 0.0, 0

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(10.0):
            self.service_mb = max(self.service_mb, self._service.rss_mb())
            pids = tree(self._service.pid)[1:]
            programs = sum(_is_program(pid) for pid in pids)
            if programs > self.most:
                self.most = programs
                self.runs_mb = sum(map(own_mb, pids)) / programs


def _is_program(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[1:3] == [b"-m", b"dispatcher.desktop"]


def _followed(here: Ground, desktops: int) -> list[Figure]:
    names = [f"desktop-{number:03}" for number in range(desktops)]
    with commanded(here.scene) as service:
        settle(service)
        empty_mb = service.rss_mb()
        with Arrivals(here.scene.remote, look_s=0.05) as arrivals, Sampler(service) as sampler:
            begun, looks = time.monotonic(), service.looks()
            push(here.scene.remote, {f"vault/actions/{n}.toml": _action(n) for n in names})
            service.command("look")
            took_s = arrivals.wait(desktops, timeout_s=LONGEST_S) - begun
            looks = service.looks() - looks
    minutes = took_s / 60
    results = here.scene.results().values()
    made = sum(result["verdict"] == "succeeded" for result in results)
    for failed in (result for result in results if result["verdict"] != "succeeded"):
        print(json.dumps(failed), file=sys.stderr)
    answered = list(here.cloud.times)
    by_minute = Counter(int((at - answered[0]) // 60) for at in answered)
    exactly = made == here.cloud.created == len(here.cloud.running()) == desktops
    calls = looks["observe"] + looks["progress"]
    return [
        Figure(
            name="desktops_cloud",
            what=f"{desktops} desktops created in one push and followed: requests to the provider, "
            f"which allows {PER_MINUTE} a minute",
            goal="each made, and once",
            measured=f"{made} of {desktops} made within {minutes:.1f} minutes; "
            f"{len(answered) / desktops:.1f} requests each, {len(answered) / minutes:.0f} a minute, "
            f"{max(by_minute.values())} in the fullest; {here.cloud.refused} refused and made later",
            reached=exactly,
            values={
                "s": took_s,
                "requests": len(answered),
                "per_minute": len(answered) / minutes,
                "refused": here.cloud.refused,
                "probes": here.machines.probes,
            },
        ),
        Figure(
            name="desktops_engine",
            what="the same: calls to the local engine, each for all runs or for 20 of them",
            goal="",
            measured=f"{calls / minutes:.0f} a minute, which read {looks['progress of runs'] / minutes:.0f} "
            "reports of progress",
            reached=None,
            values={
                "observe_per_minute": looks["observe"] / minutes,
                "progress_per_minute": looks["progress"] / minutes,
                "reports_per_minute": looks["progress of runs"] / minutes,
            },
        ),
        Figure(
            name="desktops_memory",
            what="the same: memory of `serve`, and of each run with runner and sandbox",
            goal="",
            measured=f"{sampler.service_mb:.0f} MB, {empty_mb:.0f} MB with none; {sampler.runs_mb:.0f} MB "
            f"a run ({sampler.most} at once)",
            reached=None,
            values={
                "rss_mb": sampler.service_mb,
                "empty_rss_mb": empty_mb,
                "run_mb": sampler.runs_mb,
                "runs_at_once": sampler.most,
            },
        ),
    ]


def _overhead(here: Ground) -> list[Figure]:
    ratios, added, bare_requests, requests = [], [], [], []
    with commanded(here.scene) as service:
        settle(service)
        _created(here, service, "warm")
        for number in range(ROUNDS):
            before = len(here.cloud.times)
            bare_s = _bare(here, f"bare-{number}")
            bare_requests.append(len(here.cloud.times) - before)
            before = len(here.cloud.times)
            created_s = _created(here, service, f"desktop-{number}")
            requests.append(len(here.cloud.times) - before)
            ratios.append(created_s / bare_s)
            added.append(created_s - bare_s)
    return [
        Figure(
            name="desktops_overhead",
            what="push of an action to the result of its desktop, beside a bare loop that makes the same "
            f"requests and pauses, with a machine that needs {SOON_S:g} s",
            goal="no more requests",
            measured=f"{median(ratios):.2f} times as long, {median(added):.1f} s more; "
            f"{median(requests):.0f} requests beside {median(bare_requests):.0f}",
            reached=median(requests) <= median(bare_requests),
            values={
                "ratio": median(ratios),
                "added_s": median(added),
                "requests": median(requests),
                "bare_requests": median(bare_requests),
            },
        )
    ]


def _created(here: Ground, service: Commanded, action_id: str) -> float:
    """Seconds from the push to the result."""
    with Arrivals(here.scene.remote, look_s=0.02) as arrivals:
        begun = time.monotonic()
        push(here.scene.remote, {f"vault/actions/{action_id}.toml": _action(action_id)})
        service.command("look")
        took_s = arrivals.wait(1, timeout_s=LONGEST_S) - begun
    if here.scene.results()[action_id]["verdict"] != "succeeded":
        raise AssertionError(f"{action_id}: {here.scene.results()[action_id]}")
    return took_s


def _bare(here: Ground, name: str) -> float:
    """Seconds for the requests of one creation, by httpx and the prober alone."""
    body = {
        "name": name, "region": "sfo3", "size": "s-2vcpu-4gb", "image": "ubuntu-24-04-x64",
        "tags": [name], "ssh_keys": [], "user_data": user_data(machine()), "monitoring": False,
    }  # fmt: skip
    fingerprint = machine().certificate.fingerprint
    prober = NetworkProber(http_port=here.machines.http_port, https_port=here.machines.https_port)
    tagged = {"tag_name": name, "page": "1", "per_page": "200"}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    begun = time.monotonic()
    with httpx.Client(base_url=here.url, headers=headers, trust_env=False) as client:
        client.get("/v2/droplets", params=tagged)
        droplet_id = client.post("/v2/droplets", json=body).json()["droplet"]["id"]
        while True:
            droplet = client.get(f"/v2/droplets/{droplet_id}").json()["droplet"]
            public = [
                v4["ip_address"] for v4 in droplet["networks"]["v4"] if v4["type"] == "public"
            ]
            if public:
                break
            time.sleep(LOOK_S)
        while not prober.look(public[0], fingerprint).https:
            time.sleep(PROBE_S)
        client.get("/v2/droplets", params=tagged)
    return time.monotonic() - begun


def _action(action_id: str) -> bytes:
    return (
        f'id = "{action_id}"\nformula = "desktop"\ncontext = "bench"\n'
        f'secrets = ["DIGITALOCEAN_API_TOKEN", "{VARIABLE}"]\n[params]\nname = "{action_id}"\n'
    ).encode()
