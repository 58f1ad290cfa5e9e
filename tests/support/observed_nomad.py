"""A Nomad with two runs, and the observer that watches them: unit tests of what events and notices do."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from dispatcher.engines.nomad.api import Allocation, Event, NomadApi
from dispatcher.engines.nomad.observing import Observer
from dispatcher.model.payload import encode_end_notice, encode_outcome
from dispatcher.model.run import Claim, Observation, Outcome, Phase, RunKey
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import settings_model

PREFIX = "disinto-runner"
GOOD = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, formula_started=True, logs="redacted")


def claim_of(name: str) -> Claim:
    return Claim(
        key=RunKey(action_id=name, blob="b" * 40),
        phase=Phase.SUBMITTED,
        commit="c",
        engine_id=f"{PREFIX}/dispatch-{name}-1-aaaaaaaa",
        outcome_key="the run's own",
    )


ONE, TWO = claim_of("one"), claim_of("two")


def allocation(claim: Claim, state: str = "complete") -> Allocation:
    return Allocation(ID=claim.key.action_id, JobID=claim.engine_id, NodeID="n", ClientStatus=state)


def event(state: str, *, desired: str = "run", job: str = ONE.engine_id) -> Event:
    """An event about the allocation of ``ONE``; ``desired=""`` leaves that field out."""
    about = dict(allocation(ONE, state)) | ({"DesiredStatus": desired} if desired else {})
    return Event(
        topic="Allocation",
        type="AllocationUpdated",
        key="one",
        filter_keys=(job,),
        index=1,
        payload={"Allocation": about},
    )


def notice(
    claim: Claim,
    *,
    outcome: bytes = b"",
    alloc: str = "",
    key: str = "the run's own",
    clean: bool = True,
) -> bytes:
    """A notice of the run's end, with the outcome if there is one; from its first allocation, or ``alloc``."""
    alloc = alloc or claim.key.action_id
    return encode_end_notice(claim.engine_id, alloc, outcome=outcome, key=key, clean=clean)


class ObservedNomad:
    """Answers the observer's calls.

    Attributes:
        observer: that watches it, by a clock that stays at ``now``.
        over: runs that have ended in its lists.
        outcome: what every run left.
        fails: paths that are answered by an error.
        lists: for which runs a list was asked.
        asked: the paths of all calls.
        woken, woken_later: one entry for each time that the loop was woken.
    """

    def __init__(self) -> None:
        self.now = 1_000.0
        self.over: set[str] = set()
        self.outcome = encode_outcome(GOOD, key="the run's own")
        self.fails: set[str] = set()
        self.lists: list[list[str]] = []
        self.asked: list[str] = []
        self.woken: list[None] = []
        self.woken_later: list[None] = []
        settings = settings_model().model_validate({"nomad": {}})
        self.observer = Observer(
            NomadApi(settings.nomad, {}, transport=httpx.MockTransport(self)),
            settings,
            clock=lambda: self.now,
            wake=lambda: self.woken.append(None),
            wake_later=lambda: self.woken_later.append(None),
        )

    def observe(self, *claims: Claim) -> Mapping[RunKey, Observation]:
        return self.observer.observe(claims)

    def dispatched(self, claim: Claim) -> None:
        """Nomad answers that it has just dispatched this run, unknown until now."""
        self.observer.dispatched(claim.engine_id, outcome_key=claim.outcome_key)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/")
        self.asked.append(path)
        if path in self.fails:
            return httpx.Response(500, text="No cluster leader")
        if path.startswith("client/fs/ls/"):
            return httpx.Response(200, json=[{"Name": "outcome.json", "FileMode": "-rw-r--r--"}])
        if path.startswith("client/fs/"):
            data = base64.b64encode(self.outcome).decode()
            return httpx.Response(200, json={"Data": data})
        if path == "jobs/statuses":
            asked = [claim for claim in (ONE, TWO) if claim.engine_id in request.content.decode()]
            self.lists.append([claim.key.action_id for claim in asked])
            return httpx.Response(200, json=[self._status(claim) for claim in asked])
        if path.endswith("/allocations"):
            return httpx.Response(200, json=[self._record(path.split("-")[2])])
        return httpx.Response(200, json=[] if path == "evaluations" else [{"ID": "n", "Name": "n"}])

    def _status(self, claim: Claim) -> dict[str, Any]:
        name = claim.key.action_id
        over = name in self.over
        client = "complete" if over else "running"
        return {
            "ID": claim.engine_id,
            "Status": "dead" if over else "running",
            "Allocs": [{"ID": name, "ClientStatus": client, "NodeID": "n"}],
        }

    def _record(self, name: str) -> dict[str, Any]:
        ended = {"Type": "Terminated", "Time": 1, "Details": {"exit_code": "7"}}
        return {
            "ID": name,
            "ClientStatus": "complete",
            "NodeID": "n",
            "TaskStates": {"runner": {"Events": [ended]}},
        }


@contextmanager
def observed_nomad() -> Iterator[ObservedNomad]:
    """One of which both runs were listed once."""
    nomad = ObservedNomad()
    nomad.observe(ONE, TWO)
    nomad.lists.clear()
    nomad.asked.clear()
    try:
        yield nomad
    finally:
        nomad.observer.close()
