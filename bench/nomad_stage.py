"""A Nomad for the bench, scenes on it, and the bare loop that the dispatcher is compared with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from bench.stage import FORMULA, Stage
from dispatcher.assembly import build_components
from dispatcher.devservers.ports import free_ports
from dispatcher.devservers.scene import Scene
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.render import runner_name
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.model.payload import encode_payload
from dispatcher.model.run import RunSpec, WrappedGrant
from tests.servers import nomad
from tests.servers.grants import Minter
from tests.servers.nomad import Nomad

AT_ONCE = 48
"""Runs in flight at most: enough to keep a client busy that starts one after another."""

UNPLACEABLE = {"attribute": "${attr.kernel.name}", "operator": "=", "value": "no such kernel"}
"""A constraint that no node meets, so that jobs are dispatched and never placed."""

LONGEST_S = 240.0
CLAIM_BYTES = 900
"""Of a claim in the ledger, about."""

_numbers = count(1)


@contextmanager
def agent() -> Iterator[Nomad]:
    """The agent of NOMAD_ADDR, or one of the bench's own."""
    with nomad.serve() as server:
        yield server


@contextmanager
def scene_on(stage: Stage, server: Nomad, **settings: Any) -> Iterator[Scene]:
    """A scene whose runs become jobs of this Nomad; they are removed at the end."""
    limits = {"max_in_flight": AT_ONCE} | settings.pop("limits", {})
    scene = stage.scene(agent=server, limits=limits, **settings)
    try:
        yield scene
    finally:
        scene.clear()


def with_listener() -> dict[str, Any]:
    """Settings with a listener on this machine, as by default: runners say that they have ended, and no more."""
    (port,) = free_ports(1)
    return {"http": {"listen": f"127.0.0.1:{port}"}}


def with_notices() -> dict[str, Any]:
    """Settings with which runners also send their outcome."""
    settings = with_listener()
    return {**settings, "nomad": {"listener_url": f"http://{settings['http']['listen']}"}}


def notices_off() -> dict[str, Any]:
    """Settings that switch the notices of runners off: ends are learned from Nomad."""
    return {"nomad": {"listener_url": ""}}


def listener_out_of_reach() -> dict[str, Any]:
    """Settings with notices as by default, and no listener that runners reach: like a Nomad on other machines. Scenes
    have none unless a port is given.
    """
    return {"http": {"listen": ""}}


class Bare:
    """Dispatches jobs of a scene by Nomad's API alone: no claim, no grant, no confirmation.

    Args:
        scene: its parent job is used, and its settings.
        server: the Nomad, with the management token.
    """

    def __init__(self, scene: Scene, server: Nomad) -> None:
        self._scene = scene
        self._settings = scene.open_settings()
        self._parent = runner_name(self._settings.section(NomadSettings), ())
        self.api: NomadApi = server.api()

    def payloads(self, number: int) -> list[tuple[RunSpec, bytes, dict[str, str]]]:
        """Payloads with real grants, minted beforehand."""
        parts = build_components(self._settings, environ=self._scene.environ)
        specs = Minter(bao=self._scene.server)  # type: ignore[arg-type]
        encoded = []
        for _ in range(number):
            spec = specs.spec(FORMULA)
            spec = replace(spec, key=replace(spec.key, action_id=f"bare{next(_numbers):06}"))
            wrapped = parts.grants.mint(spec.key, (), lifetime_s=600)
            encoded.append((spec, encode_payload(spec, wrapped), _meta(spec, wrapped)))
        parts.grants.close()
        return encoded

    def dispatch(self, payload: tuple[RunSpec, bytes, dict[str, str]]) -> str:
        """One call; the child's name."""
        spec, data, meta = payload
        dispatched = self.api.dispatch(
            self._parent,
            payload=data,
            meta=meta,
            idempotency_token=spec.key.token,
            id_prefix=spec.key.action_id,
        )
        return dispatched.job_id

    def dispatch_all(
        self, payloads: Sequence[tuple[RunSpec, bytes, dict[str, str]]], *, threads: int
    ) -> list[str]:
        """All of them, some at a time."""
        if threads == 1:
            return [self.dispatch(payload) for payload in payloads]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.dispatch, payloads))

    def claim_and_dispatch_all(
        self, number: int, *, threads: int, confirmed: bool = False
    ) -> list[str]:
        """The calls of the dispatcher, and nothing around them: mint a grant, write a claim, extend
        the grant, dispatch. What the dispatcher could reach at best on this machine.

        Args:
            confirmed: also read the job back and write its name into the claim: the same promises kept
                call by call.
        """
        parts = build_components(self._settings, environ=self._scene.environ)
        specs = Minter(bao=self._scene.server)  # type: ignore[arg-type]
        folder = f"{self._settings.section(NomadSettings).ledger_prefix}/bare"

        def one(_number: int) -> str:
            spec = specs.spec(FORMULA)
            spec = replace(spec, key=replace(spec.key, action_id=f"bare{next(_numbers):06}"))
            wrapped = parts.grants.mint(spec.key, (), lifetime_s=600)
            claim = {"claim": "x" * CLAIM_BYTES}
            path = f"{folder}/{spec.key.action_id}"
            written = self.api.put_variable(path, claim, cas=0)
            parts.grants.extend(wrapped.grant, lifetime_s=1200)
            child = self.dispatch((spec, encode_payload(spec, wrapped), _meta(spec, wrapped)))
            if confirmed:
                if self.api.job(child) is None:
                    raise AssertionError(f"{child} does not exist")
                self.api.put_variable(path, {**claim, "child": child}, cas=written)
            return child

        with ThreadPoolExecutor(threads) as pool:
            children = list(pool.map(one, range(number)))
        parts.grants.close()
        return children

    def wait(self, children: Sequence[str]) -> float:
        """Wait until all have ended; the time at which that was seen."""
        left = list(children)
        deadline = time.monotonic() + LONGEST_S
        while True:
            statuses = self.api.job_statuses(left)
            at = time.monotonic()
            left = [s["ID"] for s in statuses if s.get("Status") != "dead"]
            if not left:
                return at
            if at > deadline:
                raise TimeoutError(f"{len(left)} of {len(children)} bare jobs have not ended")
            time.sleep(0.1)

    def succeeded(self, children: Sequence[str]) -> int:
        """How many of these ended well."""
        statuses = self.api.job_statuses(list(children))
        states = [[a.get("ClientStatus") for a in s.get("Allocs") or []] for s in statuses]
        return states.count(["complete"])

    def purge(self, children: Sequence[str]) -> None:
        """Remove the jobs."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda child: self.api.stop(child, purge=True), children))

    def close(self) -> None:
        self.api.close()


def _meta(spec: RunSpec, grant: WrappedGrant) -> dict[str, str]:
    return {
        "action_id": spec.key.action_id,
        "formula": f"{spec.formula.name}.{spec.formula.kind.value}",
        "commit": spec.commit,
        "grant_accessor": grant.grant.accessor,
        "blob": spec.key.blob,
        "tier": spec.tier.value,
    }
