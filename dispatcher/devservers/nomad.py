"""A real Nomad agent (server and client in one, ACLs on) on free loopback ports.

``nomad`` is taken from PATH. At the end its jobs are stopped, and its processes, containers, mounts
and directory are gone.
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
    """An agent that answers.

    Attributes:
        addr, token: for NOMAD_ADDR and NOMAD_TOKEN; the token is a management token.
        process: None if the agent is not ours; else it may be stopped and continued.
        volumes: folder of each host volume it offers (empty where the agent is not ours).
        folder: where an agent of ours keeps its configuration, data and log.
    """

    addr: str
    token: str
    process: subprocess.Popen[bytes] | None = None
    volumes: Mapping[Mount, Path] = field(default_factory=dict)
    folder: Path | None = None
    rpc_port: int = 0
    _again: Callable[[], subprocess.Popen[bytes]] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """What NOMAD_* variables lead there."""
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

    def kill(self) -> None:
        """Kill an agent of ours; its tasks go on where its data folder is kept."""
        process = _of_ours(self)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Stop an agent of ours as an operator does; its tasks go on as with ``kill``."""
        process = _of_ours(self)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)

    def start_again(self) -> None:
        """Start an agent of ours once more on its data folder."""
        if self._again is None:
            raise ValueError("this agent is not ours")
        self.process = self._again()
        _until_ready(self)


Agent = TypeVar("Agent", bound=DevAgent)


def binary() -> str | None:
    """Path of ``nomad``, or None."""
    return shutil.which("nomad")


def given(environ: Mapping[str, str]) -> DevAgent | None:
    """The Nomad of NOMAD_ADDR, with the management token in NOMAD_TOKEN; None if none is named."""
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
    """A new agent that is gone at the end.

    Args:
        kind: what to make of it.
        keeps_state: with its state on the disk, so that it can be killed and started again; takes
            15 s or more to be ready.
        extra: more of the agent's configuration, HCL.
        mounts: the host volumes that it offers, each an empty directory.
        launch: starts the program in another way than as a process of this machine.

    Raises:
        Misconfigured: ``nomad`` is not on PATH.
        AgentEnded: it does not start.
    """
    if binary() is None and launch is None:
        raise Misconfigured(
            "no `nomad` is on PATH, and NOMAD_ADDR names no Nomad",
            remedy="Install Nomad, or set NOMAD_ADDR and NOMAD_TOKEN (a management token).",
        )
    folder = Path(tempfile.mkdtemp(prefix="disinto-nomad-"))
    volumes = {mount: folder / "volumes" / mount.value for mount in mounts}
    for path in volumes.values():
        path.mkdir(parents=True)
    http, rpc, serf = free_ports(3)
    config = write_config(folder, (http, rpc, serf), volumes, extra=extra)
    # Without -dev, a client that registers before the server's keyring is up waits 15 to 20 s.
    arguments = ["agent", f"-config={config}", *([] if keeps_state else ["-dev"])]
    begin = partial(launch or start_process, arguments, folder)
    server = kind(
        addr=f"http://127.0.0.1:{http}",
        token=str(uuid.uuid4()),
        volumes=volumes,
        folder=folder,
        rpc_port=rpc,
        _again=begin,
    )
    with watched(folder):
        server.process = begin()
        try:
            bootstrap(server)
            _until_ready(server)
            yield server
        finally:
            _end(server, folder)


def bootstrap(agent: DevAgent) -> None:
    """Wait until an agent answers, and see to it that its token is a management token.

    A server that has ACLs and no token yet takes this one as its first.

    Raises:
        Misconfigured: it has other tokens already, and does not take this one for such.
        AgentEnded: an agent of ours ended.
    """

    @retrying
    def ask() -> httpx.Response:
        if agent.folder is not None:
            check_alive(_of_ours(agent), agent.folder)
        answer = httpx.put(
            f"{agent.addr}/v1/acl/bootstrap",
            json={"BootstrapSecret": agent.token},
            timeout=10,
            trust_env=False,
        )
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            answer.raise_for_status()  # no leader yet
        return answer

    if ask().status_code == httpx.codes.OK:
        return
    api = agent.api()
    try:
        known = api.token_self()
    except Denied:
        known = {}
    finally:
        api.close()
    if known.get("Type") != "management":
        raise Misconfigured(
            f"the token for the Nomad at {agent.addr} is no management token",
            remedy="Set NOMAD_TOKEN to the token that its ACLs were bootstrapped with.",
        )


def _of_ours(agent: DevAgent) -> subprocess.Popen[bytes]:
    if agent.process is None:
        raise ValueError("this agent is not ours")
    return agent.process


@retrying
def _until_ready(server: DevAgent) -> None:
    if server.folder is not None:
        check_alive(_of_ours(server), server.folder)
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


def _end(server: DevAgent, folder: Path) -> None:
    """Stop all jobs, the agent and what it mounted."""
    process = _of_ours(server)
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        with suppress(Exception):  # a server that a test broke is only killed
            _stop_jobs(server)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
    process.wait()
    clear(folder)


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
