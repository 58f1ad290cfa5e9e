"""A Nomad of three servers and two clients, as processes on the loopback: a cluster that can lose
its leader, its quorum or a node.

Heartbeats are short, so that a client that is gone is missed after seconds. Each client is alone in
a node pool of its own: runs go where a test wants them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import tenacity

from dispatcher.devservers.nomad import DevAgent, bootstrap
from dispatcher.devservers.ports import free_ports
from dispatcher.devservers.remains import clear, watched

SERVERS = ("server-1", "server-2", "server-3")
NEAR, FAR = "near", "far"
"""The clients, each named as its node pool. The dispatcher talks to the agent of the near one."""

_patiently = tenacity.retry(
    stop=tenacity.stop_after_delay(120), wait=tenacity.wait_fixed(0.2), reraise=True
)


@dataclass(kw_only=True)
class Member:
    """One agent.

    Attributes:
        name: of the agent and of its node.
        folder: configuration, data and log.
        http, rpc, serf: its ports.
        process: None while it does not run.
    """

    name: str
    folder: Path
    http: int
    rpc: int
    serf: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def addr(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def start(self) -> None:
        """Start it, on the data of its last life if it had one."""
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["nomad", "agent", f"-config={self.folder / 'agent.json'}"],
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it as a machine does that loses power; a client's tasks go on nevertheless."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass(kw_only=True)
class Cluster:
    """See the module.

    Attributes:
        agent: the near client's agent, with a management token.
        servers, clients: by name.
    """

    agent: DevAgent
    servers: dict[str, Member] = field(default_factory=dict)
    clients: dict[str, Member] = field(default_factory=dict)

    def leader(self) -> Member:
        """The server that leads, as a living one names it."""
        for server in self.servers.values():
            if server.process is None:
                continue
            try:
                answer = httpx.get(f"{server.addr}/v1/status/leader", timeout=5, trust_env=False)
                port = int(answer.raise_for_status().json().rpartition(":")[2])
            except (httpx.HTTPError, ValueError):
                continue
            for member in self.servers.values():
                if member.rpc == port and member.process is not None:
                    return member
        raise LookupError("no server leads")

    @_patiently
    def until_led(self) -> Member:
        """Wait until a living server leads."""
        return self.leader()

    @_patiently
    def until_ready(self, *names: str) -> None:
        """Wait until these nodes can take runs."""
        api = self.agent.api()
        try:
            ready = {
                node["Name"]
                for node in api.nodes()
                if node["Status"] == "ready"
                and ((node.get("Drivers") or {}).get("raw_exec") or {}).get("Healthy")
            }
        finally:
            api.close()
        missing = set(names) - ready
        assert not missing, f"{sorted(missing)} are not ready"

    def mend(self) -> None:
        """Start everything that does not run, and wait until all of it works."""
        for member in (*self.servers.values(), *self.clients.values()):
            if member.process is None:
                member.start()
        self.until_led()
        self.until_ready(*self.clients)


@contextmanager
def serve() -> Iterator[Cluster]:
    """A new cluster that is gone at the end, with all its tasks."""
    folder = Path(tempfile.mkdtemp(prefix="disinto-nomad-cluster-"))
    ports = iter(free_ports(3 * (len(SERVERS) + 2)))
    members = [
        Member(name=name, folder=folder / name, http=next(ports), rpc=next(ports), serf=next(ports))
        for name in (*SERVERS, NEAR, FAR)
    ]
    servers, clients = members[: len(SERVERS)], members[len(SERVERS) :]
    cluster = Cluster(
        agent=DevAgent(addr=clients[0].addr, token=str(uuid.uuid4())),
        servers={member.name: member for member in servers},
        clients={member.name: member for member in clients},
    )
    for member in servers:
        _configure(member, _as_server(servers))
    for number, member in enumerate(clients):
        _configure(member, _as_client(member, servers, lowest_port=28_000 + 400 * number))
    with watched(folder), ExitStack() as ends:
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        ends.callback(clear, folder)
        for member in members:
            ends.callback(member.kill)
        for member in servers:
            member.start()
        cluster.until_led()
        for member in clients:
            member.start()
        bootstrap(cluster.agent)
        cluster.until_ready(*cluster.clients)
        yield cluster


def _configure(member: Member, role: dict[str, Any]) -> None:
    member.folder.mkdir()
    shared = {
        "name": member.name,
        "data_dir": str(member.folder / "data"),
        "bind_addr": "127.0.0.1",
        "disable_update_check": True,
        "leave_on_terminate": False,
        "ports": {"http": member.http, "rpc": member.rpc, "serf": member.serf},
        "advertise": {
            "http": f"127.0.0.1:{member.http}",
            "rpc": f"127.0.0.1:{member.rpc}",
            "serf": f"127.0.0.1:{member.serf}",
        },
        "acl": {"enabled": True},
    }
    (member.folder / "agent.json").write_text(json.dumps({**shared, **role}))


def _as_server(servers: list[Member]) -> dict[str, Any]:
    return {
        "server": {
            "enabled": True,
            "bootstrap_expect": len(servers),
            "server_join": {"retry_join": [f"127.0.0.1:{each.serf}" for each in servers]},
            "raft_multiplier": 1,
            "heartbeat_grace": "2s",
            "min_heartbeat_ttl": "2s",
            "failover_heartbeat_ttl": "10s",
        }
    }


def _as_client(member: Member, servers: list[Member], *, lowest_port: int) -> dict[str, Any]:
    return {
        "client": {
            "enabled": True,
            "servers": [f"127.0.0.1:{each.rpc}" for each in servers],
            "node_pool": member.name,
            "network_interface": "lo",
            "min_dynamic_port": lowest_port,
            "max_dynamic_port": lowest_port + 199,
            "options": {
                "fingerprint.denylist": "env_aws,env_gce,env_azure,env_digitalocean",
                "driver.allowlist": "raw_exec",
            },
        },
        "plugin": {"raw_exec": {"config": {"enabled": True}}},
    }
