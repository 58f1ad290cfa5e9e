"""A real Nomad agent for tests and benches.

``NOMAD_ADDR`` (with ``NOMAD_TOKEN``, a management token) names one that runs already; else
``nomad`` from PATH is started on free loopback ports with a data folder of its own, or a container
of it where DISINTO_CONTAINERS says so.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from dispatcher.devservers import nomad
from dispatcher.devservers.nomad import DevAgent, own_process, wait_until_ready
from dispatcher.model.mounts import Mount
from tests.servers import containers


@dataclass(kw_only=True)
class Nomad(DevAgent):
    """An agent that answers, see ``DevAgent``."""

    @property
    def runs_here(self) -> bool:
        """Whether its raw_exec runs see this machine's Python and files."""
        return not containers.chosen("nomad")

    def unique(self, word: str) -> str:
        """A name that no other test uses on this server."""
        return f"{word}-{secrets.token_hex(4)}"

    def token_with(self, rules: str) -> str:
        """A client token with a policy of these rules (HCL)."""
        name = self.unique("test")
        self.api().put_acl_policy(name, rules)
        return self.client_token(name)

    def kill(self) -> None:
        """Kill an agent of ours; its tasks keep running if it keeps its state."""
        process = own_process(self)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Stop an agent of ours as an operator does; its tasks keep running as after ``kill``."""
        process = own_process(self)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)

    def restart(self) -> None:
        """Start an agent of ours again on its data directory."""
        assert self.launch is not None, "this agent is not ours"
        self.process = self.launch()
        wait_until_ready(self)

    def collect_garbage(self) -> None:
        """Collect finished jobs, evaluations and allocations now."""
        httpx.put(
            f"{self.addr}/v1/system/gc",
            headers={"X-Nomad-Token": self.token},
            timeout=10,
            trust_env=False,
        ).raise_for_status()


@contextmanager
def serve(
    *, keeps_state: bool = False, extra: str = "", mounts: Collection[Mount] = tuple(Mount)
) -> Iterator[Nomad]:
    """The agent of NOMAD_ADDR, or a new one that is gone at the end.

    Args:
        keeps_state: a new agent with its state on the disk, so that it can be killed and started
            again; takes 15 s or more to be ready. Never the one of NOMAD_ADDR.
        extra: more of the agent's configuration, HCL.
        mounts: host volumes that a new agent offers. With fewer than all never the one of
            NOMAD_ADDR.
    """
    given = nomad.given(os.environ)
    if given and not keeps_state and not extra and len(set(mounts)) == len(Mount):
        yield Nomad(addr=given.addr, token=given.token)
        return
    with nomad.start(
        Nomad,
        keeps_state=keeps_state,
        extra=extra,
        mounts=mounts,
        launch=containers.launch("nomad"),
    ) as server:
        yield server
