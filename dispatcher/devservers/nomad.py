"""A real Nomad agent (server and client in one, ACLs on) on free loopback ports.

``nomad`` is taken from PATH. On exit its jobs are stopped, and its processes, containers, mounts
and directory are removed.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import tenacity

from dispatcher.devservers.nomad_process import (
    Launch,
    check_alive,
    retrying,
    start_process,
    write_config,
)
from dispatcher.devservers.ports import free_ports
from dispatcher.devservers.remains import clear, watched
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Denied, Misconfigured
from dispatcher.model.mounts import Mount


@dataclass(kw_only=True)
class DevAgent:
    """A reachable agent.

    Attributes:
        addr, token: for NOMAD_ADDR and NOMAD_TOKEN; the token is a management token.
        process: None if the agent is not ours; else it may be stopped and continued.
        volumes: directory of each host volume it offers; empty if the agent is not ours.
        directory: holds the configuration, data and log of an agent of ours.
        launch: starts the process of an agent of ours.
    """

    addr: str
    token: str
    process: subprocess.Popen[bytes] | None = None
    volumes: Mapping[Mount, Path] = field(default_factory=dict)
    directory: Path | None = None
    rpc_port: int = 0
    launch: Callable[[], subprocess.Popen[bytes]] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The NOMAD_* variables that address it."""
        return {"NOMAD_ADDR": self.addr, "NOMAD_TOKEN": self.token}

    def settings(self, **more: Any) -> NomadSettings:
        """The section [nomad] for this agent."""
        return NomadSettings(addr=self.addr, **more)

    def api(self, **more: Any) -> NomadApi:
        """A client with the management token."""
        return NomadApi(self.settings(**more), self.environ)

    def client_token(self, policy: str) -> str:
        """A token that has one ACL policy and nothing else."""
        answer = httpx.post(
            f"{self.addr}/v1/acl/token",
            headers={"X-Nomad-Token": self.token},
            json={"Name": policy, "Type": "client", "Policies": [policy], "Global": False},
            timeout=10,
            trust_env=False,
        )
        answer.raise_for_status()
        token: str = answer.json()["SecretID"]
        return token


Agent = TypeVar("Agent", bound=DevAgent)


def binary() -> str | None:
    """Path of ``nomad``, or None."""
    return shutil.which("nomad")


def given(environ: Mapping[str, str]) -> DevAgent | None:
    """The Nomad of NOMAD_ADDR, with the management token in NOMAD_TOKEN; None if NOMAD_ADDR is unset."""
    addr = environ.get("NOMAD_ADDR")
    return DevAgent(addr=addr, token=environ.get("NOMAD_TOKEN", "")) if addr else None


@contextmanager
def start(
    kind: type[Agent],
    *,
    keeps_state: bool = False,
    extra: str = "",
    mounts: Collection[Mount] = tuple(Mount),
    launch: Launch | None = None,
) -> Iterator[Agent]:
    """A new agent, removed on exit.

    Args:
        kind: the class to instantiate.
        keeps_state: keep its state on disk, so that it can be killed and restarted; takes 15 s or
            more to be ready.
        extra: additional agent configuration, HCL.
        mounts: the host volumes that it offers, each an empty directory.
        launch: starts the program; by default as a process of this machine.

    Raises:
        Misconfigured: ``nomad`` is not on PATH.
        AgentEnded: it does not start.
    """
    if binary() is None and launch is None:
        raise Misconfigured(
            "no `nomad` is on PATH, and NOMAD_ADDR names no Nomad",
            remedy="Install Nomad, or set NOMAD_ADDR and NOMAD_TOKEN (a management token).",
        )
    directory = Path(tempfile.mkdtemp(prefix="disinto-nomad-"))
    volumes = {mount: directory / "volumes" / mount.value for mount in mounts}
    for path in volumes.values():
        path.mkdir(parents=True)
    http, rpc, serf = free_ports(3)
    config = write_config(directory, (http, rpc, serf), volumes, extra=extra)
    # Without -dev, a client that registers before the server's keyring is up waits 15 to 20 s.
    arguments = ["agent", f"-config={config}", *([] if keeps_state else ["-dev"])]
    begin = partial(launch or start_process, arguments, directory)
    server = kind(
        addr=f"http://127.0.0.1:{http}",
        token=str(uuid.uuid4()),
        volumes=volumes,
        directory=directory,
        rpc_port=rpc,
        launch=begin,
    )
    with watched(directory):
        server.process = begin()
        try:
            bootstrap(server)
            wait_until_ready(server)
            yield server
        finally:
            _shut_down(server, directory)


def bootstrap(agent: DevAgent) -> None:
    """Wait until an agent answers, and ensure that its token is a management token.

    A server that has ACLs and no token yet takes this one as its first.

    Raises:
        Misconfigured: it was bootstrapped with another token.
        AgentEnded: an agent of ours ended.
    """

    @retrying
    def bootstrapped() -> httpx.Response:
        if agent.directory is not None:
            check_alive(own_process(agent), agent.directory)
        answer = httpx.put(
            f"{agent.addr}/v1/acl/bootstrap",
            json={"BootstrapSecret": agent.token},
            timeout=10,
            trust_env=False,
        )
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            answer.raise_for_status()  # no leader yet
        return answer

    if bootstrapped().status_code == httpx.codes.OK:
        return
    api = agent.api()
    try:
        token = api.token_self()
    except Denied:
        token = {}
    finally:
        api.close()
    if token.get("Type") != "management":
        raise Misconfigured(
            f"the token for the Nomad at {agent.addr} is no management token",
            remedy="Set NOMAD_TOKEN to the token that its ACLs were bootstrapped with.",
        )


def own_process(agent: DevAgent) -> subprocess.Popen[bytes]:
    """The process of an agent that was started here.

    Raises:
        ValueError: it was not.
    """
    if agent.process is None:
        raise ValueError("this agent is not ours")
    return agent.process


@retrying
def wait_until_ready(server: DevAgent) -> None:
    """Wait until the agent's node and its drivers are ready.

    Raises:
        AgentEnded: an agent of ours ended.
    """
    if server.directory is not None:
        check_alive(own_process(server), server.directory)
    api = server.api()
    try:
        nodes = api.nodes()
    finally:
        api.close()
    if not nodes or nodes[0]["Status"] != "ready":
        raise RuntimeError("the node is not ready")
    drivers = nodes[0].get("Drivers") or {}
    if not drivers.get("raw_exec", {}).get("Healthy"):
        raise RuntimeError("the driver raw_exec is not ready")
    if drivers.get("docker", {}).get("Detected") and not drivers["docker"].get("Healthy"):
        raise RuntimeError("the driver docker is not ready")


def _shut_down(server: DevAgent, directory: Path) -> None:
    """Stop all jobs, the agent and what it mounted."""
    process = own_process(server)
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        with suppress(Exception):  # a server that a test broke is only killed
            _stop_jobs(server)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
    process.wait()
    clear(directory)


def _stop_jobs(server: DevAgent) -> None:
    api = server.api(namespace="default")
    for job in api.jobs():
        api.stop(job["ID"], purge=True)

    @tenacity.retry(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.2))
    def until_none_runs() -> None:
        for status in ("running", "pending"):
            if api.allocations_where(f'ClientStatus == "{status}"'):
                raise RuntimeError("allocations run")

    until_none_runs()
