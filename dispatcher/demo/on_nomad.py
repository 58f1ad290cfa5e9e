"""The demo on Nomad: chooses the Nomad, observes the jobs, and removes them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from rich.console import Console

from dispatcher.devservers import nomad
from dispatcher.devservers.nomad import DevAgent
from dispatcher.devservers.scene import Scene
from dispatcher.engines.nomad.api import Job, NomadApi
from dispatcher.engines.nomad.render import acl_policies, runner_prefix
from dispatcher.engines.nomad.settings import NomadDriver, NomadSettings
from dispatcher.errors import Misconfigured

DRIVERS: Mapping[bool, NomadDriver] = {True: NomadDriver.DOCKER, False: NomadDriver.RAW_EXEC}


@contextmanager
def agent(console: Console, *, image: str) -> Iterator[DevAgent]:
    """The Nomad of NOMAD_ADDR, or one of the demo's own, removed on exit.

    Raises:
        Misconfigured: there is none, or it has no client here with the required driver.
    """
    driver = DRIVERS[bool(image)]
    configured = nomad.given(os.environ)
    if configured is not None:
        console.print(f"Nomad of NOMAD_ADDR: {configured.addr}")
        _check(configured, driver)
        yield configured
        return
    with nomad.start(DevAgent) as own:
        console.print(
            f"Nomad (server and client in one, ACLs on) listens on {own.addr}\n"
            f"  its pages: {own.addr}/ui/jobs  token to sign in there: {own.token}"
        )
        _check(own, driver)
        yield own


def _check(server: DevAgent, driver: NomadDriver) -> None:
    """The demo's vault listens on the loopback, so its runs must be on this machine."""
    api = server.api()
    try:
        here = [
            node
            for stub in api.nodes()
            if (node := api.node(stub["ID"])) is not None
            and (node.get("Attributes") or {}).get("unique.hostname") == socket.gethostname()
        ]
    finally:
        api.close()
    if not here:
        raise Misconfigured(
            f"no client of the Nomad at {server.addr} runs on this machine, and the demo's vault "
            "listens on its loopback only",
            remedy="Name a Nomad that runs here, or unset NOMAD_ADDR with `nomad` on PATH.",
        )
    if not any((node.get("Drivers") or {}).get(driver, {}).get("Healthy") for node in here):
        other = "Leave --image out" if driver is NomadDriver.DOCKER else "Give --image"
        raise Misconfigured(
            f"the driver {driver} is not healthy on this machine's Nomad client",
            remedy=f"{other}, or fix the client.",
        )


def clear(console: Console, scene: Scene) -> None:
    """Remove what the demo left in Nomad."""
    if scene.nomad is not None:
        scene.clear()
        console.print("\nJobs, variables, ACL policies and tokens of the demo are gone from Nomad.")


class Looked:
    """Records what Nomad reports about the demo's jobs, because finished ones are removed.

    Attributes:
        jobs: dispatched jobs by action id.
    """

    def __init__(self, scene: Scene) -> None:
        self._nomad = scene.open_settings().section(NomadSettings)
        self._api = NomadApi(self._nomad, scene.operator)
        self.jobs: dict[str, Job] = {}

    def look(self) -> None:
        """Poll once."""
        for stub in self._api.jobs(prefix=runner_prefix(self._nomad), meta=True):
            action_id = (stub.get("Meta") or {}).get("action_id", "")
            if stub.get("ParentID") and action_id not in self.jobs:
                job = self._api.job(stub["ID"])
                if job is not None:
                    self.jobs[action_id] = job

    def show(self, console: Console, action_id: str) -> None:
        """What an operator sees of one run in Nomad's own UI, and what remains afterwards."""
        job = self.jobs.get(action_id)
        if job is not None:
            console.print(f"Job [bold]{job['ID']}[/]")
            page = cast(Mapping[str, Any], job.get("UI") or {})
            console.print(f"  {page.get('Description', '')}")
            for key, value in sorted((job.get("Meta") or {}).items()):
                console.print(f"  meta {key:<15} {value or '-'}")
        console.print("\nNow that all has ended:")
        listed = self._api.jobs(prefix=runner_prefix(self._nomad))
        for stub in listed:
            kind = "dispatched job" if stub.get("ParentID") else "parent job"
            console.print(f"  {kind} {stub['ID']}")
        for variable in self._api.variables(f"{self._nomad.ledger_prefix}/"):
            console.print(f"  variable {variable['Path']}")
        for policy in acl_policies(self._nomad):
            console.print(f"  ACL policy {policy.name}: {policy.description}")

    def close(self) -> None:
        self._api.close()
